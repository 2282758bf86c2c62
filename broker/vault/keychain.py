"""The key that guards our own documents and receipts, kept where other programs' files cannot give it away.

The OS keychain where there is one; else an owner-only file, and `status` says which.  A home that once used the
keychain never falls back silently: with the keychain locked, the daemon refuses to start.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from broker.errors import ConfigError
from broker.files import read_bounded, sha256_hex, write_private

KEY_BYTES = 32
KEYCHAIN_SECONDS = 8.0  # an unlock prompt nobody answers must not hang the start for ever
SERVICE = "bulkhead"
FILE_ONLY = ("fail.Keyring", "null.Keyring", "file.", "chainer.ChainerBackend")
T = TypeVar("T")


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
    file = state / "integrity.key"
    used = _read_mark(mark)
    if used == "file":
        return IntegrityKey(_file_key(file), "file")
    name = _bounded(_backend_name)
    if name is None:
        if used is not None:
            raise KeychainLocked(
                f"the key of this home is in the keychain ({used}), which cannot be reached",
                hint="unlock the keychain (log in to your desktop), then run: bulkhead up",
            )
        write_private(mark, b"file\n")
        return IntegrityKey(_file_key(file), "file")
    found = _bounded(lambda: _get(account))
    if found is None:
        if used is not None:
            raise KeychainLocked(
                f"the keychain ({used}) did not give out this home's key",
                hint="unlock the keychain, then run: bulkhead up",
            )
        key = secrets.token_bytes(KEY_BYTES)
        stored = _bounded(lambda: _set(account, key.hex()))
        if stored is None or _bounded(lambda: _get(account)) != key.hex():
            write_private(mark, b"file\n")
            return IntegrityKey(_file_key(file), "file")
        found = key.hex()
    try:
        key = bytes.fromhex(found)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:  # an empty one would let anybody sign in our name
        raise ConfigError(
            f"the keychain ({name}) holds no key of {KEY_BYTES} bytes for this home",
            hint=f"look at the entry {account} of {SERVICE} in your keychain",
        )
    write_private(mark, f"{name}\n".encode())
    return IntegrityKey(key, name)


def remembered(key: IntegrityKey, home: Path) -> int:
    """The number this home's keychain remembers; 0 without a keychain, or if it never was told one."""
    if key.where == "file":
        return 0
    text = _bounded(lambda: _get(_counter_account(home))) or ""
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def remember(key: IntegrityKey, home: Path, number: int) -> bool:
    """Have the keychain remember a number.  False if there is none, or if it does not answer."""
    return key.where != "file" and bool(_bounded(lambda: _set(_counter_account(home), str(number))))


@dataclass(frozen=True, slots=True)
class Look:
    """What can be told of a home's key without touching it.

    `used` is where it lies (empty: nowhere yet), `found` the keychain that can be reached now; `gives`: the key is had.
    """

    used: str
    found: str
    gives: bool


def look(state: Path, home: Path) -> Look:
    """Ask without making anything, in at most twice `KEYCHAIN_SECONDS`."""
    used = _read_mark(state / "integrity.where") or ""
    found = _bounded(_backend_name) or ""
    return Look(used, found, bool(found and used not in ("", "file") and _bounded(lambda: _get(_account(home)))))


def _account(home: Path) -> str:
    return f"integrity-{sha256_hex(bytes(home))[:16]}"


def _counter_account(home: Path) -> str:
    return f"agreed-{sha256_hex(bytes(home))[:16]}"


def _read_mark(path: Path) -> str | None:
    try:
        return read_bounded(path, 256).decode().strip()
    except FileNotFoundError:
        return None


def _file_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(read_bounded(path, 256).decode().strip())
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key.hex().encode() + b"\n")
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} holds no key of {KEY_BYTES} bytes", hint="restore it from a backup")
    return key


def _backend_name() -> str | None:
    import keyring  # slow, and only needed once a start

    backend = keyring.get_keyring()
    name = f"{type(backend).__module__.removeprefix('keyring.backends.')}.{type(backend).__qualname__}"
    return None if any(word in name for word in FILE_ONLY) else name


def _get(account: str) -> str | None:
    import keyring

    return keyring.get_password(SERVICE, account)


def _set(account: str, value: str) -> bool:
    import keyring

    keyring.set_password(SERVICE, account, value)
    return True


def _bounded(call: Callable[[], T | None]) -> T | None:
    """Call a keychain in a thread of its own and give up after a while; any failure counts as no keychain."""
    answer: list[T | None] = []

    def run() -> None:
        # Back ends raise whatever their platform's binding raises; every one of them means "no".
        with contextlib.suppress(Exception):
            answer.append(call())

    thread = threading.Thread(target=run, name="keychain", daemon=True)
    thread.start()
    thread.join(KEYCHAIN_SECONDS)
    return answer[0] if answer else None
