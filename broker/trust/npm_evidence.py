"""What an npm registry can say for the packages of a closure, asked for and verified.

Asked of the registry the user configured and of no other place it may point to.  A registry that is known to sign and
has nothing for a package says `missing`; one that serves no such documents at all cannot say, which is `unavailable`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread

from broker.pin import EvidenceRecord, EvidenceState
from broker.trust.evidence import Evidence
from broker.trust.fetch import Access, Answer, Reader, basic, from_environment, reader, segment
from broker.trust.npm_attestations import Attestations, Release, attestations, read_keys, registry_signature
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import NpmSettings, origin
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import Roots

AT_ONCE = 8  # what npm itself keeps open, and less
ALL_ANSWERS = 120.0  # seconds; 100 packages take one or two
MAX_ATTESTATIONS = 4 * 1024 * 1024  # a real one has 20 KiB
MAX_MAINTAINERS = 200
_SHORT: Final = "application/vnd.npm.install-v1+json"
_KEYS: Final = "-/npm/v1/keys"


async def gather(
    packages: Sequence[Locked], main: str, settings: NpmSettings, environment: Mapping[str, str], roots: Roots
) -> Evidence:
    """Ask and verify; what cannot be asked becomes `unavailable`, and only what is wrong `invalid`."""
    top = next(each for each in packages if each.path == f"node_modules/{main}")
    asked = _Asked({}, Answer("silent", why="it was not asked"), {})
    with anyio.move_on_after(ALL_ANSWERS):  # what is not answered by then stays as it is: the registry did not say
        await _ask(asked, packages, top, settings, environment)
    return await anyio.to_thread.run_sync(partial(_verify, asked, packages, top, roots))


@dataclass(slots=True)
class _Asked:
    """The registries' answers: by package name, and about the attestations of the package that is run."""

    documents: dict[str, Answer]
    attestations: Answer
    signs: dict[str, bool]


async def _ask(
    asked: _Asked,
    packages: Sequence[Locked],
    top: Locked,
    settings: NpmSettings,
    environment: Mapping[str, str],
) -> None:
    lines = _lines(settings.text)
    for url in sorted({_registry(each.name, lines, settings) for each in packages}):
        async with reader(_access(url, lines, environment)) as registry:
            here = {each.name for each in packages if _registry(each.name, lines, settings) == url}
            if top.name in here:
                asked.documents[top.name] = await registry.ask(segment(top.name))
                path = f"-/npm/v1/attestations/{segment(top.name)}@{segment(top.version)}"
                asked.attestations = await registry.ask(path, limit=MAX_ATTESTATIONS)
            keys = await registry.ask(_KEYS, limit=MAX_ATTESTATIONS)
            signs = keys.state == "found" or _has_signatures(asked.documents.get(top.name), top.version)
            asked.signs |= dict.fromkeys(here, signs)
            if signs:
                await _ask_each(registry, sorted(here - {top.name}), asked.documents)


async def _ask_each(registry: Reader, names: list[str], documents: dict[str, Answer]) -> None:
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def one(name: str) -> None:
        async with limit:
            documents[name] = await registry.ask(segment(name), accept=_SHORT)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)


def _verify(asked: _Asked, packages: Sequence[Locked], top: Locked, roots: Roots) -> Evidence:
    keys = read_keys(roots.npm_keys)
    document, release = asked.documents.get(top.name), _release(top)
    attested = _attested(asked, top, roots)
    claimed = _text(_dig(document, "time", top.version))
    signed_at = attested.published_at
    signatures: dict[tuple[str, str], EvidenceRecord] = {}
    for each in packages:
        signatures[each.name, each.version] = _signature(
            keys, each, asked, *((signed_at, claimed) if each == top else (None, ""))
        )
    signature = signatures[release.name, release.version]
    return Evidence(
        records=(signature, attested.publication, attested.provenance),
        publisher=attested.publisher,
        maintainers=_maintainers(document, top.version),
        released=claimed,
        signatures=signatures,
        document=asked.attestations.document,
    )


def _attested(asked: _Asked, top: Locked, roots: Roots) -> Attestations:
    answer = asked.attestations
    if answer.state == "found":
        bundles, keys = Bundles(roots.sigstore), read_keys(roots.npm_keys)
        return attestations(bundles, keys, _release(top), answer.document)
    announced = _dig(asked.documents.get(top.name), "versions", top.version, "dist", "attestations") is not None
    state: EvidenceState = "unavailable"
    why = f"the registry does not give its attestations: {answer.why}"
    if answer.state == "absent" and not announced and asked.signs.get(top.name):
        state, why = "missing", ""
    return Attestations(EvidenceRecord("provenance", state, why), EvidenceRecord("publication", state, why))


def _signature(keys: Any, package: Locked, asked: _Asked, signed_at: int | None, claimed: str) -> EvidenceRecord:
    answer = asked.documents.get(package.name)
    announced = _text(_dig(answer, "versions", package.version, "dist", "integrity")).split()
    if package.integrity not in announced and any(each.startswith("sha512-") for each in announced):
        return EvidenceRecord("signature", "invalid", "the registry names other bytes to us than it named to npm")
    signatures = _dig(answer, "versions", package.version, "dist", "signatures")
    if signatures:
        return registry_signature(keys, _release(package), signatures, signed_at=signed_at, claimed=claimed)
    if not asked.signs.get(package.name):
        return EvidenceRecord("signature", "unavailable", "the registry gives no signatures")
    if _dig(answer, "versions", package.version) is None:
        why = answer.why if answer is not None else "it was not asked in time"
        return EvidenceRecord("signature", "unavailable", f"the registry does not tell of this version {why}".strip())
    return EvidenceRecord("signature", "missing")


def _release(package: Locked) -> Release:
    return Release(package.name, package.version, package.integrity)


def _has_signatures(answer: Answer | None, version: str) -> bool:
    return bool(_dig(answer, "versions", version, "dist", "signatures"))


def _maintainers(answer: Answer | None, version: str) -> tuple[str, ...]:
    listed = _dig(answer, "maintainers") or _dig(answer, "versions", version, "maintainers")
    names = (
        {_text(each.get("name")) for each in listed if isinstance(each, dict)} if isinstance(listed, list) else set()
    )
    return tuple(sorted(name[:128] for name in names if name)[:MAX_MAINTAINERS])


def _dig(answer: Answer | None, *path: str) -> Any:
    found = answer.document if answer is not None else None
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _text(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""


# --- the user's own npm configuration, as `npm_settings` wrote it down ---


def _lines(text: str) -> list[tuple[str, str]]:
    """Key and plain value of each line."""
    found = []
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            continue
        try:
            plain = json.loads(value)
        except ValueError:
            plain = value
        found.append((key.strip(), plain if isinstance(plain, str) else value.strip()))
    return found


def _registry(name: str, lines: list[tuple[str, str]], settings: NpmSettings) -> str:
    values = dict(lines)
    scope = name.partition("/")[0] if name.startswith("@") else ""
    return values.get(f"{scope}:registry") or values.get("registry") or settings.registry


def _access(url: str, lines: list[tuple[str, str]], environment: Mapping[str, str]) -> Access:
    """npm's proxies and certificates come before those of the environment, as for npm itself."""
    access, values = from_environment(url, environment), dict(lines)
    proxies = dict(access.proxies)
    proxies |= {"https": values["https-proxy"]} if values.get("https-proxy") else {}
    proxies |= {"http": values["proxy"]} if values.get("proxy") else {}
    skipped = tuple(each.strip() for each in values.get("noproxy", "").split(",") if each.strip())
    files = (values.get("cafile", ""), environment.get("NODE_EXTRA_CA_CERTS", ""))
    return replace(
        access,
        proxies=proxies,
        no_proxy=skipped or access.no_proxy,
        certificates=(*access.certificates, *(path for path in files if path)),
        extra_certificates="\n".join(value for key, value in lines if key in {"ca", "ca[]"}),
        check_tls=values.get("strict-ssl", "true") != "false",
        headers=_credential(url, lines),
    )


def _credential(url: str, lines: list[tuple[str, str]]) -> dict[str, str]:
    """The header for a registry: its own credential, or that of the nearest folder above it on the same host."""
    place = "//" + url.partition("://")[2].rpartition("@")[2].rstrip("/") + "/"
    values = {key: value for key, value in lines if key.startswith("//")}
    while place.count("/") > 2 and origin(url):
        for key in (place, place.rstrip("/")):
            if token := values.get(f"{key}:_authToken"):
                return {"authorization": f"Bearer {token}"}
            if pair := values.get(f"{key}:_auth"):
                return {"authorization": f"Basic {pair}"}
            if (user := values.get(f"{key}:username")) and (password := values.get(f"{key}:_password")):
                return basic(user, _unpacked(password))
        place = place.rstrip("/").rpartition("/")[0] + "/"
    return {}


def _unpacked(password: str) -> str:
    try:
        return base64.b64decode(password, validate=True).decode()
    except (binascii.Error, ValueError):
        return password
