"""What a Python index can say for the wheels of a closure, asked for and verified.

The index of a file is the one whose listing has exactly this file with exactly this hash.  An index whose listing has
no place for provenance cannot say, which is `unavailable`; one that has, and names none, says `missing`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from broker.pin import EvidenceRecord, EvidenceState, Publisher
from broker.trust.evidence import Evidence
from broker.trust.fetch import Access, Answer, Reader, a_few_at_once, reader, segment
from broker.trust.pep740 import provenance
from broker.trust.pypi_hosts import SIMPLE, access_to, own_default
from broker.trust.pypi_package import WheelFile
from broker.trust.pypi_settings import Index, PypiSettings
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import Roots

ALL_ANSWERS = 90.0  # seconds; two short documents of each package
MAX_PROVENANCE = 4 * 1024 * 1024  # a real one has 10 KiB
MAX_MAINTAINERS = 200
MAX_OF_DEPENDENCY = 256 * 1024  # there may be a hundred of them
NOT_LISTED: Final = Answer("silent", why="no index with a listing in JSON has this file")
SPEAKS_NOT: Final = Answer("silent", why="the index does not speak of provenance")
_SIMPLE_PATH: Final = re.compile(r"/simple/?$")


async def gather(
    wheels: Sequence[WheelFile],
    main: str,
    settings: PypiSettings,
    environment: Mapping[str, str],
    roots: Roots,
    progress: Callable[[str], None],
) -> Evidence:
    """Ask and verify; what cannot be asked becomes `unavailable`, and only what is wrong `invalid`."""
    top = next(each for each in wheels if each.name == main)
    asked = {wheel: _Asked() for wheel in (top, *(each for each in wheels if each != top))}
    with anyio.move_on_after(ALL_ANSWERS):  # what is not answered by then stays as it is: the index did not say
        for index in settings.indexes or (Index(own_default(), default=True),):
            if urlsplit(index.url).scheme in {"http", "https"}:
                await _ask_index(asked, access_to(index, settings, environment), top, progress)
    found = await anyio.to_thread.run_sync(partial(_verify, asked, roots))
    record, publisher = found[top]
    return Evidence(
        records=(record,),
        publisher=publisher,
        maintainers=asked[top].maintainers,
        released=asked[top].released,
        provenances={(wheel.name, wheel.version): each for wheel, each in found.items()},
        documents={
            wheel.file: said.provenance.document for wheel, said in asked.items() if said.provenance.state == "found"
        },
    )


@dataclass(slots=True)
class _Asked:
    """What the index said of one file; `without` is what it means that there is no provenance."""

    provenance: Answer = field(default=NOT_LISTED)
    without: EvidenceState = "unavailable"
    maintainers: tuple[str, ...] = ()
    released: str = ""
    listed: bool = False


async def _ask_index(
    asked: dict[WheelFile, _Asked], access: Access, top: WheelFile, progress: Callable[[str], None]
) -> None:
    """Ask one index of the files no earlier one had; of the first alone, if it does not speak of provenance."""
    waiting = [wheel for wheel, said in asked.items() if not said.listed]
    if not waiting:
        return
    first, *rest = waiting
    async with reader(access) as index:
        if not await _ask(index, asked[first], first, MAX_PROVENANCE):
            for wheel in rest:
                asked[wheel].provenance = asked[first].provenance
        else:
            limit = MAX_OF_DEPENDENCY
            await a_few_at_once(
                [partial(_ask, index, asked[wheel], wheel, limit) for wheel in rest],
                lambda count: progress(f"asked who built {count} packages it needs"),
            )
    if first == top and asked[top].listed and _SIMPLE_PATH.search(urlsplit(access.url).path):
        async with reader(replace(access, url=_SIMPLE_PATH.sub("/", access.url))) as site:
            asked[top].maintainers = _roles(await site.ask(f"pypi/{segment(top.name)}/json"))


async def _ask(index: Reader, asked: _Asked, wheel: WheelFile, limit: int) -> bool:
    """What this index says of the file, if it is the one that has it.  False: it speaks of no file's provenance."""
    listing = await index.ask(f"{segment(wheel.name)}/", accept=SIMPLE)
    files = listing.document.get("files") if isinstance(listing.document, dict) else None
    listed = [each for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    entry = next((each for each in listed if _is(each, wheel)), None)
    if entry is None:
        return listing.state != "silent"
    asked.listed, asked.released = True, _text(entry.get("upload-time"))
    asked.provenance, asked.without = await _provenance(index, entry, listed, limit)
    return asked.provenance is not SPEAKS_NOT


async def _provenance(
    index: Reader, entry: Mapping[str, Any], listed: list[Any], limit: int
) -> tuple[Answer, EvidenceState]:
    url = entry.get("provenance")
    if url is None:
        if any("provenance" in each for each in listed):
            return Answer("absent"), "missing"
        return SPEAKS_NOT, "unavailable"
    if not index.same_index(url):
        return Answer("silent", why="the index points elsewhere for it"), "unavailable"
    answer = await index.ask(str(url), limit=limit)
    why = f"the index does not give the provenance it names: {answer.why}"
    return (answer if answer.state == "found" else replace(answer, why=why)), "unavailable"


def _is(entry: Mapping[str, Any], wheel: WheelFile) -> bool:
    hashes = entry.get("hashes")
    return entry.get("filename") == wheel.file and isinstance(hashes, dict) and hashes.get("sha256") == wheel.sha256


def _verify(
    asked: Mapping[WheelFile, _Asked], roots: Roots
) -> dict[WheelFile, tuple[EvidenceRecord, Publisher | None]]:
    bundles: Bundles | None = None
    found: dict[WheelFile, tuple[EvidenceRecord, Publisher | None]] = {}
    for wheel, said in asked.items():
        if said.provenance.state == "found":
            bundles = bundles or Bundles(roots.sigstore)
            found[wheel] = provenance(bundles, wheel.file, wheel.sha256, said.provenance.document)
        else:
            found[wheel] = EvidenceRecord("provenance", said.without, said.provenance.why), None
    return found


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
