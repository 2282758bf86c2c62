"""The vault on a real Secret Service: opened, locked, deaf, killed, without a bus; closed whenever not opened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from broker.vault import vault

pytestmark = [
    pytest.mark.keychain,
    pytest.mark.skipif(
        not (shutil.which("gnome-keyring-daemon") and shutil.which("dbus-run-session")),
        reason="needs gnome-keyring-daemon and dbus-run-session",
    ),
]

SCENE: Final = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
import secretstorage
from broker.vault import backends
from broker.vault.book import Place
from broker.vault.vault import Vault

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

folder, home, place, told = Path(sys.argv[1]), Path("/home/me"), Place("token", "cursor", "linear"), {}

def look(when):
    made = Vault(folder, home)
    standing = made.open()
    kept = made.book.load(place) if standing.is_open else None
    told[when] = [standing.where, standing.problem, kept.value.decode() if kept else None]
    made.close()

first = Vault(folder, home)
first.open()
first.book.put(place, b"a canary")
first.close()
look("started")
again = Vault(folder, home)
again.open()
again.rotate()
again.close()
look("rotated")
bus = secretstorage.dbus_init()
collection = secretstorage.get_default_collection(bus)
told["entries"] = sorted(item.get_attributes().get("username", "").split("-")[0] for item in collection.get_all_items())
collection.lock()
backends.KEYCHAIN_SECONDS = 20.0
look("locked")
backends.KEYCHAIN_SECONDS = 1.0
service.send_signal(signal.SIGSTOP)
look("deaf")
service.kill()
service.wait()
look("killed")
os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={folder}/no-bus"
look("no bus")
told["files"] = [name for name in sorted(os.listdir(folder)) if b"a canary" in (folder / name).read_bytes()]
print(json.dumps(told), flush=True)
os._exit(0)  # threads that still wait for the one that was stopped must not keep this process
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One life of a keychain, and what the vault said in each state of it."""
    folder = tmp_path_factory.mktemp("keychain")
    folders = {name: folder / name for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    for each in folders.values():
        each.mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    source = str(Path(vault.__file__).parents[2])
    done = subprocess.run(
        ["dbus-run-session", "--", sys.executable, "-c", SCENE, str(folder / "vault")],
        env={**kept, "PYTHONPATH": source, **{name: str(each) for name, each in folders.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.claim("C56")
@pytest.mark.parametrize("when", ["started", "rotated"])
def test_what_was_kept_is_there_after_a_restart_and_under_a_new_key(told: dict[str, Any], when: str) -> None:
    assert told[when] == ["SecretService.Keyring", "", "a canary"]


def test_one_key_lies_in_the_keychain_and_nothing_of_the_rows_on_the_disk(told: dict[str, Any]) -> None:
    assert told["entries"] == ["vault"]
    assert told["files"] == []


@pytest.mark.claim("C56")
@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("locked", ("is locked", "does not open", "failed")),
        ("deaf", ("did not answer within 1 s",)),
        ("killed", ("is locked", "does not open", "failed", "no keychain can be reached", "did not answer")),
        ("no bus", ("no keychain can be reached",)),
    ],
)
def test_a_keychain_that_does_not_give_the_key_leaves_the_vault_closed_with_the_reason(
    told: dict[str, Any], when: str, said: tuple[str, ...]
) -> None:
    where, problem, value = told[when]
    assert value is None and where == "keychain"
    assert any(words in problem for words in said), problem
