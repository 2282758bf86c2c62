"""Copies that only the vault of this home can open.

They are sealed to a public key, so that making one needs nothing secret: X25519, HKDF with SHA-256, AES-256-GCM.  What
a copy is of is authenticated with it, so one cannot stand in for another.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.errors import ConfigError

UNDO_KEY: Final = "undo"
"""The name of the key in the vault."""
MARK: Final = b"bulkhead sealed copy 1\n"
_PUBLIC: Final = 32
_NONCE: Final = 12


def public_of(key: bytes) -> bytes:
    """What is sealed to this public key, `key` (32 bytes) opens."""
    return X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def is_sealed(data: bytes) -> bool:
    return data.startswith(MARK)


def sealed(data: bytes, public: bytes, about: bytes) -> bytes:
    once, nonce = X25519PrivateKey.generate(), os.urandom(_NONCE)
    ours = once.public_key().public_bytes_raw()
    cipher = _cipher(once.exchange(X25519PublicKey.from_public_bytes(public)), ours + public)
    return MARK + ours + nonce + cipher.encrypt(nonce, data, about)


def unsealed(data: bytes, key: bytes, about: bytes) -> bytes:
    """What was sealed.

    Raises:
        ConfigError: it was sealed to another key, is a copy of something else, or was changed.
    """
    rest = data.removeprefix(MARK)
    theirs, nonce, text = rest[:_PUBLIC], rest[_PUBLIC:][:_NONCE], rest[_PUBLIC + _NONCE :]
    try:
        shared = X25519PrivateKey.from_private_bytes(key).exchange(X25519PublicKey.from_public_bytes(theirs))
        return _cipher(shared, theirs + public_of(key)).decrypt(nonce, text, about)
    except (InvalidTag, ValueError) as cause:
        raise ConfigError("it was changed, or sealed by another home") from cause


def _cipher(shared: bytes, parties: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=MARK + parties).derive(shared))
