"""The keychain of the operating system: the one of its own kind, never the one a file or a variable names.

The keyring library would load whatever class its settings file or the environment names; here the class is chosen by
platform.  No call waits longer than `KEYCHAIN_SECONDS`, and what went wrong is said in a sentence of its own.
"""

import importlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from broker.errors import ConfigError

KEYCHAIN_SECONDS = 8.0  # an unlock prompt nobody answers must not hang the start for ever
SERVICE: Final = "bulkhead"
CHOICES: Final = {
    "linux": ("SecretService.Keyring", "kwallet.DBusKeyring"),
    "darwin": ("macOS.Keyring",),
    "win32": ("Windows.WinVaultKeyring",),
}
"""By `sys.platform`: the classes of `keyring.backends` that keep a secret, the first that works."""
UNLOCK: Final = "unlock the keychain: log in to your desktop"
T = TypeVar("T")


class KeychainProblem(ConfigError):
    """The keychain gave no answer that can be used; the sentence says why."""


class NoKeychain(KeychainProblem):
    """There is none on this machine, or it cannot be reached from here."""


class BackEnd(Protocol):
    """What we use of a class of `keyring.backends`."""

    def get_password(self, service: str, username: str, /) -> str | None: ...
    def set_password(self, service: str, username: str, password: str, /) -> None: ...
    def delete_password(self, service: str, username: str, /) -> None: ...


class Keychain:
    """One keychain that could be reached when it was looked for."""

    def __init__(self, name: str, back_end: BackEnd) -> None:
        self.name = name
        self._back_end = back_end

    def get(self, account: str) -> str | None:
        """The entry of this account; None if there is none.

        Raises:
            KeychainProblem: it is locked, gone, or does not answer.
        """
        return _within(self.name, lambda: self._back_end.get_password(SERVICE, account))

    def put(self, account: str, value: str) -> None:
        """Write an entry, and read it back: some back ends take everything and keep nothing.

        Raises:
            KeychainProblem: it does not keep it.
        """
        _within(self.name, lambda: self._back_end.set_password(SERVICE, account, value))
        if self.get(account) != value:
            raise KeychainProblem(f"the keychain ({self.name}) did not keep what it was given", hint=UNLOCK)

    def remove(self, account: str) -> None:
        """Remove an entry that is there.

        Raises:
            KeychainProblem: it is still there.
        """
        _within(self.name, lambda: self._back_end.delete_password(SERVICE, account))


def find_keychain() -> Keychain:
    """This platform's keychain.

    Raises:
        NoKeychain: there is none, or it cannot be reached.
        KeychainProblem: it was not found out in time.
    """
    for name in CHOICES.get(sys.platform, ()):
        found = _within(name, lambda name=name: _viable(name))  # type: ignore[misc] # a default binds the loop's name
        if found is not None:
            return Keychain(name, found)
    raise NoKeychain(
        "no keychain can be reached", hint="start one (a Secret Service such as gnome-keyring) on your session bus"
    )


def _viable(name: str) -> BackEnd | None:
    module, _, kind = name.partition(".")
    try:
        chosen = getattr(importlib.import_module(f"keyring.backends.{module}"), kind)
    except ImportError:
        return None
    if not chosen.viable:
        return None
    made: BackEnd = chosen()
    if name == "Windows.WinVaultKeyring":
        made.persist = "local machine"  # type: ignore[attr-defined] # its default roams to other machines
    return made


def _within(name: str, call: Callable[[], T]) -> T:
    """Call a keychain in a thread of its own, which is left behind if it never comes back."""
    answers: queue.SimpleQueue[tuple[T] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(),))
        except Exception as problem:  # noqa: BLE001 - back ends raise whatever their platform's binding raises
            answers.put(problem)

    threading.Thread(target=run, name="keychain", daemon=True).start()
    try:
        answer = answers.get(timeout=KEYCHAIN_SECONDS)
    except queue.Empty:
        raise KeychainProblem(
            f"the keychain ({name}) did not answer within {KEYCHAIN_SECONDS:g} s; it may be asking you something",
            hint="answer the keychain's question, or unlock it, and try again",
        ) from None
    if isinstance(answer, tuple):
        return answer[0]
    raise _told(name, answer)  # its own text stays out of ours: it may repeat what it was given


def _told(name: str, problem: Exception) -> KeychainProblem:
    from keyring.errors import InitError, KeyringLocked

    if isinstance(problem, KeyringLocked):
        return KeychainProblem(f"the keychain ({name}) is locked", hint=UNLOCK)
    if isinstance(problem, InitError):
        return KeychainProblem(f"the keychain ({name}) does not open: its unlocking was dismissed", hint=UNLOCK)
    return KeychainProblem(f"the keychain ({name}) failed ({type(problem).__name__})", hint=UNLOCK)
