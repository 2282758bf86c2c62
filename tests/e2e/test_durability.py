"""What was forwarded is on record: after a kill at any moment, and on a disk that takes no more."""

import contextlib
import random
import resource
from typing import Final

import pytest

from tests.e2e.crashes import CrashTest
from tests.e2e.processes import daemons
from tests.e2e.running import Running

pytestmark = pytest.mark.sandbox

KILLS: Final = 5  # `python -m benchmarks.crash` does three hundred
ROOM: Final = 4096  # bytes until the disk is full


@pytest.mark.claim("C40")
def test_a_daemon_killed_under_load_has_a_receipt_for_everything_it_forwarded(running: Running) -> None:
    rng = random.Random(7)
    test = CrashTest(running)
    crashes = [test.once(number, rng) for number in range(KILLS)]
    assert [(crash.lost, crash.problem) for crash in crashes] == [(set(), "")] * KILLS
    assert sum(len(crash.answered) for crash in crashes) > KILLS
    assert any(crash.written for crash in crashes), "effects that stay were among them"


@pytest.mark.claim("C43")
def test_a_full_disk_ends_the_link_says_so_and_a_daemon_with_room_goes_on(running: Running) -> None:
    """No file of the daemon may grow any more: its own disk says the same, for as far as it can tell."""
    running.add_toy("honest")
    client = running.newcomer("honest")
    pid = running.desk.status().pid
    with running.connect("honest", client) as link:
        link.open()
        assert link.call_text("echo", {"text": "before"}) == "before"
        size = max(path.stat().st_size for path in running.paths.audit.glob("segment-*"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + ROOM, resource.RLIM_INFINITY))
        said = ""
        with contextlib.suppress(BrokenPipeError):  # the link may be over before the last is said
            for _ in range(50):
                link.start_request("tools/call", {"name": "echo", "arguments": {"text": "x" * 500}})
        while line := link.receive_line(within=60):
            said = line.decode()
        assert link.wait(within=60) == 1
        told = said + link.errors()
    assert "cannot be written" in told or "nothing can be recorded" in told or "daemon ended" in told
    for left in daemons(running.paths.home):
        resource.prlimit(left, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    running.bulkhead("down")
    assert daemons(running.paths.home) == []
    running.up()
    with running.connect("honest", client) as link:
        link.open()
        assert link.call_text("echo", {"text": "after"}) == "after"
    done = running.bulkhead("audit", "verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
