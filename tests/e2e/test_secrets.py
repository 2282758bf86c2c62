"""One secret through a whole life: set, given to the one server it is for, changed, sealed, removed; nowhere else."""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker.api import schema
from tests.e2e.processes import command_line, descendants
from tests.e2e.running import Running, toy_line
from tests.e2e.test_integrity import files_with, holders
from tests.fakes.raw_client import RawClient

pytestmark = pytest.mark.sandbox

CANARY: Final = "canary-9c1f6e0b7d3a4852"
SECOND: Final = "canary-2a5848d3b70e6f1c"
THIRD: Final = "canary-in-a-launch-line-77"
PHRASE: Final = "a phrase that opens it"
READS: Final = """
import sys
for part in ("mem", "environ"):
    try:
        with open(f"/proc/{sys.argv[1]}/{part}", "rb") as file:
            file.read(1) if part == "environ" else None
        print("open")
    except PermissionError:
        print("closed")
"""


def servers_of(home: Running, name: str, client: str) -> set[int]:
    tree = descendants(home.desk.link(name, client).pid)
    return {pid for pid in tree if command_line(pid)[-1].endswith("honest.py")}


def ask(link: RawClient, id_of: str = "environ") -> str:
    """What the server shows of its environment, or why it did not start."""
    number = link.start_request("tools/call", {"name": id_of, "arguments": {}})
    return json.dumps(link.answer_to(number))


def said_at_the_desk(home: Running) -> str:
    """All that the screen is told."""
    return home.desk.until(lambda event: str(event) if isinstance(event, schema.Snapshot) else None, "snapshot")


@pytest.fixture
def outputs(running: Running) -> Iterator[list[str]]:
    """What every command of the test printed; none of it may hold a secret."""
    said: list[str] = []
    yield said
    assert not any(secret in text for text in said for secret in (CANARY, SECOND, THIRD, PHRASE))


@pytest.mark.claim("C57")
def test_a_secret_reaches_the_one_server_it_is_for_and_nothing_else_that_anybody_can_look_at(
    running: Running, outputs: list[str]
) -> None:
    def bulkhead(*words: str, stdin: str = "", code: int = 0) -> str:
        done = running.bulkhead(*words, stdin=stdin, within=120.0)
        outputs.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    bulkhead("secret", "set", "shared", stdin=f"{CANARY}\n")
    bulkhead("add", "owner", "--yes", "--secret", "API_TOKEN=keychain:shared", "--", *map(str, toy_line("honest")))
    line = map(str, toy_line("honest", "--api-key", THIRD))
    assert "argument.api-key: handed over on the command line" in bulkhead(
        "add", "other", "--yes", "--env", "ZONE=UTC", "--", *line
    )
    daemon = running.desk.status().pid
    owners, others = running.newcomer("owner"), running.newcomer("other")
    with running.connect("owner", owners) as owner, running.connect("other", others) as other:
        owner.open()
        other.open()
        assert owner.call_text("echo", {"text": f"is it {CANARY}?"}) == f"is it {CANARY}?"
        assert CANARY in ask(owner) and CANARY not in ask(other)
        assert holders(CANARY, "environ") == servers_of(running, "owner", owners)
        assert holders(CANARY, "cmdline") == set()
        assert holders(THIRD, "cmdline") == set(descendants(running.desk.link("other", others).pid))
        assert holders(THIRD, "environ") == set()
        found = json.loads(bulkhead("secret", "list", "--json"))["secrets"]
        assert found == [{"name": "other/argument.api-key", "kept": True, "servers": ["other"]},
                         {"name": "shared", "kept": True, "servers": ["owner"]}]  # fmt: skip

        bulkhead("secret", "set", "shared", stdin=SECOND)
        assert SECOND in ask(owner), "changed without a restart of anything but its server"
        assert "its key in: passphrase" in bulkhead("vault", "passphrase", stdin=PHRASE)
        bulkhead("secret", "remove", "shared")
        refused = ask(owner)
        assert "owner needs API_TOKEN, but there is no secret shared" in refused
        assert not any(value in refused for value in (CANARY, SECOND))
        bulkhead("secret", "set", "shared", stdin=CANARY)
        assert CANARY in ask(owner)
        told = said_at_the_desk(running)

    for words in (
        ["status"],
        ["show", "owner", "--json"],
        ["servers"],
        ["audit", "tail", "--json"],
        ["vault", "status"],
    ):
        bulkhead(*words)
    assert not any(value in told for value in (CANARY, SECOND, THIRD, PHRASE))
    limits = Path(f"/proc/{daemon}/limits").read_text().splitlines()
    assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]]
    without_power = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    reader = subprocess.run(
        [*without_power, sys.executable, "-c", READS, str(daemon)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert reader.stdout.split() == ["closed", "closed"]

    os.kill(daemon, signal.SIGTERM)
    running.bulkhead("down")
    for value in (CANARY, SECOND, THIRD, PHRASE):
        assert files_with(running.paths.home, value) == {}
        assert files_with(running.user, value) == {}

    running.up()
    with running.connect("owner", owners) as owner:
        owner.open()
        assert "the vault is sealed under a passphrase" in ask(owner)
        bulkhead("secret", "set", "shared", stdin=CANARY, code=1)
        bulkhead("vault", "unlock", stdin="not that phrase", code=1)
        bulkhead("vault", "unlock", stdin=PHRASE)
        assert CANARY in ask(owner)
        assert cores(running.desk.status().pid) == []


def cores(daemon: int) -> list[Path]:
    """What a crash of the supervisor and of the daemon writes down, with no limit on its size where we may lift it."""
    (supervisor,) = [pid for pid in descendants(daemon)[1:] if command_line(pid) == command_line(daemon)]
    found: list[Path] = []
    for pid in (supervisor, daemon):  # the other way round the supervisor would end by itself
        place = Path(os.readlink(f"/proc/{pid}/cwd"))
        before = set(place.iterdir())
        with contextlib.suppress(PermissionError):  # of one that is closed to us not even its limits can be changed
            resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pidfd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pidfd, signal.SIGSEGV)
        assert select.select([pidfd], [], [], 60)[0], "it ends"
        os.close(pidfd)
        found += sorted(file for file in set(place.iterdir()) - before if file.name.startswith("core"))
    return found
