"""From a server that cannot do its work to the grants it needs: watched, proposed, granted by a person, working."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from broker.cli.demo import PROBE
from tests.e2e.running import PYTHON_INSIDE, Running, home_of_a_stranger

pytestmark = pytest.mark.sandbox

READ: Final = "read_file"
FORBIDDEN: Final = "import ctypes; ctypes.CDLL(None).unshare(0x10000000)\n"
"""What a browser does first: build a sandbox of its own."""


@pytest.fixture(scope="module")
def school() -> Iterator[Running]:
    """A home with `probe`, which was granted nothing, and some files of the user."""
    with home_of_a_stranger() as made:
        made.up()
        code = made.user / "code" / "probe.py"
        code.parent.mkdir()
        code.write_text(FORBIDDEN + PROBE.read_text())
        code.chmod(0o644)
        made.add("probe", [PYTHON_INSIDE, "-I", code])
        made.desk.connect("local", "probe")
        assert made.bulkhead("policy", "use", "observe").returncode == 0
        for name in ("work/plan.txt", "work/notes/list.txt", ".ssh/id_rsa", "work/package.json"):
            made.user.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            made.user.joinpath(name).write_text(f"this is {name}\n")
        yield made


def learnt(home: Running, *paths: Path, host: str = "", options: tuple[str, ...] = ("--json",)) -> Any:
    words = [word for path in paths for word in ("--call", READ, json.dumps({"path": str(path)}))]
    if host:
        words += ["--call", "dial", json.dumps({"host": host, "port": 443})]
    done = home.bulkhead("sandbox", "learn", "probe", *words, *options, within=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if options == ("--json",) else done.stdout


def test_a_watched_run_proposes_the_narrowest_grants_and_gives_none(school: Running) -> None:
    work = school.user / "work"
    wanted = (work / "plan.txt", work / "notes/list.txt", school.user / ".ssh/id_rsa", school.user / "absent")
    found = learnt(school, *wanted, host="api.example.com")
    assert found["starts"] == 1
    assert [(one["path"], one["writable"]) for one in found["paths"]] == [(str(work), False)]
    assert found["hosts"] == ["api.example.com"]
    assert found["withheld"] == 1
    assert "id_rsa" not in json.dumps(found)
    assert [(one["sort"], one["calls"], one["times"]) for one in found["refused"]] == [
        ("mounts and namespaces", ["unshare"], 1)
    ]
    server = school.desk.server("probe")
    assert (server.read, server.write, server.hosts) == ([], [], [])


def test_what_was_proposed_and_granted_works_and_is_not_proposed_again(school: Running) -> None:
    plan = school.user / "work" / "plan.txt"
    said = learnt(school, plan, options=())
    assert "it was refused mounts and namespaces (unshare), once; no grant gives that\n  browsers" in said
    command = next(line for line in said.splitlines() if "later: bulkhead grant" in line)
    granted = school.bulkhead(*command.partition("later: bulkhead ")[2].split())
    assert granted.returncode == 0, granted.stderr
    assert school.desk.server("probe").read == [str(plan)]
    assert learnt(school, plan)["paths"] == []
    with school.connect("probe") as client:
        client.open()
        assert "this is work/plan.txt" in client.call_text(READ, {"path": str(plan)})


def test_a_server_outside_of_every_sandbox_is_not_watched(school: Running) -> None:
    assert school.bulkhead("sandbox", "probe", "off", "--yes").returncode == 0
    refused = school.bulkhead("sandbox", "learn", "probe", "--seconds", "1")
    assert school.bulkhead("sandbox", "probe", "on").returncode == 0
    assert refused.returncode != 0 and "probe cannot be watched: it runs outside of every sandbox" in refused.stderr
