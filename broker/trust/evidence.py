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
from broker.pin import EvidenceRecord, PinnedArtifact, Publisher, TrustBasis
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import NpmSettings
from broker.trust.proofs import keep_proof
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
    """What was found: of the package that is run, and in `signatures` of each package by name and version.

    `document` is what the index gave to prove it, as it came.
    """

    records: tuple[EvidenceRecord, ...]
    publisher: Publisher | None = None
    maintainers: tuple[str, ...] = ()
    released: str = ""
    signatures: Mapping[tuple[str, str], EvidenceRecord] = field(default_factory=dict)
    document: object = None


NpmGather = Callable[[Sequence[Locked], str, NpmSettings, Mapping[str, str], Roots], Awaitable[Evidence]]
PypiGather = Callable[[WheelFile, PypiSettings, Mapping[str, str], Roots], Awaitable[Evidence]]


async def of_npm(
    packages: Sequence[Locked],
    main: str,
    settings: NpmSettings,
    environment: Mapping[str, str],
    roots: Roots | None = None,
) -> Evidence:
    """The evidence for an npm closure.

    Raises:
        TrustError: some of it is there and wrong.
    """
    gather = await anyio.to_thread.run_sync(_load_npm)
    return sound(main, await gather(packages, main, settings, environment, roots or packaged()))


async def of_pypi(
    wheel: WheelFile, settings: PypiSettings, environment: Mapping[str, str], roots: Roots | None = None
) -> Evidence:
    """The evidence for the wheel that is run.

    Raises:
        TrustError: some of it is there and wrong.
    """
    gather = await anyio.to_thread.run_sync(_load_pypi)
    return sound(wheel.name, await gather(wheel, settings, environment, roots or packaged()))


def keep(evidence: Evidence, store: Store, roots: Roots | None) -> TrustBasis:
    """Keep the proof itself, so that it can be judged again, and say what it was judged by."""
    proof = evidence.document
    text = b"" if proof is None else json.dumps(proof, sort_keys=True, separators=(",", ":")).encode()
    return (roots or packaged()).basis(time.time(), keep_proof(store.root, text) if text else "")


def with_evidence(artifact: PinnedArtifact, evidence: Evidence) -> PinnedArtifact:
    """The artifact, with what speaks for it."""
    packages = tuple(
        replace(each, signature=evidence.signatures[each.name, each.version].state)
        if (each.name, each.version) in evidence.signatures
        else each
        for each in artifact.packages
    )
    return replace(
        artifact,
        packages=packages,
        evidence=evidence.records,
        publisher=evidence.publisher,
        maintainers=evidence.maintainers,
        released=evidence.released,
    )


def sound(main: str, evidence: Evidence) -> Evidence:
    """The same evidence, if none of it is wrong.

    Raises:
        TrustError: some of it is there and wrong.
    """
    spoken = [(main, record) for record in evidence.records]
    spoken += [(f"{name} {version}", record) for (name, version), record in evidence.signatures.items()]
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
