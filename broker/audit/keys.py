"""The keys of the audit log, both made from one of the vault: one signs how far the chain went, one seals bodies.

Whoever has the public half can check everything and read nothing that was sealed.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import AuditError
from broker.model import JsonObject

_SIGNING: Final = b"bulkhead audit signing 1"
_SEALING: Final = b"bulkhead audit sealing 1"
_BODY: Final = b"bulkhead audit body 1 "  # followed by the entry's number: no body passes for that of another entry
_NONCE: Final = 12  # random, as AES-GCM wants it for up to 2^32 bodies under one key


_AT_ONCE: Final = 256  # nonces asked of the system at once: asking costs more than all the rest of sealing


class AuditKeys:
    """Made from `root`, a key of the vault.  Its `repr` shows none of them."""

    def __init__(self, root: bytes) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(hmac.digest(root, _SIGNING, hashlib.sha256))
        self._sealing = AESGCM(hmac.digest(root, _SEALING, hashlib.sha256))
        self._nonces = b""
        self.public = self._signing.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"<AuditKeys {self.public.hex()[:16]}>"

    def sign(self, text: bytes) -> str:
        return self._signing.sign(text).hex()

    def shut(self, seq: int, body: bytes) -> str:
        """Seal the body of entry `seq`."""
        if not self._nonces:
            self._nonces = os.urandom(_NONCE * _AT_ONCE)
        nonce, self._nonces = self._nonces[:_NONCE], self._nonces[_NONCE:]
        return base64.b64encode(nonce + self._sealing.encrypt(nonce, body, _BODY + b"%d" % seq)).decode("ascii")

    def open(self, seq: int, sealed: str) -> bytes:
        """The body of entry `seq`.

        Raises:
            AuditError: it was sealed with another key, or for another entry.
        """
        try:
            data = base64.b64decode(sealed, validate=True)
            return self._sealing.decrypt(data[:_NONCE], data[_NONCE:], _BODY + b"%d" % seq)
        except (InvalidTag, binascii.Error, ValueError) as cause:
            raise AuditError(
                f"the body of receipt {seq} cannot be opened with the key of this home",
                hint="use the home that wrote it; bulkhead audit verify says whether it was changed",
            ) from cause

    def opened(self, entry: JsonObject) -> JsonObject:
        """`entry` with its body in clear; as it is where nothing is sealed."""
        body = entry.get("body")
        if not isinstance(body, dict) or not isinstance(body.get("sealed"), str):
            return entry
        return entry | {"body": json.loads(self.open(entry["seq"], body["sealed"]))}


def is_signed(public: bytes, text: bytes, signature: str) -> bool:
    """Whether the owner of the private half of `public` signed `text`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), text)
    except (InvalidSignature, ValueError):
        return False
    return True
