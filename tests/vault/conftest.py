"""A keychain in memory, in the place of the system's."""

import threading

import pytest
from keyring.errors import KeyringLocked

from broker.vault import backends


class Fake:
    """A keychain which can be locked, gone, deaf, or forgetful."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False
        self.gone = False
        self.read_only = False
        self.forgetful = False
        self.answers = threading.Event()
        self.answers.set()

    def get_password(self, service: str, username: str, /) -> str | None:
        self.answers.wait(20)
        if self.locked:
            raise KeyringLocked("Failed to unlock the collection!")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str, /) -> None:
        self.answers.wait(20)
        if self.locked:
            raise KeyringLocked("Failed to unlock the collection!")
        if self.read_only:
            raise RuntimeError(f"could not write {password}")
        if not self.forgetful:
            self.held[(service, username)] = password

    def delete_password(self, service: str, username: str, /) -> None:
        del self.held[(service, username)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(backends, "_viable", lambda _name: None if made.gone else made)
    return made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "KEYCHAIN_SECONDS", 0.2)
