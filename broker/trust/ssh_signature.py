"""Signatures of git commits and tags by SSH keys: does one hold for exactly these bytes, and which key made it.

Nobody here knows whose key it is; what is compared from one pin to the next is the key.  Loads cryptography, so it is
imported at the moment of pinning.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from broker.errors import TrustError
from broker.trust.signed_objects import BEGINS, parts_of

BEGIN: Final = BEGINS["SSH"]
END: Final = b"-----END SSH SIGNATURE-----"
_MAGIC: Final = b"SSHSIG"
_DIGESTS: Final = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA: Final[Mapping[bytes, type[SHA256 | SHA512]]] = {
    b"rsa-sha2-256": SHA256,
    b"rsa-sha2-512": SHA512,
}  # SHA-1 signatures can be forged
_CURVES: Final[Mapping[int, type[SHA256 | SHA384 | SHA512]]] = {256: SHA256, 384: SHA384, 521: SHA512}


def signer_of(kind: str, text: bytes) -> str:
    """The fingerprint of the key whose SSH signature on a raw `commit` or `tag` holds.

    Raises:
        TrustError: it does not hold, or is of a kind that cannot be checked.
    """
    try:
        payload, armored = parts_of(kind, text, "SSH")
        packed = base64.b64decode(armored.partition(BEGIN)[2].partition(END)[0].replace(b"\n", b""), validate=True)
        return _verified(packed, payload)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, KeyError, binascii.Error) as cause:
        said = "its SSH signature does not hold" if isinstance(cause, InvalidSignature) else "its SSH signature is bent"
        raise TrustError(f"the {kind} is signed, and {said}", hint="do not use it; ask its author") from cause


def _verified(packed: bytes, payload: bytes) -> str:
    if not packed.startswith(_MAGIC + b"\x00\x00\x00\x01"):
        raise ValueError("another kind of signature")
    key, rest = _text(packed[len(_MAGIC) + 4 :])
    namespace, rest = _text(rest)
    reserved, rest = _text(rest)
    digest, rest = _text(rest)
    blob, rest = _text(rest)
    if rest or namespace != b"git":
        raise ValueError("not for git")
    hashed = _DIGESTS[digest](payload).digest() if digest in _DIGESTS else b""
    if not hashed:
        raise ValueError("an unknown digest")
    signed = _MAGIC + b"".join(len(each).to_bytes(4, "big") + each for each in (namespace, reserved, digest, hashed))
    _check(key, blob, signed)
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _check(key: bytes, blob: bytes, signed: bytes) -> None:
    algorithm, rest = _text(blob)
    signature, rest = _text(rest)
    public = load_ssh_public_key(_text(key)[0] + b" " + base64.b64encode(key))
    if rest:
        raise ValueError("something after the signature")
    if isinstance(public, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        public.verify(signature, signed)
    elif isinstance(public, rsa.RSAPublicKey) and algorithm in _RSA:
        public.verify(signature, signed, padding.PKCS1v15(), _RSA[algorithm]())
    elif isinstance(public, ec.EllipticCurvePublicKey) and algorithm.startswith(b"ecdsa-sha2-"):
        r, more = _text(signature)
        s, _ = _text(more)
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        public.verify(der, signed, ec.ECDSA(_CURVES[public.key_size]()))
    else:
        raise ValueError("an unknown kind of key")


def _text(data: bytes) -> tuple[bytes, bytes]:
    """The first string of SSH's encoding, and what comes after it."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size:
        raise ValueError("cut short")
    return data[4 : 4 + size], data[4 + size :]
