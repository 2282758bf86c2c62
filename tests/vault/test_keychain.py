"""The key that guards our documents: in the keychain where there is one, and never silently anywhere else."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from broker.errors import ConfigError
from broker.vault import keychain
from broker.vault.backends import NoKeychain, find_keychain
from broker.vault.keychain import KEY_BYTES, IntegrityKey, KeychainLocked, integrity_key, remember, remembered
from tests.vault.conftest import Fake

HOME: Final = Path("/home/me/.config/bulkhead")


def the_file(state: Path) -> Path:
    return state / "integrity.key"


# --- with a keychain ------------------------------------------------------------------------------------------------


def test_the_keychain_is_chosen_where_there_is_one_and_nothing_lies_on_the_disk(tmp_path: Path, fake: Fake) -> None:
    made = integrity_key(tmp_path, HOME)
    assert len(made.key) == KEY_BYTES
    assert made.where == "SecretService.Keyring"
    assert integrity_key(tmp_path, HOME) == made
    assert not the_file(tmp_path).exists()
    assert made.key.hex() not in "".join(path.read_text() for path in tmp_path.iterdir())
    assert list(fake.held.values()) == [made.key.hex()]


def test_every_home_has_a_key_of_its_own(tmp_path: Path, fake: Fake) -> None:
    keys = {integrity_key(tmp_path / name, Path("/home") / name).key for name in ("a", "b")}
    assert len(keys) == 2


def test_the_key_is_never_shown() -> None:
    key = IntegrityKey(b"\x01" * KEY_BYTES, "file")
    assert repr(key) == "IntegrityKey(where='file')"


def test_a_keychain_that_is_locked_later_keeps_the_daemon_from_starting(tmp_path: Path, fake: Fake) -> None:
    made = integrity_key(tmp_path, HOME)
    fake.locked = True
    with pytest.raises(KeychainLocked, match=r"SecretService\.Keyring. is locked") as refused:
        integrity_key(tmp_path, HOME)
    assert "bulkhead up" in refused.value.hint
    assert not the_file(tmp_path).exists()
    fake.locked = False
    assert integrity_key(tmp_path, HOME) == made


def test_a_keychain_that_is_gone_later_is_no_reason_to_take_another_key(tmp_path: Path, fake: Fake) -> None:
    integrity_key(tmp_path, HOME)
    fake.gone = True
    with pytest.raises(KeychainLocked, match="no keychain can be reached"):
        integrity_key(tmp_path, HOME)
    assert not the_file(tmp_path).exists()


def test_a_key_that_was_deleted_from_the_keychain_is_not_made_anew(tmp_path: Path, fake: Fake) -> None:
    """A new key would make every agreed document and every receipt look forged, or forged ones look right."""
    integrity_key(tmp_path, HOME)
    fake.held.clear()
    with pytest.raises(KeychainLocked):
        integrity_key(tmp_path, HOME)
    assert fake.held == {}


@pytest.mark.parametrize("entry", ["", "00", "zz" * KEY_BYTES, "00" * (KEY_BYTES + 1)])
@pytest.mark.parametrize("first", [True, False])
def test_an_entry_that_is_no_key_is_refused_and_never_used_as_one(
    tmp_path: Path, fake: Fake, entry: str, first: bool
) -> None:
    integrity_key(tmp_path, HOME)
    fake.held = dict.fromkeys(fake.held, entry)
    state = tmp_path / "new" if first else tmp_path
    with pytest.raises(ConfigError, match=f"holds no key of {KEY_BYTES} bytes"):
        integrity_key(state, HOME)


def test_a_hanging_keychain_of_a_known_home_is_waited_for_with_a_limit(
    tmp_path: Path, fake: Fake, impatient: None
) -> None:
    integrity_key(tmp_path, HOME)
    fake.answers.clear()
    with pytest.raises(KeychainLocked, match="did not answer within"):
        integrity_key(tmp_path, HOME)
    fake.answers.set()


# --- without one ----------------------------------------------------------------------------------------------------


def is_owner_only_file_key(state: Path, key: IntegrityKey) -> bool:
    path = the_file(state)
    return (
        key.where == "file"
        and path.read_text().strip() == key.key.hex()
        and stat.S_IMODE(path.stat().st_mode) == 0o600
        and stat.S_IMODE((state / "integrity.where").stat().st_mode) == 0o600
    )


def test_no_file_and_no_variable_chooses_which_keychain_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring library would load a class that its settings file names, from a path that it names."""
    settings, mark = tmp_path / "python_keyring", tmp_path / "mark"
    settings.mkdir()
    (settings / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring=planted.Keyring\nkeyring-path={tmp_path}\n")
    (tmp_path / "planted.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Keyring:\n    pass\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(NoKeychain, match="no keychain can be reached"):
        find_keychain()
    assert not mark.exists()


@pytest.mark.parametrize("fault", ["locked", "read_only", "forgetful"])
def test_a_keychain_that_takes_no_key_at_first_leaves_it_in_a_file(tmp_path: Path, fake: Fake, fault: str) -> None:
    setattr(fake, fault, True)
    made = integrity_key(tmp_path, HOME)
    assert is_owner_only_file_key(tmp_path, made)
    setattr(fake, fault, False)
    assert integrity_key(tmp_path, HOME) == made  # and there it stays


def test_a_hanging_keychain_at_first_is_waited_for_with_a_limit(tmp_path: Path, fake: Fake, impatient: None) -> None:
    fake.answers.clear()
    made = integrity_key(tmp_path, HOME)
    fake.answers.set()
    assert is_owner_only_file_key(tmp_path, made)


@pytest.mark.parametrize("text", ["", "00", "z" * 64, "00" * 33, "\xff"])
def test_a_file_that_holds_no_key_is_named_and_left_alone(tmp_path: Path, fake: Fake, text: str) -> None:
    (tmp_path / "integrity.where").write_text("file\n")
    the_file(tmp_path).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=f"holds no key of {KEY_BYTES} bytes"):
        integrity_key(tmp_path, HOME)
    assert the_file(tmp_path).read_bytes() == text.encode("latin-1")


# --- the number it remembers ----------------------------------------------------------------------------------------


def test_the_keychain_remembers_a_number_for_this_home_only(tmp_path: Path, fake: Fake) -> None:
    key = integrity_key(tmp_path, HOME)
    assert remembered(key, HOME) == 0
    assert remember(key, HOME, 41)
    assert remembered(key, HOME) == 41
    assert remembered(key, HOME.parent) == 0
    assert integrity_key(tmp_path, HOME) == key


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 40])
def test_a_number_that_is_none_counts_as_none(tmp_path: Path, fake: Fake, text: str) -> None:
    key = integrity_key(tmp_path, HOME)
    assert remember(key, HOME, 41)
    fake.held = {where: text if value == "41" else value for where, value in fake.held.items()}
    assert remembered(key, HOME) == 0


def test_without_a_keychain_nothing_is_remembered(fake: Fake) -> None:
    key = IntegrityKey(b"\x01" * KEY_BYTES, "file")
    assert not remember(key, HOME, 41)
    assert remembered(key, HOME) == 0


# --- a real one -----------------------------------------------------------------------------------------------------

SCENE: Final = """
import json, subprocess, sys, time
from pathlib import Path
service = subprocess.Popen(["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
                           stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
service.stdin.write(b"a password")
service.stdin.close()
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
connection, deadline = open_dbus_connection(), time.monotonic() + 60
while not connection.send_and_get_reply(message_bus.NameHasOwner("org.freedesktop.secrets")).body[0]:
    if time.monotonic() > deadline:  # whoever asks for the service itself before it is there starts a locked one
        sys.exit("the keychain did not come up")
    time.sleep(0.05)
from broker.vault import keychain
state, home = Path(sys.argv[1]), Path("/home/me")
keys = [keychain.integrity_key(state, home) for _ in range(2)]
told = keychain.remember(keys[0], home, 7), keychain.remembered(keys[0], home)
service.kill()
service.wait()
from broker.vault import backends
backends.KEYCHAIN_SECONDS = 2.0
try:
    keychain.integrity_key(state, home)
    later = "it was opened"
except keychain.KeychainLocked as problem:
    later = str(problem)
print(json.dumps({"where": keys[0].where, "same": keys[0] == keys[1], "bytes": len(keys[0].key), "told": told,
                  "later": later, "files": sorted(path.name for path in state.iterdir())}))
"""


@pytest.mark.keychain
@pytest.mark.skipif(
    not (shutil.which("gnome-keyring-daemon") and shutil.which("dbus-run-session")),
    reason="needs gnome-keyring-daemon and dbus-run-session",
)
def test_a_real_keychain_keeps_the_key_and_its_end_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    state = tmp_path / "state"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    source = str(Path(keychain.__file__).parents[2])
    done = subprocess.run(
        ["dbus-run-session", "--", sys.executable, "-c", SCENE, str(state)],
        env={**kept, "PYTHONPATH": source, **{name: str(folder) for name, folder in folders.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["where"] == "SecretService.Keyring"
    assert (seen["same"], seen["bytes"], seen["told"]) == (True, KEY_BYTES, [True, 7])
    assert "keychain (SecretService.Keyring)" in seen["later"]
    assert seen["files"] == ["integrity.where"]
