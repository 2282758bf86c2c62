"""How the key of a book is kept: wrapped under one in the keychain, or under a passphrase; never as it is.

The text names what is needed to unwrap it and holds nothing that opens it.  A key in the keychain is an entry of its
own for each seal, so that sealing anew leaves the old one whole until the new one is written.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from broker.files import sha256_hex
from broker.vault.backends import Keychain
from broker.vault.book import KEY_BYTES, NONCE_BYTES, VaultError

How: TypeAlias = Literal["keychain", "passphrase"]
SCRYPT_COST: Final = 2**17  # 128 MiB and half a second of one processor for each guess
MIN_PASSPHRASE: Final = 8
MAX_PASSPHRASE: Final = 1024
_BOUND: Final = b"bulkhead seal 1"


@dataclass(frozen=True, slots=True)
class Seal:
    """What stands beside the rows.  `key_id` tells keys in a keychain apart, `salt` belongs to a passphrase."""

    how: How
    key_id: str
    salt: str
    wrapped: str

    @property
    def text(self) -> str:
        return json.dumps([self.how, self.key_id, self.salt, self.wrapped])

    @classmethod
    def of(cls, text: str) -> "Seal":
        """Raises VaultError for a text that is none of ours."""
        try:
            how, key_id, salt, wrapped = json.loads(text)
            seal = cls(how, key_id, salt, wrapped)
            whole = how in ("keychain", "passphrase") and all(isinstance(w, str) for w in (key_id, salt, wrapped))
            bytes.fromhex(salt), bytes.fromhex(wrapped)
        except (ValueError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise VaultError("the vault does not say how it is sealed", hint="restore its file from a backup")
        return seal


def seal_to_keychain(keychain: Keychain, home: Path, key: bytes) -> Seal:
    """Wrap `key` under a new entry of the keychain.

    Raises:
        KeychainProblem: the keychain does not keep it.
    """
    outer = secrets.token_bytes(KEY_BYTES)
    key_id = hashlib.sha256(b"bulkhead key id 1" + outer).hexdigest()[:16]
    keychain.put(account_of(home, key_id), outer.hex())
    return Seal("keychain", key_id, "", _wrap(outer, key))


def open_from_keychain(seal: Seal, keychain: Keychain, home: Path) -> bytes:
    """The key of a book.

    Raises:
        KeychainProblem: the keychain is locked or does not answer.
        VaultError: it holds another key, or none.
    """
    found = keychain.get(account_of(home, seal.key_id))
    entry = f"{account_of(home, seal.key_id)} of bulkhead"
    if found is None:
        raise VaultError(
            f"the keychain ({keychain.name}) has no key for the vault", hint=f"bring its entry {entry} back"
        )
    try:
        return _unwrap(bytes.fromhex(found), seal)
    except ValueError as cause:
        raise VaultError(
            f"what the keychain ({keychain.name}) holds is not the key of the vault", hint=f"look at its entry {entry}"
        ) from cause


def seal_to_passphrase(passphrase: str, key: bytes) -> Seal:
    """Wrap `key` under a passphrase.  Takes half a second.

    Raises:
        VaultError: the passphrase is too short, or far too long.
    """
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise VaultError(f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters")
    salt = secrets.token_bytes(16)
    return Seal("passphrase", "", salt.hex(), _wrap(_stretched(passphrase, salt), key))


def open_from_passphrase(seal: Seal, passphrase: str) -> bytes:
    """The key of a book.  Takes half a second.

    Raises:
        VaultError: it is not the passphrase.
    """
    try:
        return _unwrap(_stretched(passphrase[:MAX_PASSPHRASE], bytes.fromhex(seal.salt)), seal)
    except ValueError as cause:
        raise VaultError("this is not the passphrase of the vault", hint="bulkhead vault unlock") from cause


def account_of(home: Path, key_id: str) -> str:
    """The name of a key's entry in the keychain."""
    return f"vault-{sha256_hex(bytes(home))[:16]}-{key_id}"


def _stretched(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_COST, r=8, p=1).derive(passphrase.encode("utf-8", "replace"))


def _wrap(outer: bytes, key: bytes) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return (nonce + AESGCM(outer).encrypt(nonce, key, _BOUND)).hex()


def _unwrap(outer: bytes, seal: Seal) -> bytes:
    """Raises ValueError for another key."""
    wrapped = bytes.fromhex(seal.wrapped)
    try:
        key = AESGCM(outer).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _BOUND)
    except InvalidTag as cause:
        raise ValueError("another key") from cause
    if len(key) != KEY_BYTES:
        raise ValueError("no key")
    return key
