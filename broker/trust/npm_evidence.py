"""What an npm registry can say for the packages of a closure, asked for and verified.

Asked of the registry the user configured and of no other place it may point to.  A registry that is known to sign and
has nothing for a package says `missing`; one that serves no such documents at all cannot say, which is `unavailable`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread

from broker.pin import EvidenceRecord, EvidenceState
from broker.trust.evidence import Evidence
from broker.trust.fetch import Access, Answer, Reader, a_few_at_once, basic, from_environment, reader, segment
from broker.trust.npm_attestations import Attestations, Keys, Release, attestations, read_keys, registry_signature
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import NpmSettings, origin
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import Roots

ALL_ANSWERS = 120.0  # seconds; 100 packages take one or two
MAX_ATTESTATIONS = 4 * 1024 * 1024  # a real one has 20 KiB
MAX_OF_DEPENDENCY = 256 * 1024  # there may be a thousand of them
MAX_MAINTAINERS = 200
_SHORT: Final = "application/vnd.npm.install-v1+json"
_KEYS: Final = "-/npm/v1/keys"
_NOT_ASKED: Final = Answer("silent", why="it was not asked")
Name: TypeAlias = tuple[str, str]
"""Of a package: its name and version."""


async def gather(
    packages: Sequence[Locked],
    main: str,
    settings: NpmSettings,
    environment: Mapping[str, str],
    roots: Roots,
    progress: Callable[[str], None],
) -> Evidence:
    """Ask and verify; what cannot be asked becomes `unavailable`, and only what is wrong `invalid`."""
    top = next(each for each in packages if each.path == f"node_modules/{main}")
    asked = _Asked({}, {}, {})
    with anyio.move_on_after(ALL_ANSWERS):  # what is not answered by then stays as it is: the registry did not say
        await _ask(asked, packages, top, settings, environment, progress)
    return await anyio.to_thread.run_sync(partial(_verify, asked, packages, top, roots))


@dataclass(slots=True)
class _Asked:
    """The registries' answers: by package name, about the attestations of each version, and which of them sign."""

    documents: dict[str, Answer]
    attestations: dict[Name, Answer]
    signs: dict[str, bool]


async def _ask(
    asked: _Asked,
    packages: Sequence[Locked],
    top: Locked,
    settings: NpmSettings,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
) -> None:
    lines = _lines(settings.text)
    for url in sorted({_registry(each.name, lines, settings) for each in packages}):
        async with reader(_access(url, lines, environment)) as registry:
            here = {_name(each): each for each in packages if _registry(each.name, lines, settings) == url}
            names = {name for name, _ in here}
            if top.name in names:
                asked.documents[top.name] = await registry.ask(segment(top.name))
                await _ask_attestations(registry, asked, _name(top), MAX_ATTESTATIONS)
            keys = await registry.ask(_KEYS, limit=MAX_ATTESTATIONS)
            signs = keys.state == "found" or _has_signatures(asked.documents.get(top.name), top.version)
            asked.signs |= dict.fromkeys(names, signs)
            if not signs:
                continue
            others = sorted(set(here) - {_name(top)})
            versions = {name: {version for each, version in others if each == name} for name, _ in others}
            await a_few_at_once(
                [partial(_ask_document, registry, asked, *each) for each in versions.items() if each[0] != top.name],
                lambda count: progress(f"asked about {count} packages"),
            )
            promised = [each for each in others if _promises(asked, each)]
            await a_few_at_once(
                [partial(_ask_attestations, registry, asked, each, MAX_OF_DEPENDENCY) for each in promised],
                lambda count: progress(f"asked who built {count} packages it needs"),
            )


async def _ask_document(registry: Reader, asked: _Asked, name: str, versions: Collection[str]) -> None:
    """Only what it says of these versions is kept: others may be thousands."""
    answer = await registry.ask(segment(name), accept=_SHORT)
    told = {version: _dig(answer, "versions", version) for version in versions}
    asked.documents[name] = replace(answer, document={"versions": told}) if answer.state == "found" else answer


async def _ask_attestations(registry: Reader, asked: _Asked, name: Name, limit: int) -> None:
    path = f"-/npm/v1/attestations/{segment(name[0])}@{segment(name[1])}"
    asked.attestations[name] = await registry.ask(path, limit=limit)


def _promises(asked: _Asked, name: Name) -> bool:
    """Whether the registry says that it has attestations of this version; where it says that it has none, that counts.

    Most packages have none, and a registry that signs lists those that have.
    """
    document = asked.documents.get(name[0])
    if _dig(document, "versions", name[1]) is None:
        return False
    promised = _dig(document, "versions", name[1], "dist", "attestations") is not None
    if not promised:
        asked.attestations[name] = Answer("absent")
    return promised


def _verify(asked: _Asked, packages: Sequence[Locked], top: Locked, roots: Roots) -> Evidence:
    keys = read_keys(roots.npm_keys)
    found = any(answer.state == "found" for answer in asked.attestations.values())
    bundles = Bundles(roots.sigstore) if found else None
    document = asked.documents.get(top.name)
    claimed = _text(_dig(document, "time", top.version))
    signatures: dict[Name, EvidenceRecord] = {}
    attested: dict[Name, Attestations] = {}
    for each in packages:
        name = _name(each)
        attested[name] = _attested(asked, each, bundles, keys)
        told = claimed if each == top else ""
        signatures[name] = _signature(keys, each, asked, attested[name].published_at, told)
    own = attested[_name(top)]
    given = [_name(top), *sorted(set(asked.attestations) - {_name(top)})]
    return Evidence(
        records=(signatures[_name(top)], own.publication, own.provenance),
        publisher=own.publisher,
        maintainers=_maintainers(document, top.version),
        released=claimed,
        signatures=signatures,
        provenances={name: (_worst(each), each.publisher) for name, each in attested.items()},
        documents={
            "@".join(name): asked.attestations[name].document
            for name in given
            if name in asked.attestations and asked.attestations[name].state == "found"
        },
    )


def _worst(attested: Attestations) -> EvidenceRecord:
    """Of a dependency there is one record: a statement of publication that is wrong is no less wrong."""
    wrong = attested.publication.state == "invalid"
    return replace(attested.publication, kind="provenance") if wrong else attested.provenance


def _attested(asked: _Asked, package: Locked, bundles: Bundles | None, keys: Keys) -> Attestations:
    answer = asked.attestations.get(_name(package), _NOT_ASKED)
    if answer.state == "found" and bundles is not None:
        return attestations(bundles, keys, _release(package), answer.document)
    document = asked.documents.get(package.name)
    announced = _dig(document, "versions", package.version, "dist", "attestations") is not None
    state: EvidenceState = "unavailable"
    why = f"the registry does not give its attestations: {answer.why}"
    if answer.state == "absent" and not announced and asked.signs.get(package.name):
        state, why = "missing", ""
    return Attestations(EvidenceRecord("provenance", state, why), EvidenceRecord("publication", state, why))


def _signature(keys: Keys, package: Locked, asked: _Asked, signed_at: int | None, claimed: str) -> EvidenceRecord:
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


def _name(package: Locked) -> Name:
    return package.name, package.version


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
