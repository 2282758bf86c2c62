"""`bulkhead doctor` before homes that are really broken: each is seen, named, and told what to do about."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from broker.api.sockets import take_lock
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.redact import Redactor
from broker.cli import home_checks, machine_checks
from broker.cli.context import CANNOT_ENFORCE, DONE, NO
from broker.cli.doctor import code_of, run_all
from broker.cli.findings import Finding, Named
from broker.cli.secret_checks import plain_secrets
from broker.clients.backups import keep
from broker.config import Paths, make_folders, paths_under
from broker.errors import ConfigError
from broker.files import write_private
from broker.model import ClientName, Fact, Origin
from broker.trust.store import Store
from broker.vault.vault import Vault
from tests.fakes.home import throwaway_home
from tests.vault.conftest import Fake

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
ENTRY = {"command": "npx", "args": ["-y", "some-server"]}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = paths_under(tmp_path / "home")
    make_folders(made)
    return made


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


# --- the whole command -------------------------------------------------------------------------------------------


@pytest.mark.claim("C66")
@pytest.mark.sandbox
def test_a_sound_machine_without_a_daemon_is_told_of_in_a_table_and_as_json(tmp_path: Path) -> None:
    with throwaway_home(HOME=str(tmp_path), XDG_CONFIG_HOME="", CLAUDE_CONFIG_DIR="") as home:
        told = home.bulkhead("doctor", "--json")
        rows: list[dict[str, Any]] = json.loads(told.stdout)
        by_name = {row["what"]: row for row in rows}
        assert (told.returncode, by_name["sandbox"]["state"]) == (0, "ok"), told.stdout
        assert by_name["sandbox"]["said"].startswith("tier A")
        assert by_name["seatbelt"]["said"].endswith("unverified on this OS")
        assert "does not run" in by_name["daemon"]["said"] and not home.paths.control_socket.exists()
        assert all(row["fix"] for row in rows if row["state"] != "ok")

        home.paths.runtime.chmod(0o755)
        shown = home.bulkhead("doctor")
        assert shown.returncode == 1
        assert f"home: chmod 700 {home.paths.runtime}" in shown.stdout.splitlines()


def test_a_machine_that_cannot_enforce_counts_for_more_than_anything_bad() -> None:
    good, bad = Finding("a", "ok", "fine"), Finding("b", "bad", "not fine", "mend it")
    none = Finding("sandbox", "bad", "none", unenforced=True)
    assert [code_of([good]), code_of([good, Finding("c", "warn", "old")]), code_of([good, bad])] == [DONE, DONE, NO]
    assert code_of([bad, none, good]) == CANNOT_ENFORCE


def test_a_check_that_never_ends_holds_up_no_other_and_is_said() -> None:
    ever = threading.Event()

    def refuses() -> list[Finding]:
        raise ConfigError("it is not what it should be", hint="mend it")

    def hangs() -> list[Finding]:
        ever.wait(60)
        return []

    def works() -> list[Finding]:
        return [Finding("works", "ok", "fine")]

    try:
        found = run_all([Named("hangs", hangs, 0.1), Named("refuses", refuses, 30), Named("works", works, 30)])
    finally:
        ever.set()
    assert [(one.what, one.state) for one in found] == [("hangs", "warn"), ("refuses", "bad"), ("works", "ok")]
    assert "no answer within" in found[0].said and found[1].fix == "mend it"


# --- the machine -------------------------------------------------------------------------------------------------


def test_no_tier_is_bad_and_apparmor_is_answered_with_the_profile_to_install() -> None:
    none = {"name": "none", "reason": "bubblewrap cannot build a sandbox here", "fix": "what helps"}
    box, spaces = machine_checks.judged(none, {machine_checks.APPARMOR: "1"}.get)
    assert (box.state, box.unenforced, box.fix) == ("bad", True, "what helps")
    assert "flags=(unconfined)" in spaces.fix and "userns," in spaces.fix and "apparmor_parser -r" in spaces.fix
    forbidden, fix = "/proc/sys/user/max_user_namespaces", "sudo sysctl user.max_user_namespaces=10000"
    assert machine_checks.judged(none, {forbidden: "0"}.get)[1].fix == fix


def test_a_lesser_tier_is_a_warning_and_no_ground_to_refuse() -> None:
    lesser = {"name": "A'", "reason": "only programs that ask the proxy reach their hosts", "fix": ""}
    found = machine_checks.judged(lesser, {}.get)
    assert states(found) == ["warn", "ok"] and code_of(found) == DONE and "setns" in found[0].fix
    landlock = {"name": "B", "reason": "Landlock stands in", "fix": "install bubblewrap"}
    assert code_of(machine_checks.judged(landlock, {}.get)) == DONE


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # nothing came with Bulkhead
    found = machine_checks.programs({"PATH": "/nowhere"})
    assert [(one.what, one.state) for one in found] == [("node", "warn"), ("npm", "warn"), ("uv", "warn")]


def test_a_key_in_a_file_is_said_to_be_one(paths: Paths) -> None:
    (paths.state / "integrity.where").write_text("file\n")
    (found,) = machine_checks.keychain(paths)
    assert "file that only you can read" in found.said and found.state != "bad"


def test_a_keychain_that_is_away_is_bad_where_the_key_lies_in_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    (paths.state / "integrity.where").write_text("SecretService.Keyring\n")
    (found,) = machine_checks.keychain(paths)
    assert found.state == "bad" and "unlock" in found.fix


@pytest.mark.parametrize(
    ("keychain", "state", "said"),
    [("there", "ok", "SecretService.Keyring holds"), ("gone", "bad", "no keychain can be reached"),
     ("phrase", "ok", "sealed under a passphrase"), ("none", "ok", "nothing is sealed yet")],
)  # fmt: skip
def test_what_the_secrets_are_sealed_under_is_told(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, keychain: str, state: str, said: str
) -> None:
    monkeypatch.setattr("broker.vault.seal.SCRYPT_COST", 2**4)
    fake = Fake()
    monkeypatch.setattr("broker.vault.backends._viable", lambda _name: None if fake.gone else fake)
    if keychain != "none":
        made = Vault(paths.state / "vault", paths.home)
        made.open("a phrase of mine" if keychain == "phrase" else "")
        made.close()
    fake.gone = keychain == "gone"
    (found,) = machine_checks.vault(paths)
    assert (found.what, found.state) == ("vault", state) and said in found.said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", place], timeout=30, check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("a file system can be mounted here by nobody")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], timeout=30, check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_bad_before_a_receipt_cannot_be_written(small_disk: Path) -> None:
    made = paths_under(small_disk / "home")
    make_folders(made)
    try:
        (small_disk / "filler").write_bytes(bytes(2 << 20))
    except OSError:
        pass  # that is the point
    full = [one for one in machine_checks.disk(made) if str(small_disk) in one.said]
    assert [(one.state, one.said.rpartition(": ")[2]) for one in full] == [("bad", "0 MiB free")]


# --- the home ----------------------------------------------------------------------------------------------------


def test_a_home_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    nowhere = paths_under(tmp_path / "nowhere")
    for named in home_checks.home_checks(nowhere, {}):
        if named.what not in ("clients", "advisories"):
            assert states(named.check()) == ["ok"], named.what
    assert not nowhere.home.exists()


@pytest.mark.parametrize(
    ("name", "mode", "state"), [("run", 0o755, "bad"), ("state", 0o770, "bad"), ("data", 0o755, "warn")]
)
def test_a_folder_open_to_others_is_said_with_the_command_that_closes_it(
    paths: Paths, name: str, mode: int, state: str
) -> None:
    assert states(home_checks.permissions(paths)) == ["ok"]
    (paths.home / name).chmod(mode)
    (found,) = home_checks.permissions(paths)
    assert (found.state, found.fix) == (state, f"chmod 700 {paths.home / name}")


def test_a_secret_others_may_read_and_a_folder_that_is_a_link_are_bad(paths: Paths, tmp_path: Path) -> None:
    secret = paths.config / "clients" / "cursor"
    secret.parent.mkdir()
    secret.write_text("secret")
    secret.chmod(0o644)
    shutil.rmtree(paths.data)
    paths.data.symlink_to(tmp_path)
    link, open_secret = home_checks.permissions(paths)
    assert (link.state, link.said) == ("bad", f"{paths.data} is no folder")
    assert (open_secret.state, open_secret.fix) == ("bad", f"chmod 600 {secret}")
    assert "secret" not in open_secret.said.replace(str(secret), "")


def test_secrets_of_an_older_home_are_named_with_what_moves_them_and_never_said(paths: Paths) -> None:
    assert [row.state for row in plain_secrets(paths)] == ["ok"]
    for name, argv in (("new", ["npx", "tool", "--key", "@argument.key@"]), ("old", ["npx", "tool", "--key", "abc"])):
        write_private(paths.config / "servers" / f"{name}.toml", tomli_w.dumps({"argv": argv}).encode())
    write_private(paths.config / "env" / "old.json", b'{"API_TOKEN": "def", "ZONE": "UTC"}')
    (row,) = plain_secrets(paths)
    assert (row.state, row.fix.partition(",")[0]) == ("warn", "bulkhead pin old --update")
    assert row.said == "old keeps what looks like a secret outside of the vault: API_TOKEN, key"


def test_a_socket_nobody_listens_on_is_stale_and_bad_while_a_daemon_runs(paths: Paths) -> None:
    assert states(home_checks.sockets(paths)) == ["ok"]
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(paths.control_socket))
    (stale,) = home_checks.sockets(paths)
    assert stale.state == "warn" and str(paths.control_socket) in stale.said
    lock = take_lock(paths.state / "daemon.lock")
    try:
        (deaf,) = home_checks.sockets(paths)
    finally:
        os.close(lock)
    assert deaf.state == "bad" and "a daemon runs" in deaf.said


def test_a_receipt_of_the_future_tells_that_the_clock_went_back(paths: Paths) -> None:
    audit = AuditLog.open(paths.audit, AuditKeys(bytes(32)), lambda: NOW, Redactor())
    audit.append(Origin(), Fact("daemon", "broker", "start"))
    audit.close()
    assert states(home_checks.clock(paths, NOW)) == ["ok"]
    (behind,) = home_checks.clock(paths, NOW - 3600)
    assert behind.state == "bad" and "3600 s after this machine's time" in behind.said
    with next(paths.audit.glob("segment-*")).open("ab") as file:
        file.write(b"no receipt\n")
    (spoilt,) = home_checks.clock(paths, NOW)
    assert (spoilt.state, spoilt.fix) == ("bad", "bulkhead audit verify")


def test_one_changed_byte_in_the_store_is_found_and_the_file_named(paths: Paths) -> None:
    store = Store(paths.store)
    trees = []
    for text in ("one", "another"):
        with store.staging() as work:
            (work / "tree").mkdir()
            (work / "tree" / "server.py").write_text(text)
            trees.append(store.admit(work / "tree").tree)
    (sound,) = home_checks.store(paths.store)
    assert (sound.state, sound.said) == ("ok", "2 objects, each as it was taken in")
    file = store.object(trees[0]) / "server.py"
    file.chmod(0o644)
    file.write_text("0ne")
    file.chmod(0o444)
    (damaged,) = home_checks.store(paths.store)
    assert damaged.state == "bad" and trees[0][:12] in damaged.said and "server.py" in damaged.said
    assert "bulkhead verify" in damaged.fix


def test_a_list_that_is_gone_is_damage_too(paths: Paths) -> None:
    store = Store(paths.store)
    with store.staging() as work:
        (work / "tree").mkdir()
        tree = store.admit(work / "tree").tree
    (paths.store / "listings" / tree).unlink()
    assert states(home_checks.store(paths.store)) == ["bad"]


def test_advisories_and_roots_that_are_old_say_so(paths: Paths) -> None:
    (none,) = home_checks.advisories(paths, NOW)
    assert none.state == "warn" and "advisories refresh" in none.fix
    paths.advisories.mkdir()
    (paths.advisories / "advisories.db").write_text("no database")
    (spoilt,) = run_all([Named("advisories", lambda: home_checks.advisories(paths, NOW), 60)])
    assert spoilt.state == "bad"
    assert states(home_checks.roots(NOW)) == ["ok"]
    (old,) = home_checks.roots(NOW + 400 * home_checks.DAY)
    assert (old.state, old.fix) == ("warn", "update Bulkhead")


@pytest.mark.claim("C66")
def test_an_entry_that_goes_past_bulkhead_is_named_and_one_that_came_back_is_called_so(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    file = user / ".cursor" / "mcp.json"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(user))
    file.write_text(json.dumps({"mcpServers": {"notes": ENTRY}}))
    (past,) = home_checks.clients(paths, {"HOME": str(user)})
    assert past.state == "warn" and "goes past Bulkhead: notes" in past.said and past.fix == "bulkhead import cursor"
    keep(paths.state / "imports", ClientName("cursor"), file, b"before", b"after", ())
    (again,) = home_checks.clients(paths, {"HOME": str(user)})
    assert "though its servers were moved in before: notes" in again.said
    file.write_text("{")
    (broken,) = home_checks.clients(paths, {"HOME": str(user)})
    assert broken.state == "warn" and str(file) in broken.said
