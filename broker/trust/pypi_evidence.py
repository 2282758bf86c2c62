"""What a Python index can say for the wheel that is run, asked for and verified.

The index is the one whose listing has exactly this file with exactly this hash.  An index whose listing has no place
for provenance cannot say, which is `unavailable`; one that has, and names none, says `missing`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from broker.pin import EvidenceRecord, EvidenceState
from broker.trust.evidence import Evidence
from broker.trust.fetch import Access, Answer, Reader, reader, segment
from broker.trust.pep740 import provenance
from broker.trust.pypi_hosts import SIMPLE, access_to, own_default
from broker.trust.pypi_package import WheelFile
from broker.trust.pypi_settings import Index, PypiSettings
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import Roots

ALL_ANSWERS = 90.0  # seconds; three short documents
MAX_PROVENANCE = 4 * 1024 * 1024  # a real one has 10 KiB
MAX_MAINTAINERS = 200
NOT_LISTED: Final = Answer("silent", why="no index with a listing in JSON has this file")
_SIMPLE_PATH: Final = re.compile(r"/simple/?$")


async def gather(wheel: WheelFile, settings: PypiSettings, environment: Mapping[str, str], roots: Roots) -> Evidence:
    """Ask and verify; what cannot be asked becomes `unavailable`, and only what is wrong `invalid`."""
    asked = _Asked()
    with anyio.move_on_after(ALL_ANSWERS):  # what is not answered by then stays as it is: the index did not say
        for index in settings.indexes or (Index(own_default(), default=True),):
            if urlsplit(index.url).scheme in {"http", "https"} and await _ask(
                asked, wheel, access_to(index, settings, environment)
            ):
                break
    if asked.provenance.state != "found":
        return Evidence((EvidenceRecord("provenance", asked.without, asked.provenance.why),), None, asked.maintainers,
                        asked.released)  # fmt: skip
    verify = partial(_verify, wheel, asked.provenance.document, roots)
    record, publisher = await anyio.to_thread.run_sync(verify)
    return Evidence((record,), publisher, asked.maintainers, asked.released, document=asked.provenance.document)


@dataclass(slots=True)
class _Asked:
    """What the index said; `without` is what it means that there is no provenance."""

    provenance: Answer = field(default=NOT_LISTED)
    without: EvidenceState = "unavailable"
    maintainers: tuple[str, ...] = ()
    released: str = ""


async def _ask(asked: _Asked, wheel: WheelFile, access: Access) -> bool:
    """Whether this is the index that has the file."""
    async with reader(access) as index:
        listing = await index.ask(f"{segment(wheel.name)}/", accept=SIMPLE)
        files = listing.document.get("files") if isinstance(listing.document, dict) else None
        listed = [each for each in files if isinstance(each, dict)] if isinstance(files, list) else []
        entry = next((each for each in listed if _is(each, wheel)), None)
        if entry is None:
            return False
        asked.released = _text(entry.get("upload-time"))
        asked.provenance, asked.without = await _provenance(index, entry, listed)
    if _SIMPLE_PATH.search(urlsplit(access.url).path):
        async with reader(replace(access, url=_SIMPLE_PATH.sub("/", access.url))) as site:
            asked.maintainers = _roles(await site.ask(f"pypi/{segment(wheel.name)}/json"))
    return True


async def _provenance(index: Reader, entry: Mapping[str, Any], listed: list[Any]) -> tuple[Answer, EvidenceState]:
    url = entry.get("provenance")
    if url is None:
        if any("provenance" in each for each in listed):
            return Answer("absent"), "missing"
        return Answer("silent", why="the index does not speak of provenance"), "unavailable"
    if not index.same_index(url):
        return Answer("silent", why="the index points elsewhere for it"), "unavailable"
    answer = await index.ask(str(url), limit=MAX_PROVENANCE)
    why = f"the index does not give the provenance it names: {answer.why}"
    return (answer if answer.state == "found" else replace(answer, why=why)), "unavailable"


def _is(entry: Mapping[str, Any], wheel: WheelFile) -> bool:
    hashes = entry.get("hashes")
    return entry.get("filename") == wheel.file and isinstance(hashes, dict) and hashes.get("sha256") == wheel.sha256


def _verify(wheel: WheelFile, document: object, roots: Roots) -> Any:
    return provenance(Bundles(roots.sigstore), wheel.file, wheel.sha256, document)


def _roles(answer: Answer) -> tuple[str, ...]:
    """Who may publish, as indexes with roles tell it."""
    document: Any = answer.document
    for key in ("ownership", "roles"):
        document = document.get(key) if isinstance(document, dict) else None
    names = {_text(each.get("user"))[:128] for each in document if isinstance(each, dict)} if isinstance(
        document, list) else set()  # fmt: skip
    return tuple(sorted(names - {""})[:MAX_MAINTAINERS])


def _text(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""
