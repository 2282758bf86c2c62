"""A whole Sigstore of the tests' own: a certificate authority, a certificate log, a transparency log, a registry key.

What it signs verifies with the unmodified sigstore library under the roots it hands out, and under no others.
"""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.trust.certificates import GITHUB
from broker.trust.sigstore_bundles import PAYLOAD_TYPE
from broker.trust.trust_root import Roots

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
RETIRED: Final = datetime(2025, 1, 1, tzinfo=UTC)
NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_ARC: Final = "1.3.6.1.4.1.57264.1"
_SCT: Final = "1.3.6.1.4.1.11129.2.4.2"
_LOG: Final = "log.test"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ECDSA(SHA256()))


def pae(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


@dataclass(frozen=True)
class Builder:
    """Whom the certificate authority vouches for."""

    repository: str = "org/repo"
    repository_id: str = "1001"
    owner_id: str = "2002"
    workflow: str = ".github/workflows/release.yml"
    ref: str = "refs/tags/v1"
    commit: str = "a" * 40
    runner: str = "github-hosted"
    issuer: str = GITHUB
    when: datetime = NOW
    extra: tuple[tuple[int, bytes], ...] = ()
    """Certificate values that take the place of ours, as raw bytes."""

    @property
    def subject(self) -> str:
        return f"https://github.com/{self.repository}/{self.workflow}@{self.ref}"

    def extensions(self) -> dict[int, bytes]:
        owner = self.repository.partition("/")[0]
        bare = {1: self.issuer, 2: "push", 3: self.commit, 4: "Release", 5: self.repository, 6: self.ref}
        der = {
            8: self.issuer, 9: self.subject, 10: self.commit, 11: self.runner,
            12: f"https://github.com/{self.repository}", 13: self.commit, 14: self.ref, 15: self.repository_id,
            16: f"https://github.com/{owner}", 17: self.owner_id, 18: self.subject, 19: self.commit, 20: "push",
            22: "public",
        }  # fmt: skip
        values = {number: text.encode() for number, text in bare.items()}
        return values | {number: utf8_string(text) for number, text in der.items()} | dict(self.extra)


def utf8_string(text: str) -> bytes:
    return b"\x0c" + _length(len(text.encode())) + text.encode()


def _length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    return bytes([0x81, size]) if size < 256 else b"\x82" + struct.pack("!H", size)


class MiniSigstore:
    def __init__(self) -> None:
        self.authority, self.certificate_log, self.log, self.registry, self.old_registry = (
            generate_private_key(SECP256R1()) for _ in range(5)
        )
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"),
                          x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])  # fmt: skip
        self.root = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(START).not_valid_after(START + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(True, 1), True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), False)
            .sign(self.authority, SHA256())
        )  # fmt: skip
        self.log_id = hashlib.sha256(spki(self.log)).digest()
        self.leaves: list[bytes] = []

    # --- what verifiers are given ---

    def roots(self) -> Roots:
        return Roots(json.dumps(self.trusted_root()).encode(), json.dumps(self.npm_keys()).encode())

    def trusted_root(self) -> dict[str, Any]:
        valid = {"start": START.isoformat().replace("+00:00", "Z")}

        def key(of: EllipticCurvePrivateKey) -> dict[str, Any]:
            return {"rawBytes": b64(spki(of)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}

        def log(of: EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
            log_id = {"keyId": b64(hashlib.sha256(spki(of)).digest())}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": key(of), "logId": log_id}

        authority = {
            "subject": {"organization": "test", "commonName": "test authority"},
            "uri": "https://ca.test",
            "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(Encoding.DER))}]},
            "validFor": valid,
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log, f"https://{_LOG}")],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self.certificate_log, "https://ct.test")],
            "timestampAuthorities": [],
        }

    def npm_keys(self) -> dict[str, Any]:
        def key(of: EllipticCurvePrivateKey, usage: str, valid: dict[str, str]) -> dict[str, Any]:
            public = {"rawBytes": b64(spki(of)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}
            return {"keyId": self.keyid(of), "keyUsage": usage, "publicKey": public}

        old = {"start": START.isoformat(), "end": RETIRED.isoformat()}
        new = {"start": RETIRED.isoformat()}
        usages = ("npm:signatures", "npm:attestations")
        return {
            "keys": [
                *(key(self.old_registry, usage, old) for usage in usages),
                *(key(self.registry, usage, new) for usage in usages),
            ]
        }

    def keyid(self, of: EllipticCurvePrivateKey | None = None) -> str:
        return "SHA256:" + b64(hashlib.sha256(spki(of or self.registry)).digest()).rstrip("=")

    # --- signing ---

    def registry_signature(
        self, name: str, version: str, integrity: str, key: EllipticCurvePrivateKey | None = None
    ) -> dict[str, str]:
        signed = sign(key or self.registry, f"{name}@{version}:{integrity}".encode())
        return {"keyid": self.keyid(key), "sig": b64(signed)}

    def bundle(
        self, statement: object, builder: Builder, *, payload_type: str = PAYLOAD_TYPE, logged: datetime | None = None
    ) -> dict[str, Any]:
        """A statement, signed with a certificate for `builder` and logged."""
        key, certificate = self.certificate(builder)
        payload = json.dumps(statement).encode()
        signature = sign(key, pae(payload_type, payload))
        proof = b64(certificate.public_bytes(Encoding.PEM))
        envelope = {"payload": b64(payload), "payloadType": payload_type,
                    "signatures": [{"sig": b64(signature), "keyid": ""}]}  # fmt: skip
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self.entry(envelope, payload, proof, logged or builder.when)],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": envelope,
        }

    def bundle_by_key(
        self, statement: object, key: EllipticCurvePrivateKey | None = None, when: datetime = NOW
    ) -> dict[str, Any]:
        """A statement the registry itself signed and logged, as its statements of publication are."""
        key = key or self.registry
        payload = json.dumps(statement).encode()
        signature = {"sig": b64(sign(key, pae(PAYLOAD_TYPE, payload))), "keyid": self.keyid(key)}
        envelope = {"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2",
            "verificationMaterial": {
                "publicKey": {"hint": self.keyid(key)},
                "tlogEntries": [self.entry(envelope, payload, b64(pem), when)],
            },
            "dsseEnvelope": envelope,
        }

    def certificate(self, builder: Builder) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        key = generate_private_key(SECP256R1())
        serial = x509.random_serial_number()

        def make(proof: bytes | None) -> x509.Certificate:
            made = (
                x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.root.subject)
                .public_key(key.public_key()).serial_number(serial)
                .not_valid_before(builder.when - timedelta(seconds=5))
                .not_valid_after(builder.when + timedelta(minutes=10))
                .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False)
                .add_extension(
                    x509.SubjectAlternativeName([x509.UniformResourceIdentifier(builder.subject)]), True)
            )  # fmt: skip
            for number, value in builder.extensions().items():
                oid = x509.ObjectIdentifier(f"{_ARC}.{number}")
                made = made.add_extension(x509.UnrecognizedExtension(oid, value), False)
            if proof is not None:
                made = made.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(_SCT), proof), False)
            return made.sign(self.authority, SHA256())

        return key, make(self._certificate_proof(make(None).tbs_certificate_bytes, builder.when))

    def _certificate_proof(self, certificate: bytes, when: datetime) -> bytes:
        """A signed certificate timestamp, as RFC 6962 wants it in a certificate."""
        milliseconds = int(when.timestamp() * 1000)
        about = hashlib.sha256(spki(self.authority)).digest() + struct.pack("!I", len(certificate))[1:] + certificate
        signed = sign(self.certificate_log, struct.pack("!BBQH", 0, 0, milliseconds, 1) + about + b"\0\0")
        stamp = b"\0" + hashlib.sha256(spki(self.certificate_log)).digest() + struct.pack("!Q", milliseconds)
        stamp += b"\0\0\x04\x03" + struct.pack("!H", len(signed)) + signed
        listed = struct.pack("!H", len(stamp)) + stamp
        listed = struct.pack("!H", len(listed)) + listed
        return b"\x04" + _length(len(listed)) + listed

    def entry(self, envelope: object, payload: bytes, proof: str, when: datetime) -> dict[str, Any]:
        """Log an envelope; the entry proves that it is in the log, and when it came."""
        assert isinstance(envelope, dict)
        body = rfc8785.dumps({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": _sha256(json.dumps(envelope).encode()), "payloadHash": _sha256(payload),
                "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": proof}],
            },
        })  # fmt: skip
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        index, size, top = len(self.leaves) - 1, len(self.leaves), _merkle_root(self.leaves)
        note = f"{_LOG} - 1\n{size}\n{b64(top)}\n"
        checkpoint = f"{note}\n\u2014 {_LOG} {b64(self.log_id[:4] + sign(self.log, note.encode()))}\n"
        came = int(when.timestamp())
        promise = sign(self.log, rfc8785.dumps(
            {"body": b64(body), "integratedTime": came, "logID": self.log_id.hex(), "logIndex": index}))  # fmt: skip
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(came),
            "inclusionPromise": {"signedEntryTimestamp": b64(promise)},
            "inclusionProof": {
                "logIndex": str(index), "rootHash": b64(top), "treeSize": str(size),
                "hashes": [b64(each) for each in _merkle_path(index, self.leaves)],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": b64(body),
        }  # fmt: skip

    # --- what is attested ---

    def provenance(
        self, name: str, version: str, integrity: str, builder: Builder | None = None, *, claims: str = "",
        subject: str = "", **changed: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """An npm attestation of how a package was built."""
        builder = replace(builder or Builder(), **changed)
        workflow = {"ref": builder.ref, "repository": f"https://github.com/{claims or builder.repository}",
                    "path": builder.workflow}  # fmt: skip
        kind = "https://slsa.dev/provenance/v1"
        statement = npm_statement(name, version, integrity, kind, {
            "buildDefinition": {"externalParameters": {"workflow": workflow}}})  # fmt: skip
        if subject:
            statement["subject"][0]["name"] = subject
        return {"predicateType": kind, "bundle": self.bundle(statement, builder)}

    def publication(
        self, name: str, version: str, integrity: str, key: EllipticCurvePrivateKey | None = None, when: datetime = NOW
    ) -> dict[str, Any]:
        """The registry's attestation that it published a package."""
        kind = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
        statement = npm_statement(name, version, integrity, kind, {"name": name, "version": version})
        return {"predicateType": kind, "bundle": self.bundle_by_key(statement, key, when)}

    def pep740(
        self, file: str, sha256: str, builder: Builder | None = None, *, claims: str = "", **changed: Any
    ) -> dict[str, Any]:
        """A Python index's provenance object for one file."""
        builder = replace(builder or Builder(), **changed)
        subject = {"name": file, "digest": {"sha256": sha256}}
        statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject],
                     "predicateType": "https://docs.index.test/attestations/publish/v1", "predicate": None}  # fmt: skip
        bundle = self.bundle(statement, builder)
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
        publisher = {"kind": "GitHub", "repository": claims or builder.repository,
                     "workflow": builder.workflow.rpartition("/")[2], "environment": None}  # fmt: skip
        attestation = {
            "version": 1,
            "verification_material": {
                "certificate": material["certificate"]["rawBytes"],
                "transparency_entries": material["tlogEntries"],
            },
            "envelope": {"statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"]},
        }
        return {"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": [attestation]}]}


def npm_statement(name: str, version: str, integrity: str, kind: str, predicate: object) -> dict[str, Any]:
    sha512 = base64.b64decode(integrity.removeprefix("sha512-")).hex()
    subject = {"name": f"pkg:npm/{name.replace('@', '%40')}@{version}", "digest": {"sha512": sha512}}
    return {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": kind,
            "predicate": predicate}  # fmt: skip


def integrity_of(data: bytes) -> str:
    return f"sha512-{b64(hashlib.sha512(data).digest())}"


def _sha256(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _half(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _merkle_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = _half(len(leaves))
    return hashlib.sha256(b"\1" + _merkle_root(leaves[:half]) + _merkle_root(leaves[half:])).digest()


def _merkle_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if index < half:
        return [*_merkle_path(index, leaves[:half]), _merkle_root(leaves[half:])]
    return [*_merkle_path(index - half, leaves[half:]), _merkle_root(leaves[:half])]
