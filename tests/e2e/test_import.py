"""A person's own applications: their servers move in, their very own launch lines work, and everything can go back."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.examples import CLAUDE_DESKTOP, SECRET, claude_code, put
from tests.e2e.processes import daemons
from tests.e2e.running import PYTHON_INSIDE, Running
from tests.fakes import script
from tests.fakes.raw_client import RawClient

pytestmark = pytest.mark.sandbox

DESKTOP: Final = "claude-desktop"
CODE: Final = "claude-code"
PHRASE: Final = "a phrase that opens the copies"


def desktop(home: Running) -> Path:
    """Claude Desktop's file, with a server that needs a folder and one that needs a token."""
    document = json.loads(CLAUDE_DESKTOP)
    documents = home.user / "Documents"
    documents.mkdir(0o755)
    (documents / "plan.txt").write_text("on thursday")
    toy = str(script("honest"))
    document["mcpServers"]["filesystem"] |= {"command": PYTHON_INSIDE, "args": ["-I", toy, str(documents)]}
    document["mcpServers"]["github"] |= {"command": PYTHON_INSIDE, "args": ["-I", toy]}
    return put(home.user, DESKTOP, json.dumps(document, indent=2) + "\n")


def code(home: Running) -> Path:
    """Claude Code's file: months of its own state, a server of the user's, one of a project, one that cannot move."""
    document = json.loads(claude_code(home.user, projects=5))
    line = {"type": "stdio", "command": PYTHON_INSIDE, "args": ["-I", str(script("honest"))], "env": {}}
    servers = document["mcpServers"]
    del servers["notes"], servers["time"]
    servers["mine"] = line
    servers["sentry"]["oauth"] = {"clientId": "c"}
    document["projects"][str(home.user / "work/app-3")]["mcpServers"] = {"theirs": line}
    return put(home.user, CODE, json.dumps(document, indent=2))


@pytest.fixture
def files(resting: Running) -> dict[Path, bytes]:
    """Both files, byte for byte as the applications left them."""
    return {path: path.read_bytes() for path in (desktop(resting), code(resting))}


def untouched(files: dict[Path, bytes]) -> bool:
    return all(path.read_bytes() == data for path, data in files.items())


def entry(path: Path, *where: str) -> dict[str, Any]:
    found = json.loads(path.read_text())
    for key in where:
        found = found[key]
    assert isinstance(found, dict)
    return found


def launch(home: Running, written: dict[str, Any]) -> RawClient:
    """What the application does with an entry of its file: run that command with these arguments and variables."""
    return RawClient([written["command"], *written["args"]], env={**home.environment, **written.get("env", {})})


def test_a_dry_run_shows_what_would_change_and_changes_nothing(resting: Running, files: dict[Path, bytes]) -> None:
    before = sorted(resting.user.rglob("*"))
    said = resting.bulkhead("import", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert '-      "command": "/usr/bin/python3"' in said.stdout
    assert "shim.py" in said.stdout
    assert SECRET not in said.stdout + said.stderr
    assert "stays: sentry: has oauth, which Bulkhead does not know" in said.stdout
    assert "${STAGE:-test}" in said.stdout
    assert untouched(files)
    assert sorted(resting.user.rglob("*")) == before
    assert daemons(resting.paths.home) == []


def test_an_import_that_nobody_says_yes_to_changes_nothing(resting: Running, files: dict[Path, bytes]) -> None:
    said = resting.bulkhead("import")
    assert said.returncode == 1
    assert "left as it is" in said.stdout
    assert untouched(files)
    assert resting.desk.status().servers == 0


@pytest.mark.claim("C60", "C30")
def test_imported_entries_work_by_their_own_launch_lines_and_undo_gives_the_files_back(
    resting: Running, files: dict[Path, bytes]
) -> None:
    of_desktop, of_code = files
    assert resting.bulkhead("vault", "passphrase", stdin=PHRASE).returncode == 0
    imported = resting.bulkhead("import", "--yes")
    assert imported.returncode == 0, imported.stdout + imported.stderr
    assert not untouched(files)
    assert SECRET.encode() not in of_desktop.read_bytes()
    left = entry(of_code, "mcpServers")
    assert left["sentry"] == json.loads(files[of_code])["mcpServers"]["sentry"]
    assert left["deploy"] == json.loads(files[of_code])["mcpServers"]["deploy"]
    others = {key: value for key, value in entry(of_code).items() if key not in ("mcpServers", "projects")}
    assert others == {key: json.loads(files[of_code])[key] for key in others}

    plan = str(resting.user / "Documents" / "plan.txt")
    with launch(resting, entry(of_desktop, "mcpServers", "filesystem")) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
        assert resting.desk.pending() == [], "an import of the person's own is the answer to the first connection"
        assert link.call_text("read_file", {"path": plan}) == "on thursday"
        assert "Read-only file system" in link.call_text("write_note", {"path": plan, "text": "on friday"})
    with launch(resting, entry(of_desktop, "mcpServers", "github")) as link:
        link.open()
        held = link.start_request("tools/call", {"name": "environ", "arguments": {}})
        resting.desk.approve(resting.desk.question(kind="call"))  # after the other server was read, by the same run
        assert SECRET in str(link.answer_to(held)["result"])
        shown = resting.desk.sessions()
        assert {session.client for session in shown} == {DESKTOP}
    with launch(resting, entry(of_code, "mcpServers", "mine")) as link:
        link.open()
        assert link.call_text("echo", {"text": "ahoy"}) == "ahoy"
    kept = [path for path in resting.paths.home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == [], "the copies for undo are sealed"
    assert f"{SECRET}" not in imported.stdout + imported.stderr
    assert "go to the vault, and to nobody but it: GITHUB_" in imported.stdout
    assert "github: kept in the vault: GITHUB_" in imported.stdout

    states = json.loads(resting.bulkhead("clients", "--json").stdout)
    assert {
        (found["client"], each["name"]) for found in states for each in found["entries"] if each["state"] == "bulkhead"
    } >= {(DESKTOP, "filesystem"), (DESKTOP, "github"), (CODE, "mine")}

    assert resting.bulkhead("down").returncode == 0
    closed = resting.bulkhead("undo", stdin="not that phrase")
    assert closed.returncode == 1 and "this is not the passphrase" in closed.stdout and not untouched(files)
    undone = resting.bulkhead("undo", stdin=PHRASE)
    assert undone.returncode == 0, undone.stdout
    assert untouched(files)
    assert daemons(resting.paths.home) == [], "undo needs no daemon"
    assert resting.bulkhead("undo").returncode == 1


@pytest.mark.claim("C60")
def test_one_client_can_be_imported_and_undone_without_the_other(resting: Running, files: dict[Path, bytes]) -> None:
    of_desktop, of_code = files
    assert resting.bulkhead("import", CODE, "--yes").returncode == 0
    assert of_desktop.read_bytes() == files[of_desktop]
    assert of_code.read_bytes() != files[of_code]
    assert resting.bulkhead("import", "--yes").returncode == 0
    assert of_desktop.read_bytes() != files[of_desktop]
    assert resting.bulkhead("undo", DESKTOP).returncode == 0
    assert of_desktop.read_bytes() == files[of_desktop]
    assert of_code.read_bytes() != files[of_code]
    assert resting.bulkhead("undo", CODE).returncode == 0
    assert untouched(files)


@pytest.mark.claim("C61")
@pytest.mark.parametrize("wrong", ["not JSON", "cut short", "a list", "a key twice", "servers in a list"])
def test_a_file_that_is_not_what_it_should_be_is_named_and_left_untouched(
    resting: Running, files: dict[Path, bytes], wrong: str
) -> None:
    of_desktop, of_code = files
    good = files[of_desktop]
    files[of_desktop] = {
        "not JSON": b"mcpServers:\n  time:\n    command: uvx\n",
        "cut short": good[: len(good) // 2],
        "a list": b"[" + good + b"]",
        "a key twice": good.replace(b'"mcpServers"', b'"mcpServers": {}, "mcpServers"', 1),
        "servers in a list": b'{"mcpServers": ["time"]}\n',
    }[wrong]
    of_desktop.write_bytes(files[of_desktop])
    for line in (["import", DESKTOP, "--dry-run"], ["import", DESKTOP, "--yes"]):
        said = resting.bulkhead(*line)
        assert said.returncode == 1, said.stdout
        assert str(of_desktop) in said.stdout + said.stderr
        assert SECRET not in said.stdout + said.stderr
        assert untouched(files)
    assert resting.bulkhead("import", CODE, "--yes").returncode == 0, "the other client's file is in order"
    assert of_desktop.read_bytes() == files[of_desktop]
    assert of_code.read_bytes() != files[of_code]


@pytest.mark.claim("C11")
def test_an_entry_that_is_not_understood_stays_and_the_others_move(resting: Running) -> None:
    servers = {
        "inline": {"command": PYTHON_INSIDE, "args": ["-c", "print('hello')"]},
        "good": {"command": PYTHON_INSIDE, "args": ["-I", str(script("honest"))]},
    }
    path = put(resting.user, DESKTOP, json.dumps({"mcpServers": servers}, indent=2))
    said = resting.bulkhead("import", "--yes")
    assert said.returncode == 1
    assert "code on the command line has no file to pin" in said.stderr
    assert f"inline stays as it is in {path}" in said.stdout
    assert entry(path, "mcpServers", "inline") == servers["inline"]
    with launch(resting, entry(path, "mcpServers", "good")) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
