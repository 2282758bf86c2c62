"""What was agreed to is what counts: bytes of the store, documents, receipts, and where a secret may be."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import tomli_w

from tests.e2e.processes import command_line, descendants, pids
from tests.e2e.running import PYTHON_INSIDE, Running, home_of_a_stranger
from tests.fakes import script
from tests.fakes.home import Home
from tests.trust.archives import wheel
from tests.trust.registries import PythonIndex

pytestmark = pytest.mark.sandbox

PACKAGE: Final = "toy-notes"
MODULE: Final = "toy_notes/honest.py"
ELSEWHERE: Final = ("PIP_", "UV_", "NPM_CONFIG_")  # variables that would name other indexes than the user's file


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged() -> Iterator[Running]:
    """A home with a server from a package of an index on this machine."""
    files = {
        "toy_notes/__init__.py": "",
        MODULE: script("honest").read_text(),
        "toy_notes/main.py": "from toy_notes.honest import Server\n\n\ndef main() -> None:\n    Server().run()\n",
    }
    with PythonIndex() as index, home_of_a_stranger() as made:
        index.publish(PACKAGE, "1.0.0", wheel(PACKAGE, "1.0.0", files, scripts={PACKAGE: "toy_notes.main:main"}))
        index.environment(made.user)
        own = {name: value for name, value in made.environment.items() if not name.upper().startswith(ELSEWHERE)}
        home = Running(Home(made.paths, own), made.user)
        home.up()
        home.add(PACKAGE, ["uvx", PACKAGE])
        yield home


@pytest.mark.claim("C12")
def test_one_changed_byte_in_the_store_refuses_the_launch_and_names_the_file(packaged: Running) -> None:
    client = packaged.newcomer(PACKAGE)
    (victim,) = packaged.paths.store.rglob(MODULE)
    good = victim.read_bytes()
    assert packaged.bulkhead("verify").returncode == 0
    with packaged.connect(PACKAGE, client) as running:
        running.open()
        assert running.call_text("echo", {"text": "before"}) == "before"
        overwrite(victim, good[:-1] + bytes([good[-1] ^ 1]))
        try:
            with packaged.connect(PACKAGE, client) as link:
                link.open()
                assert len(link.tools()) == 7, "a list does not need the package"
                refused = link.call("echo", {"text": "after"})["error"]["message"]
                assert f"{PACKAGE} could not be started" in refused
                assert MODULE in refused
            said = packaged.bulkhead("verify")
            assert said.returncode == 1
            assert MODULE in said.stdout
            launches = packaged.desk.receipts(client=client, kind="launch")
            assert sum(entry["method"] == "started" for entry in launches) == 1
        finally:
            overwrite(victim, good)
    with packaged.connect(PACKAGE, client) as link:
        link.open()
        assert link.call_text("echo", {"text": "mended"}) == "mended"
    assert packaged.bulkhead("verify", PACKAGE).returncode == 0


@pytest.mark.claim("C12")
def test_a_file_too_many_or_too_few_in_the_store_refuses_the_launch_and_names_it(packaged: Running) -> None:
    (victim,) = packaged.paths.store.rglob(MODULE)
    stranger, away = victim.with_name("sitecustomize.py"), packaged.user / "away.py"
    with writable(victim.parent):
        stranger.write_text("import os\n")
    try:
        assert refusal(packaged, stranger.name) == 1
    finally:
        with writable(victim.parent):
            stranger.unlink()
            victim.rename(away)
    try:
        assert refusal(packaged, MODULE) == 1
    finally:
        with writable(victim.parent):
            away.rename(victim)
    assert packaged.bulkhead("verify").returncode == 0


def refusal(home: Running, name: str) -> int:
    """How `verify` ends when a launch is refused because of that file."""
    with home.connect(PACKAGE, home.newcomer(PACKAGE)) as link:
        link.open()
        assert name in link.call("echo", {"text": "ahoy"})["error"]["message"]
    return home.bulkhead("verify").returncode


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """What lies in the store is read-only on purpose; whoever owns it needs only a little patience."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o755)
    try:
        yield
    finally:
        path.chmod(mode)


def overwrite(path: Path, data: bytes) -> None:
    with writable(path):
        path.write_bytes(data)


@pytest.mark.claim("C12")
def test_a_changed_script_refuses_the_launch_and_names_it(running: Running) -> None:
    server = running.user / "server.py"
    server.write_text(script("honest").read_text())
    running.add("notes", [PYTHON_INSIDE, "-I", server])
    server.write_text(server.read_text() + "\n")
    with running.connect("notes", running.newcomer("notes")) as link:
        link.open()
        assert str(server) in link.call("echo", {"text": "ahoy"})["error"]["message"]
    assert running.bulkhead("verify", "notes").returncode == 1
    assert running.bulkhead("pin", "notes", "--update", "--yes").returncode == 0
    assert running.bulkhead("verify", "notes").returncode == 0


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.claim("C35")
def test_a_hand_edited_grant_of_a_server_counts_only_after_a_review(running: Running) -> None:
    folder = running.user / "private"
    folder.mkdir(0o755)
    secret = folder / "secret.txt"
    secret.write_text("for nobody")
    running.add_toy("honest")
    document = running.paths.config / "servers" / "honest.toml"
    document.write_text(document.read_text().replace("read = []", f'read = ["{folder}"]'))
    with running.connect("honest", running.newcomer("honest")) as link:
        link.open()
        assert "FileNotFoundError" in link.call_text("read_file", {"path": str(secret)})
    assert running.desk.status().drifted_documents == ["servers/honest.toml"]
    shown = running.bulkhead("review")
    assert shown.returncode == 1
    assert "-read = []" in shown.stdout
    assert str(folder) in shown.stdout
    assert running.bulkhead("review", "--yes").returncode == 0
    with running.connect("honest", running.newcomer("honest")) as link:
        link.open()
        assert link.call_text("read_file", {"path": str(secret)}) == "for nobody"


@pytest.mark.claim("C35")
def test_edited_documents_count_for_nothing_across_a_restart_until_a_person_agrees(running: Running) -> None:
    running.add_toy("honest")
    client = running.newcomer()
    running.bulkhead("client", "add", client)
    config = running.paths.config
    grant = {
        "id": "0" * 12, "kind": "connection", "client": client, "server": "honest", "method": "bulkhead/connection",
        "target": "honest", "rule": "first-connection", "evidence": "", "lifetime": "always", "session": "",
        "created": 1.0,
    }  # fmt: skip
    (config / "grants.toml").write_text(tomli_w.dumps({"version": 1, "grant": [grant]}))
    (config / "policy.toml").write_text(running.bulkhead("policy", "show", "observe").stdout)
    (config / "servers" / "evil.toml").write_text((config / "servers" / "honest.toml").read_text())
    running.bulkhead("down")
    running.up()
    status = running.desk.status()
    assert status.policy == "balanced"
    assert status.servers == 1
    assert set(status.drifted_documents) >= {"grants.toml", "policy.toml", "servers/evil.toml"}
    assert running.desk.grants() == []
    with running.connect("honest", client) as link:
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        link.start_request("initialize", opening)
        assert running.desk.question(server="honest").client == client
    with running.connect("evil", client) as link:
        assert link.wait() == 1
        assert "there is no server evil" in link.errors()

    assert running.bulkhead("review", "policy.toml", "--yes").returncode == 0
    assert running.desk.status().policy == "observe"


@pytest.mark.claim("C35")
def test_a_table_of_agreements_that_somebody_else_wrote_makes_nothing_count(running: Running) -> None:
    running.add_toy("honest")
    client = running.newcomer("honest")
    running.bulkhead("down")
    table = running.paths.state / "agreed" / "agreed.json"
    agreed = json.loads(table.read_text())
    agreed["agreed"]["policy.toml"] = "0" * 64
    table.write_text(json.dumps(agreed))
    said = running.bulkhead("up")
    assert said.returncode == 1
    assert "the table of agreed documents was changed by somebody else" in said.stdout
    assert running.desk.status().servers == 0
    assert running.desk.grants() == []
    with running.connect("honest", client) as link:
        assert link.wait() == 1
        assert link.receive_line() == b""
    assert running.bulkhead("review", "--yes").returncode == 0
    with running.connect("honest", client) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"


def test_a_policy_with_an_unknown_key_is_refused_with_its_key_and_line(running: Running, tmp_path: Path) -> None:
    good = running.bulkhead("policy", "show", "balanced").stdout
    bad = tmp_path / "mine.toml"
    bad.write_text(good.replace('effect = "deny"', 'effct = "deny"'))
    for line in (["policy", "check", str(bad)], ["policy", "use", str(bad)]):
        said = running.bulkhead(*line)
        assert said.returncode == 1
        assert "effct" in said.stderr
        assert "line " in said.stderr
        assert said.stderr.splitlines()[1].startswith("try: ")
    (running.paths.config / "policy.toml").write_text(bad.read_text())
    reviewed = running.bulkhead("review", "--yes")
    assert reviewed.returncode == 1
    assert "effct" in reviewed.stderr
    running.bulkhead("down")
    running.up()
    assert running.desk.status().policy == "balanced"
    assert running.desk.status().drifted_documents == ["policy.toml"]


# --- receipts ---------------------------------------------------------------------------------------------------------


@pytest.mark.claim("C41")
@pytest.mark.parametrize("edit", ["changed", "removed", "moved", "cut off"])
def test_an_edited_receipt_is_found_and_the_first_broken_link_is_named(running: Running, edit: str) -> None:
    running.add_toy("honest")
    with running.connect("honest", running.newcomer("honest")) as link:
        link.open()
        link.call("echo", {"text": "ahoy"})
    running.bulkhead("down")
    whole = running.bulkhead("audit", "verify", "--json")
    assert (whole.returncode, json.loads(whole.stdout)["ok"]) == (0, True)

    (segment,) = running.paths.audit.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    mine = b'"client":"client-1"'
    at = next(number for number, line in enumerate(lines) if mine in line)
    match edit:
        case "changed":
            lines[at] = lines[at].replace(mine, b'"client":"client-2"')
        case "removed":
            del lines[at]
        case "moved":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case "cut off":
            del lines[-1]
            at = len(lines)
    segment.write_bytes(b"".join(lines))
    said = running.bulkhead("audit", "verify")
    assert said.returncode == 1
    where = f"{segment.name}, line {at + 1} (entry {at + 1})"
    assert said.stdout.startswith(f"the chain is broken: {where}: ")


# --- a secret ---------------------------------------------------------------------------------------------------------


@pytest.mark.claim("C22", "C42")
def test_the_value_of_a_variable_is_in_the_servers_environment_and_nowhere_else(running: Running) -> None:
    value = "tok-5f4dcc3b5aa765d61d8327deb882cf99"
    running.add_toy("honest", env={"API_TOKEN": value})
    client = running.newcomer("honest")
    with running.connect("honest", client) as link:
        link.open()
        assert link.call_text("echo", {"text": f"is it {value}?"}) == f"is it {value}?"
        assert json.loads(link.call_text("environ"))["API_TOKEN"] == value
        tree = set(descendants(running.desk.link("honest", client).pid))
        servers = {pid for pid in tree if command_line(pid)[-1].endswith("honest.py")}
        assert holders(value, "environ") == servers
        assert holders(value, "cmdline") == set()
        told = running.bulkhead("show", "honest", "--json").stdout + running.bulkhead("audit", "tail", "--json").stdout
        assert "API_TOKEN" in told
        assert value not in told
        running.bulkhead("down")
    assert files_with(running.paths.home, value) == {}


def holders(value: str, part: str) -> set[int]:
    """The processes in whose environment or command line a value stands."""
    found = set()
    for pid in pids():
        try:
            if value.encode() in Path(f"/proc/{pid}/{part}").read_bytes():
                found.add(pid)
        except OSError:
            continue  # gone, or another user's
    return found


def files_with(folder: Path, value: str) -> Mapping[Path, int]:
    """Every file below a folder in which a value stands, with its mode."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and value.encode() in path.read_bytes():
                found[path] = stat.S_IMODE(path.stat().st_mode)
    return found
