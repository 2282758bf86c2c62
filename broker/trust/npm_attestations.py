"""What an npm registry offers about one version: its signature, its word on who published, how it was built.

Each is checked against the bytes that were verified, never against what the registry says their hash is.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from broker.errors import TrustError
from broker.pin import EvidenceRecord, Publisher
from broker.trust.sigstore_bundles import Bundles, about, decoded, lacks_proof, statement

PROVENANCE: Final = frozenset({"https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"})
PUBLICATION: Final = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
SIGNATURES: Final = "npm:signatures"
ATTESTATIONS: Final = "npm:attestations"
MAX_SIGNATURES = 16  # the registry gives one, and two while it moves to a new key


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a package; `integrity` is that of the bytes that will run."""

    name: str
    version: str
    integrity: str

    @property
    def purl(self) -> str:
        return f"pkg:npm/{self.name.replace('@', '%40')}@{self.version}"

    @property
    def sha512(self) -> str:
        return base64.b64decode(self.integrity.removeprefix("sha512-")).hex()


@dataclass(frozen=True, slots=True)
class Key:
    """A registry's key and the time in which it may sign, in seconds since the epoch."""

    key: EllipticCurvePublicKey
    start: float
    end: float | None


Keys = Mapping[tuple[str, str], Key]


def read_keys(document: bytes) -> Keys:
    """The registry's keys by id and use.

    Raises:
        TrustError: the document is not one of keys.
    """
    try:
        return dict(_key(each) for each in json.loads(document)["keys"])
    except (ValueError, TypeError, KeyError) as cause:
        raise TrustError("the registry's keys cannot be read") from cause


def _key(entry: Mapping[str, Any]) -> tuple[tuple[str, str], Key]:
    public, valid = entry["publicKey"], entry["publicKey"].get("validFor", {})
    key = load_der_public_key(base64.b64decode(public["rawBytes"]))
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("not an elliptic curve")
    end = valid.get("end")
    return (entry["keyId"], entry["keyUsage"]), Key(key, seconds(valid["start"]), seconds(end) if end else None)


def seconds(text: str) -> float:
    """An ISO time as seconds since the epoch; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment.timestamp()


def registry_signature(
    keys: Keys, release: Release, signatures: object, *, signed_at: float | None, claimed: str = ""
) -> EvidenceRecord:
    """Verify the registry's own signature.

    `signed_at` is a time that something trusted signed; `claimed` is the registry's word for when it was published,
    which can only make a retired key worse.
    """
    if not isinstance(signatures, list) or not 0 < len(signatures) <= MAX_SIGNATURES:
        return EvidenceRecord("signature", "invalid", "the registry's signatures cannot be read")
    message = f"{release.name}@{release.version}:{release.integrity}".encode()
    best = EvidenceRecord("signature", "invalid", "none of its signatures is by a key known here")
    for each in signatures:
        keyid = each.get("keyid") if isinstance(each, dict) else None
        key = keys.get((keyid, SIGNATURES)) if isinstance(keyid, str) else None
        if key is None:
            continue
        try:
            key.key.verify(decoded(each.get("sig")), message, ECDSA(SHA256()))
        except (InvalidSignature, TrustError):
            return EvidenceRecord("signature", "invalid", "the registry's signature is not for these bytes")
        if key.end is None:
            return EvidenceRecord("signature", "verified", f"key {keyid}")
        best = _by_retired_key(key.end, signed_at, claimed)
    return best


def _by_retired_key(end: float, signed_at: float | None, claimed: str) -> EvidenceRecord:
    retired = datetime.fromtimestamp(end).astimezone().date().isoformat()
    try:
        when = signed_at if signed_at is not None else seconds(claimed)
    except ValueError:
        when = None
    if when is not None and when > end:
        return EvidenceRecord("signature", "invalid", f"signed with a key that was retired on {retired}, after that")
    if signed_at is None:
        unproven = f"signed with a key that was retired on {retired}; nothing proves that it was before that"
        return EvidenceRecord("signature", "unavailable", unproven)
    return EvidenceRecord("signature", "verified", f"with a key that was retired on {retired}, before that")


@dataclass(frozen=True, slots=True)
class Attestations:
    """What a version's attestations came to."""

    provenance: EvidenceRecord
    publication: EvidenceRecord
    publisher: Publisher | None = None
    published_at: int | None = None
    """A signed time, from either of them."""


def attestations(bundles: Bundles, keys: Keys, release: Release, document: object) -> Attestations:
    """Verify everything the registry's attestation document holds about one version."""
    listed = document.get("attestations") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_SIGNATURES:
        broken = "the registry's answer is not a list of attestations"
        return Attestations(EvidenceRecord("provenance", "invalid", broken),
                            EvidenceRecord("publication", "invalid", broken))  # fmt: skip
    publisher: Publisher | None = None
    times: list[int] = []

    def provenance(bundle: Mapping[str, Any], kind: str) -> str:
        nonlocal publisher
        publisher = _provenance(bundles, release, bundle, kind)
        times.append(publisher.signed_at)
        return f"log entry {publisher.log_index}"

    def publication(bundle: Mapping[str, Any], _kind: str) -> str:
        times.append(_publication(bundles, keys, release, bundle))
        return "the registry's own attestation"

    built = _judged("provenance", [each for each in listed if _kind_of(each) in PROVENANCE], provenance)
    published = _judged("publication", [each for each in listed if _kind_of(each) == PUBLICATION], publication)
    if built.state != "verified":
        publisher = None
    return Attestations(built, published, publisher, min(times) if times else None)


def _kind_of(entry: object) -> str:
    return str(entry.get("predicateType")) if isinstance(entry, dict) else ""


def _judged(kind: Any, entries: list[Any], verify: Callable[[Mapping[str, Any], str], str]) -> EvidenceRecord:
    """One record for all attestations of a kind: a single one that is wrong makes it wrong."""
    said = EvidenceRecord(kind, "missing")
    for entry in entries:
        bundle = entry.get("bundle")
        if not isinstance(bundle, dict):
            return EvidenceRecord(kind, "invalid", "it has no bundle")
        if lacks_proof(bundle):
            said = EvidenceRecord(kind, "missing", "only an old bundle that cannot be checked offline")
            continue
        try:
            said = EvidenceRecord(kind, "verified", verify(bundle, _kind_of(entry)))
        except TrustError as cause:
            return EvidenceRecord(kind, "invalid", str(cause))
    return said


def _provenance(bundles: Bundles, release: Release, bundle: Mapping[str, Any], kind: str) -> Publisher:
    attested = bundles.verify(bundle)
    if attested.statement.get("predicateType") != kind:
        raise TrustError("it states something else than the registry says")
    about(attested.statement, release.purl, "sha512", release.sha512)
    claim = _claimed_repository(attested.statement)
    if claim != attested.publisher.repository:
        raise TrustError(f"it claims the repository {claim[:120]!a}, its certificate says another")
    return attested.publisher


def _claimed_repository(said: Mapping[str, Any]) -> str:
    """The repository the builder says it built, in either version of SLSA."""
    predicate = said.get("predicate")
    for path in (("buildDefinition", "externalParameters", "workflow", "repository"),
                 ("invocation", "configSource", "uri")):  # fmt: skip
        found: object = predicate
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found.removeprefix("git+").partition("@")[0].removesuffix(".git")
    return ""


def _publication(bundles: Bundles, keys: Keys, release: Release, bundle: Mapping[str, Any]) -> int:
    """The registry's statement that it published these bytes; when the log took it in."""
    try:
        envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
        (signature,), (entry,) = envelope["signatures"], material["tlogEntries"]
        payload, kind = decoded(envelope["payload"]), str(envelope["payloadType"])
        keyid = signature.get("keyid") or material["publicKey"]["hint"]
        proof = decoded(signature["sig"])
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise TrustError("the bundle is not shaped like one") from cause
    key = keys.get((str(keyid), ATTESTATIONS))
    if key is None:
        raise TrustError("it is signed with a key not known here")
    message = b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
    try:
        key.key.verify(proof, message, ECDSA(SHA256()))
    except InvalidSignature as cause:
        raise TrustError("its signature does not verify") from cause
    said = statement(kind, payload)
    if said.get("predicateType") != PUBLICATION:
        raise TrustError("it states something else than the registry says")
    about(said, release.purl, "sha512", release.sha512)
    predicate = said.get("predicate")
    if not isinstance(predicate, dict) or (predicate.get("name"), predicate.get("version")) != (
        release.name, release.version,
    ):  # fmt: skip
        raise TrustError("it speaks of another package")
    when = bundles.logged_at(entry, payload)
    if not key.start <= when or (key.end is not None and when >= key.end):
        raise TrustError("it was signed when its key was not in use")
    return when
