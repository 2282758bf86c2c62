"""What speaks for an image: statements about its digest that the registry keeps beside it, verified offline.

Asked of the registry the image came from and of nobody else.  A statement that is there and wrong is `invalid`, which
refuses the image; one in the form of years ago carries no proof that can be checked offline and counts as none.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import EvidenceRecord, EvidenceState, Publisher
from broker.trust.evidence import Evidence
from broker.trust.oci_client import MANIFESTS, Absent, OciRegistry
from broker.trust.oci_reference import DIGEST
from broker.trust.sigstore_bundles import Bundles, decoded, lacks_proof
from broker.trust.trust_root import Roots

MAX_STATEMENTS: Final = 16  # a build leaves two or three; each costs requests
MAX_BUNDLE: Final = 4 << 20  # a real one has 20 KiB; one with a list of contents is larger
BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_SPEAKS: Final = ("https://slsa.dev/provenance/", "https://sigstore.dev/cosign/sign/")
"""Statements about who made an image.  Others, about its contents say, are somebody's word on something else."""


async def gather(registry: OciRegistry, digests: tuple[str, ...], roots: Roots) -> Evidence:
    """Ask about each digest and verify; what cannot be asked is `unavailable`."""
    try:
        bundles = [bundle for digest in dict.fromkeys(digests) for bundle in await _bundles(registry, digest)]
        older = [] if bundles else [each for each in digests if await _has_old_signature(registry, each)]
    except TrustError as cause:
        return _one("unavailable", str(cause))
    return await anyio.to_thread.run_sync(_judge, bundles, digests, bool(older), roots)


async def _bundles(registry: OciRegistry, digest: str) -> list[Mapping[str, Any]]:
    found = await registry.referrers(digest)
    listed = found.value.get("manifests") if found is not None else None
    named = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    chosen = [each for each in named if str(each.get("artifactType", "")).startswith(BUNDLE)]
    if len(chosen) > MAX_STATEMENTS:
        raise TrustError(f"the registry keeps {len(chosen)} statements about the image, more than are read")
    bundles: list[Mapping[str, Any]] = []
    for each in chosen:
        manifest = await registry.manifest(_digest(each), MANIFESTS)
        for layer in manifest.value.get("layers") or ():
            if isinstance(layer, dict) and str(layer.get("mediaType", "")).startswith(BUNDLE):
                data = await registry.small_blob(_digest(layer), "a statement about the image", MAX_BUNDLE)
                bundles.append(_object(data))
    return bundles


async def _has_old_signature(registry: OciRegistry, digest: str) -> bool:
    try:
        await registry.manifest(f"{digest.replace(':', '-')}.sig", MANIFESTS)
    except Absent:
        return False
    return True


def _judge(bundles: list[Mapping[str, Any]], digests: tuple[str, ...], older: bool, roots: Roots) -> Evidence:
    verifier = Bundles(roots.sigstore)
    makers: list[Publisher] = []
    old_form = older
    for bundle in bundles:
        if not _about_making(bundle):
            continue
        if lacks_proof(bundle):
            old_form = True
            continue
        try:
            attested = verifier.verify(bundle)
            _about_this(attested.statement, digests)
        except TrustError as cause:
            return _one("invalid", str(cause))
        makers.append(attested.publisher)
    if makers:
        maker = max(makers, key=lambda each: each.signed_at)
        others = {(each.issuer, each.owner_id or each.subject) for each in makers}
        if len(others) > 1:
            return _one("invalid", "its statements come from different hands")
        return Evidence((EvidenceRecord("provenance", "verified"),), publisher=maker)
    return _one("missing", "an older signature is there, which cannot be checked offline" if old_form else "")


def _about_making(bundle: Mapping[str, Any]) -> bool:
    """Whether it claims to say who made the image; what is unreadable counts as such, and is then refused."""
    try:
        payload = bundle["dsseEnvelope"]["payload"]
        said = json.loads(decoded(payload)).get("predicateType")
    except (TrustError, KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return True
    return not isinstance(said, str) or said.startswith(_SPEAKS)


def _about_this(said: Mapping[str, Any], digests: tuple[str, ...]) -> None:
    """The digest alone says what an image is; its names are anybody's."""
    found = said["subject"][0].get("digest")
    if not isinstance(found, dict) or f"sha256:{found.get('sha256')}" not in digests:
        raise TrustError("it speaks of another image")


def _one(state: EvidenceState, detail: str) -> Evidence:
    return Evidence((EvidenceRecord("provenance", state, detail),))


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise TrustError("the registry names something about the image by no digest")
    return digest


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}
