"""The signature block of an MCPB bundle: whether it is there, whether it holds, and whose key made it.

The block is found by its length from the end of the file, never by searching from the front.  A block that does not
hold makes the bundle invalid; it is never the same as none.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_der_x509_certificate

from broker.errors import TrustError
from broker.pin import EvidenceState
from broker.trust import der

HEAD: Final = b"MCPB_SIG_V1"
FOOT: Final = b"MCPB_SIG_END"
MAX_BLOCK: Final = 64 * 1024  # bytes; a signature with its certificates has about 2,000
MAX_CERTIFICATES: Final = 8
MIN_RSA: Final = 2048
_END: Final = b"PK\5\6"
_END_SIZE: Final = 22

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_SHA256 = bytes.fromhex("608648016503040201")


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle's bytes without the block, and what the block says.

    `key` is the SHA-256 (hex) of the signer's public key; `detail` names the certificates, or what is wrong.
    """

    body: bytes
    state: EvidenceState
    detail: str = ""
    key: str = ""
    subject: str = ""


def read_signature(data: bytes) -> Signed:
    """Judge the block at the end of a bundle."""
    if not data.endswith(FOOT):
        if HEAD in data[-MAX_BLOCK:] or FOOT in data[-MAX_BLOCK:]:
            return Signed(data, "invalid", "its signature block is cut off, or bytes follow it")
        return Signed(data, "missing")
    start = _start(data)
    if start is None:
        return Signed(data, "invalid", "its signature block has another length than it says")
    body = _as_zipped(data[:start], len(data) - start)
    block = data[start + len(HEAD) + 4 : -len(FOOT)]
    try:
        return _judged(block, body, data[:start])
    except (TrustError, ValueError, UnsupportedAlgorithm) as cause:
        return Signed(body, "invalid", str(cause) if isinstance(cause, TrustError) else "its block cannot be read")


def _start(data: bytes) -> int | None:
    """Where a block begins that says exactly as much as there is."""
    at = len(data)
    while (at := data.rfind(HEAD, max(0, len(data) - MAX_BLOCK), at)) >= 0:
        told = data[at + len(HEAD) : at + len(HEAD) + 4]
        if len(told) == 4 and at + len(HEAD) + 4 + struct.unpack("<I", told)[0] + len(FOOT) == len(data):
            return at
    return None


def _as_zipped(body: bytes, block: int) -> bytes:
    """The archive as it was signed: some signers then count the block as its comment, so that it still opens."""
    at = len(body) - _END_SIZE
    if at >= 0 and body[at : at + 4] == _END and body[-2:] == struct.pack("<H", block & 0xFFFF) and block <= 0xFFFF:
        return body[:-2] + b"\0\0"
    return body


def _judged(block: bytes, body: bytes, as_stored: bytes) -> Signed:
    """One signer, SHA-256, over signed attributes that name the content.

    Raises:
        TrustError: anything else, or a signature that does not hold.
    """
    named, wrapped = _exactly(der.read(block).children(der.SEQUENCE), 2)
    if named.holding(der.OBJECT) != _SIGNED_DATA:
        raise TrustError("its signature block holds no signature")
    (data,) = _exactly(wrapped.children(0xA0), 1)
    _version, _digests, content, *others = data.children(der.SEQUENCE)
    (kind,) = _exactly(content.children(der.SEQUENCE), 1)
    if kind.holding(der.OBJECT) != _DATA:
        raise TrustError("its signature is about something else than the bundle")
    listed = [each for each in others if each.tag == 0xA0]
    (signers,) = _exactly([each for each in others if each.tag == der.SET], 1)
    (signer,) = _exactly(signers.children(), 1)
    certificates = [load_der_x509_certificate(each.whole) for each in listed[0].children()] if listed else []
    if not 1 <= len(certificates) <= MAX_CERTIFICATES:
        raise TrustError("its signature block brings no certificate, or too many")
    _number, who, digest, attributes, _algorithm, value, *_unsigned = signer.children(der.SEQUENCE)
    if digest.children(der.SEQUENCE)[0].holding(der.OBJECT) != _SHA256 or attributes.tag != 0xA0:
        raise TrustError("its signature uses another digest than SHA-256")
    told = _attributes(attributes)
    if told.get(_CONTENT_TYPE, der.Value(0, b"", b"")).content != _DATA:
        raise TrustError("its signature is about something else than the bundle")
    wanted = told[_MESSAGE_DIGEST].holding(der.OCTETS) if _MESSAGE_DIGEST in told else b""
    if wanted not in {hashlib.sha256(each).digest() for each in (body, as_stored)}:
        raise TrustError("the bundle was changed after it was signed")
    certificate = _signer(who, certificates)
    _verify(certificate, value.holding(der.OCTETS), bytes([der.SET]) + attributes.whole[1:])
    return _holds(body, certificate, certificates)


def _exactly(values: list[der.Value], count: int) -> list[der.Value]:
    if len(values) != count:
        raise TrustError("its signature block is not built as it should be")
    return values


def _attributes(attributes: der.Value) -> dict[bytes, der.Value]:
    told: dict[bytes, der.Value] = {}
    for each in attributes.children():
        name, values = _exactly(each.children(der.SEQUENCE), 2)
        if name.holding(der.OBJECT) in told:
            raise TrustError("its signature says one thing twice")
        listed = values.children(der.SET)
        if name.content in {_CONTENT_TYPE, _MESSAGE_DIGEST}:
            _exactly(listed, 1)
        if listed:
            told[name.content] = listed[0]
    return told


def _signer(who: der.Value, certificates: list[Certificate]) -> Certificate:
    issuer, serial = _exactly(who.children(der.SEQUENCE), 2)
    number = int.from_bytes(serial.holding(der.INTEGER), "big", signed=True)
    for each in certificates:
        if each.serial_number == number and each.issuer.public_bytes() == issuer.whole:
            return each
    raise TrustError("its signature names a certificate that it does not bring")


def _verify(certificate: Certificate, signature: bytes, signed: bytes) -> None:
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA:
            key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(SHA256()))
        else:
            raise TrustError("its signature is by a kind of key that is not accepted")
    except InvalidSignature as cause:
        raise TrustError("its signature does not hold") from cause


def _holds(body: bytes, certificate: Certificate, certificates: list[Certificate]) -> Signed:
    subject = certificate.subject.rfc4514_string() or "nobody named"
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.issuer == certificate.subject:
        chain = "self-signed, so anybody may claim the name"
    else:
        names = [each.subject.rfc4514_string() for each in certificates if each is not certificate]
        above = ", ".join([certificate.issuer.rfc4514_string(), *names])
        chain = f"issued by {above}, which was not checked: no authority is trusted here"
    until = f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
    hashed = hashlib.sha256(key).hexdigest()
    return Signed(body, "verified", f"{subject} ({chain}; {until}), key sha256 {hashed}", hashed, subject)
