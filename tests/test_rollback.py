"""A set of agreed documents that was put back from an old backup does not pass for the last one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import rollback
from broker.agreed import Agreed
from broker.errors import ConfigError
from broker.rollback import HeadFile
from broker.vault import keychain
from broker.vault.keychain import IntegrityKey, remember, remembered
from tests.trust.attack_table import catches

KEY: Final = b"k" * 32
NAME: Final = "pins/files.toml"


class Home:
    """One home's files, and what its keychain remembers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.floor = 0

    def open(self) -> Agreed:
        head = HeadFile(self.folder / "state/agreed.head", KEY, self.floor)
        return Agreed(self.folder / "config", self.folder / "state/agreed", KEY, head)

    def agree(self, *texts: str) -> None:
        for text in texts:
            self.open().write(NAME, text.encode())

    def back_up(self, *parts: str) -> Callable[[], None]:
        """Copy parts of the home aside; calling what comes back puts them in place again."""
        kept = self.folder.with_name(f"{self.folder.name}-backup")
        for part in parts:
            source = self.folder / part
            (kept / part).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, kept / part)

        def restore() -> None:
            for part in parts:
                target = self.folder / part
                if target.is_dir():
                    shutil.rmtree(target)
                (shutil.copytree if (kept / part).is_dir() else shutil.copy)(kept / part, target)

        return restore


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_what_is_agreed_to_counts_after_every_restart(home: Home) -> None:
    for text in ("one", "two", "three"):
        home.agree(text)
        again = home.open()
        assert (again.problem, again.load(NAME)) == ("", text.encode())
    assert home.open().seq == 3


@catches("A20")
def test_documents_put_back_from_a_backup_do_not_count_and_are_shown_as_drift(home: Home) -> None:
    home.agree("one")
    restore = home.back_up("config", "state/agreed")
    home.agree("two", "three")
    restore()
    seen = home.open()
    assert "an older state of the agreed documents was put back: number 1 of 3" in seen.problem
    assert seen.load(NAME) is None
    assert [str(found.path) for found in seen.drifted()] == [NAME]


@catches("A20")
def test_the_keychain_remembers_when_the_whole_home_is_put_back(home: Home) -> None:
    home.agree("one")
    restore = home.back_up("config", "state")
    home.agree("two")
    home.floor = home.open().seq
    restore()
    assert "number 1 of 2" in home.open().problem


def test_without_a_keychain_the_whole_home_put_back_is_not_noticed(home: Home) -> None:
    """The limit of files alone, written down: nothing on the disk is newer than the backup."""
    home.agree("one")
    restore = home.back_up("config", "state")
    home.agree("two")
    restore()
    assert home.open().problem == ""


def test_another_history_of_the_same_length_is_noticed(home: Home) -> None:
    home.agree("one")
    restore = home.back_up("config", "state")
    home.agree("two")
    other = home.folder.with_name("other")
    shutil.copytree(home.folder / "state/agreed", other)
    restore()
    home.agree("three")
    shutil.rmtree(home.folder / "state/agreed")
    shutil.copytree(other, home.folder / "state/agreed")
    assert "not the ones that were agreed to last" in home.open().problem


@pytest.mark.parametrize("damage", ["gone", "nonsense", "forged", "{}"])
def test_a_head_that_was_removed_or_changed_is_noticed(home: Home, damage: str) -> None:
    home.agree("one", "two")
    head = home.folder / "state/agreed.head"
    if damage == "gone":
        head.unlink()
    elif damage == "forged":
        head.write_text('{"seq": 1, "digest": "", "mac": "00"}')
    else:
        head.write_text(damage)
    assert "the mark of the last agreed documents" in home.open().problem


def test_a_table_that_was_removed_is_noticed(home: Home) -> None:
    home.agree("one")
    shutil.rmtree(home.folder / "state/agreed")
    assert "number 0 of 1" in home.open().problem


def test_after_a_person_agreed_anew_it_counts_and_the_old_backup_still_does_not(home: Home) -> None:
    home.agree("one")
    restore = home.back_up("config", "state/agreed")
    home.agree("two")
    restore()
    seen = home.open()
    (drift,) = seen.drifted()
    seen.accept(NAME, drift.digest)
    again = home.open()
    assert (again.problem, again.load(NAME), again.seq) == ("", b"one", 3)
    restore()
    assert home.open().problem


class Killed(BaseException):
    """The daemon ends here."""


def test_a_daemon_killed_between_table_and_head_goes_on_with_the_new_table(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.agree("one")
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "write_private", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            home.agree("two")
    again = home.open()
    assert (again.problem, again.load(NAME)) == ("", b"two")


def test_a_table_from_before_tables_had_numbers_still_counts_once(home: Home, tmp_path: Path) -> None:
    import hashlib
    import hmac
    import json

    digests = {NAME: hashlib.sha256(b"old").hexdigest()}
    mac = hmac.new(KEY, b"agreed-documents\n" + json.dumps(digests, sort_keys=True).encode(), hashlib.sha256)
    folder = home.folder / "state/agreed"
    folder.mkdir(parents=True)
    (folder / "agreed.json").write_text(json.dumps({"agreed": digests, "mac": mac.hexdigest()}))
    (folder / digests[NAME]).write_bytes(b"old")
    old = (folder / "agreed.json").read_bytes()
    assert home.open().load(NAME) == b"old"
    home.agree("new")
    (folder / "agreed.json").write_bytes(old)
    assert "number 0 of 1" in home.open().problem


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4))
def test_no_state_but_the_last_is_ever_taken_for_it(
    tmp_path_factory: pytest.TempPathFactory, writes: int, back: int
) -> None:
    home = Home(tmp_path_factory.mktemp("home") / "home")
    states = []
    for number in range(writes):
        home.agree(str(number))
        states.append((home.folder / "state/agreed/agreed.json").read_bytes())
    shown = states[max(0, writes - 1 - back)]
    (home.folder / "state/agreed/agreed.json").write_bytes(shown)
    assert bool(home.open().problem) is (shown != states[-1])


# --- the keychain -----------------------------------------------------------------------------------------------------


def test_a_keychain_remembers_a_number_for_each_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, str] = {}
    found = SimpleNamespace(name="SecretService.Keyring", get=kept.get, put=kept.__setitem__)
    monkeypatch.setattr(keychain, "find_keychain", lambda: found)
    key = IntegrityKey(KEY, "SecretService.Keyring")
    assert remembered(key, tmp_path / "a") == 0
    assert remember(key, tmp_path / "a", 7)
    assert (remembered(key, tmp_path / "a"), remembered(key, tmp_path / "b")) == (7, 0)
    kept.update(dict.fromkeys(kept, "seven"))
    assert remembered(key, tmp_path / "a") == 0


def test_a_home_whose_key_is_a_file_asks_no_keychain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> None:
        raise ConfigError("the keychain was asked")

    monkeypatch.setattr(keychain, "find_keychain", asked)
    key = IntegrityKey(KEY, "file")
    assert (remembered(key, tmp_path), remember(key, tmp_path, 7)) == (0, False)
