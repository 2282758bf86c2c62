"""The key that guards our own documents and receipts, kept where other programs' files cannot give it away.

The OS keychain where there is one; else an owner-only file, and `status` says which.  A home that once used the
keychain never falls back silently: with the keychain locked, the daemon refuses to start.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from broker.errors import ConfigError
from broker.files import read_bounded, sha256_hex, write_private
from broker.vault.backends import SERVICE, KeychainProblem, find_keychain

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class IntegrityKey:
    """`where` is for a person: the keychain's name, or `file`."""

    key: bytes
    where: str

    def __repr__(self) -> str:
        return f"IntegrityKey(where={self.where!r})"


class KeychainLocked(ConfigError):
    """The key lies in a keychain that does not open now."""


def integrity_key(state: Path, home: Path) -> IntegrityKey:
    """Return this home's key, making it on first use.  Blocks for at most `KEYCHAIN_SECONDS` a keychain call.

    Raises:
        KeychainLocked: this home's key is in the keychain, and the keychain does not answer.
    """
    account = _account(home)
    mark = state / "integrity.where"
    used = _read_mark(mark)
    if used == "file":
        return _from_file(state)
    try:
        keychain = find_keychain()
        found = keychain.get(account)
        if found is None and used is None:
            keychain.put(account, secrets.token_hex(KEY_BYTES))
            found = keychain.get(account)
    except KeychainProblem as problem:
        if used is None:
            write_private(mark, b"file\n")
            return _from_file(state)
        raise KeychainLocked(
            f"the key of this home is in the keychain ({used}): {problem}", hint=f"{problem.hint}, then: bulkhead up"
        ) from problem
    if found is None:
        raise KeychainLocked(
            f"the keychain ({used}) did not give out this home's key", hint="unlock the keychain, then run: bulkhead up"
        )
    try:
        key = bytes.fromhex(found)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:  # an empty one would let anybody sign in our name
        raise ConfigError(
            f"the keychain ({keychain.name}) holds no key of {KEY_BYTES} bytes for this home",
            hint=f"look at the entry {account} of {SERVICE} in your keychain",
        )
    write_private(mark, f"{keychain.name}\n".encode())
    return IntegrityKey(key, keychain.name)


def remembered(key: IntegrityKey, home: Path) -> int:
    """The number this home's keychain remembers; 0 without a keychain, or if it never was told one."""
    if key.where == "file":
        return 0
    try:
        text = find_keychain().get(_counter_account(home)) or ""
    except KeychainProblem:
        return 0
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def remember(key: IntegrityKey, home: Path, number: int) -> bool:
    """Have the keychain remember a number.  False if there is none, or if it does not answer."""
    if key.where == "file":
        return False
    try:
        find_keychain().put(_counter_account(home), str(number))
    except KeychainProblem:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Look:
    """What can be told of a home's key without touching it.

    `used` is where it lies (empty: nowhere yet), `found` the keychain that can be reached now; `gives`: the key is had.
    `problem` says why not.
    """

    used: str
    found: str
    gives: bool
    problem: str = ""


def look(state: Path, home: Path) -> Look:
    """Ask without making anything, in at most a few times `KEYCHAIN_SECONDS`."""
    used = _read_mark(state / "integrity.where") or ""
    try:
        keychain = find_keychain()
    except KeychainProblem as problem:
        return Look(used, "", False, str(problem))
    if used in ("", "file"):
        return Look(used, keychain.name, False)
    try:
        return Look(used, keychain.name, keychain.get(_account(home)) is not None)
    except KeychainProblem as problem:
        return Look(used, keychain.name, False, str(problem))


def _account(home: Path) -> str:
    return f"integrity-{sha256_hex(bytes(home))[:16]}"


def _counter_account(home: Path) -> str:
    return f"agreed-{sha256_hex(bytes(home))[:16]}"


def _read_mark(path: Path) -> str | None:
    try:
        return read_bounded(path, 256).decode().strip()
    except FileNotFoundError:
        return None


def _from_file(state: Path) -> IntegrityKey:
    path = state / "integrity.key"
    try:
        key = bytes.fromhex(read_bounded(path, 256).decode().strip())
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key.hex().encode() + b"\n")
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} holds no key of {KEY_BYTES} bytes", hint="restore it from a backup")
    return IntegrityKey(key, "file")
