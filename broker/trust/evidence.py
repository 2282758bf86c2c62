"""What speaks for a package beside its hash, gathered while it is being pinned, and never at a launch.

Whatever is there must hold: evidence that is wrong refuses the package.  Light to import; what verifies loads
libraries that a running daemon has no use for, so it is loaded here, at the moment of pinning.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import EvidenceRecord, PackageRef, PinnedArtifact, Provenance, Publisher, TrustBasis
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import NpmSettings
from broker.trust.proofs import MAX_PROOF, keep_proof
from broker.trust.pypi_package import WheelFile
from broker.trust.pypi_settings import PypiSettings
from broker.trust.spoken import plain
from broker.trust.store import Store
from broker.trust.trust_root import Roots, packaged

_NOUNS = {
    "signature": "the registry's signature",
    "publication": "the registry's statement of publication",
    "provenance": "its provenance",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found: of the package that is run, and of each package by name and version.

    `documents` is what the index gave to prove it, as it came; the first is of the package that is run.
    """

    records: tuple[EvidenceRecord, ...]
    publisher: Publisher | None = None
    maintainers: tuple[str, ...] = ()
    released: str = ""
    signatures: Mapping[tuple[str, str], EvidenceRecord] = field(default_factory=dict)
    provenances: Mapping[tuple[str, str], tuple[EvidenceRecord, Publisher | None]] = field(default_factory=dict)
    documents: Mapping[str, object] = field(default_factory=dict)


Progress = Callable[[str], None]
NpmGather = Callable[[Sequence[Locked], str, NpmSettings, Mapping[str, str], Roots, Progress], Awaitable[Evidence]]
PypiGather = Callable[[Sequence[WheelFile], str, PypiSettings, Mapping[str, str], Roots, Progress], Awaitable[Evidence]]


def _unsaid(_text: str) -> None:
    """Nobody waits for it."""


async def of_npm(
    packages: Sequence[Locked],
    main: str,
    settings: NpmSettings,
    environment: Mapping[str, str],
    roots: Roots | None = None,
    progress: Progress = _unsaid,
) -> Evidence:
    """The evidence for every package of an npm closure.

    Raises:
        TrustError: some of it is there and wrong.
    """
    gather = await anyio.to_thread.run_sync(_load_npm)
    return sound(main, await gather(packages, main, settings, environment, roots or packaged(), progress))


async def of_pypi(
    wheels: Sequence[WheelFile],
    main: str,
    settings: PypiSettings,
    environment: Mapping[str, str],
    roots: Roots | None = None,
    progress: Progress = _unsaid,
) -> Evidence:
    """The evidence for every file of a closure from a Python index.

    Raises:
        TrustError: some of it is there and wrong.
    """
    gather = await anyio.to_thread.run_sync(_load_pypi)
    return sound(main, await gather(wheels, main, settings, environment, roots or packaged(), progress))


def keep(evidence: Evidence, store: Store, roots: Roots | None) -> TrustBasis:
    """Keep the proofs, as many as there is room for, so that they can be judged again; say what judged them."""
    pieces: list[str] = []
    room = MAX_PROOF
    for name, document in evidence.documents.items():
        piece = f"{json.dumps(name)}:{json.dumps(document, sort_keys=True, separators=(',', ':'))}"
        if (room := room - len(piece) - 2) < 0:
            break
        pieces.append(piece)
    text = f"{{{','.join(pieces)}}}".encode() if pieces else b""
    return (roots or packaged()).basis(time.time(), keep_proof(store.root, text) if text else "")


def with_evidence(artifact: PinnedArtifact, evidence: Evidence) -> PinnedArtifact:
    """The artifact, with what speaks for it."""
    return replace(
        artifact,
        packages=tuple(_spoken_for(each, evidence) for each in artifact.packages),
        evidence=evidence.records,
        publisher=evidence.publisher,
        maintainers=evidence.maintainers,
        released=evidence.released,
    )


def _spoken_for(package: PackageRef, evidence: Evidence) -> PackageRef:
    key = package.name, package.version
    if signature := evidence.signatures.get(key):
        package = replace(package, signature=signature.state)
    if found := evidence.provenances.get(key):
        package = replace(package, provenance=Provenance(found[0].state, found[1]))
    return package


def sound(main: str, evidence: Evidence) -> Evidence:
    """The same evidence, if none of it is wrong.

    Raises:
        TrustError: some of it is there and wrong.
    """
    spoken = [(main, record) for record in evidence.records]
    spoken += [(f"{name} {version}", record) for (name, version), record in evidence.signatures.items()]
    spoken += [(f"{name} {version}", record) for (name, version), (record, _) in evidence.provenances.items()]
    for name, record in spoken:
        if record.state == "invalid":
            raise TrustError(
                f"{plain(name)}: {_NOUNS[record.kind]} does not hold: {plain(record.detail)}",
                hint="do not use this version; ask its author, or pin an earlier one",
            )
    return evidence


def _load_npm() -> NpmGather:
    from broker.trust.npm_evidence import gather

    return gather


def _load_pypi() -> PypiGather:
    from broker.trust.pypi_evidence import gather

    return gather
