"""Sigstore bundles, verified offline: certificate chain, log inclusion, signed time, signature, and what was stated.

What the bundle says about itself counts only after all of that.  Loads sigstore, which takes its time: import this
module where something is being pinned, and from a worker thread.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Certificate, DuplicateExtension, ExtensionNotFound, UnsupportedGeneralNameType
from pydantic import ValidationError
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import Error as SigstoreError
from sigstore.models import Bundle, TransparencyLogEntry, TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.rekor.v1 import TransparencyLogEntry as LogEntryDocument
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootDocument

from broker.errors import TrustError
from broker.pin import Publisher
from broker.trust.certificates import known_issuer, publisher

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENTS: Final = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_LOGGED_KINDS: Final = frozenset({"dsse", "intoto"})
_BROKEN: Final = (
    SigstoreError, ValidationError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError,
    RecursionError, DuplicateExtension, ExtensionNotFound, UnsupportedAlgorithm, UnsupportedGeneralNameType,
)  # fmt: skip
"""What the libraries raise for a bundle somebody bent."""
_OLDEST: Final = "application/vnd.dev.sigstore.bundle+json;version=0.1"


@dataclass(frozen=True, slots=True)
class Attested:
    """A statement whose signature was verified, and who made it."""

    statement: Mapping[str, Any]
    publisher: Publisher


class Bundles:
    """A verifier over one trusted root.  It never looks at a cache and never reaches out."""

    def __init__(self, trusted_root: bytes) -> None:
        self._root = TrustedRoot(TrustedRootDocument.from_json(trusted_root))
        self._verifier = Verifier(trusted_root=self._root)

    def verify(self, document: Mapping[str, Any]) -> Attested:
        """Verify a bundle that is signed with a certificate.

        Raises:
            TrustError: it does not verify, or a build service not known here signed it.
        """
        try:
            bundle = Bundle.from_json(json.dumps(document))
            payload_type, payload = self._verifier.verify_dsse(bundle, _KnownService())
            times = self._verifier._establish_time(bundle)
        except _BROKEN as cause:
            raise TrustError(f"the bundle does not verify: {_words(cause)}") from cause
        signed_at = min(int(time.time.timestamp()) for time in times)
        entry = bundle.log_entry._inner
        return Attested(
            statement(payload_type, payload),
            publisher(bundle.signing_certificate, entry.log_index, signed_at),
        )

    def logged_at(self, entry: object, payload: bytes) -> int:
        """When the log took in the payload, for a bundle that is signed with a bare key.

        Raises:
            TrustError: the entry is not in the log, carries no signed time, or is about something else.
        """
        try:
            logged = TransparencyLogEntry(LogEntryDocument.from_json(json.dumps(entry)))
            logged._verify(self._root.rekor_keyring(KeyringPurpose.VERIFY))
            body = json.loads(logged._inner.canonicalized_body)
            digest = body["spec"]["content"]["payloadHash"] if body["kind"] == "intoto" else body["spec"]["payloadHash"]
            about = digest["value"] if digest["algorithm"] == "sha256" else ""
        except _BROKEN as cause:
            raise TrustError(f"the log entry does not verify: {_words(cause)}") from cause
        if body["kind"] not in _LOGGED_KINDS or about != hashlib.sha256(payload).hexdigest():
            raise TrustError("the log entry is about something else")
        if not (logged._inner.integrated_time and logged._inner.inclusion_promise):
            raise TrustError("the log entry has no signed time")
        return logged._inner.integrated_time


class _KnownService:
    """The question sigstore asks about a certificate before it looks at anything that was signed."""

    def verify(self, cert: Certificate) -> None:
        known_issuer(cert)


def statement(payload_type: str, payload: bytes) -> Mapping[str, Any]:
    """What was signed, as an in-toto statement about exactly one thing.

    Raises:
        TrustError: it is something else.
    """
    if payload_type != PAYLOAD_TYPE:
        raise TrustError(f"what was signed is of type {payload_type[:80]!a}, not a statement")
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as cause:
        raise TrustError("what was signed is not JSON") from cause
    if not isinstance(said, dict) or said.get("_type") not in _STATEMENTS:
        raise TrustError("what was signed is not an in-toto statement")
    subjects = said.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise TrustError("the statement is not about exactly one thing")
    return said


def about(said: Mapping[str, Any], name: str, algorithm: str, digest: str) -> None:
    """Check that a statement is about this name and these bytes.

    Raises:
        TrustError: it is about something else.
    """
    subject = said["subject"][0]
    if subject.get("name") != name:
        raise TrustError(f"it speaks of {str(subject.get('name'))[:120]!a}, not of {name}")
    digests = subject.get("digest")
    if not isinstance(digests, dict) or digests.get(algorithm) != digest:
        raise TrustError("it speaks of other bytes")


def lacks_proof(document: Mapping[str, Any]) -> bool:
    """A bundle of the first version without an inclusion proof: nobody can check it offline, so it says nothing."""
    material = document.get("verificationMaterial")
    entries = material.get("tlogEntries") if isinstance(material, dict) else None
    return (
        document.get("mediaType") == _OLDEST
        and isinstance(entries, list)
        and len(entries) == 1
        and isinstance(entries[0], dict)
        and "inclusionProof" not in entries[0]
    )


def decoded(text: object) -> bytes:
    """Base64 to bytes.

    Raises:
        TrustError: it is not base64.
    """
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError) as cause:
        raise TrustError("a value in it is not base64") from cause


def _words(cause: Exception) -> str:
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, ValidationError):
        text = "it is not shaped like one"
    return ascii(text[:160])[1:-1]
