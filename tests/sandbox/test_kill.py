"""No server outlives its daemon: whoever is killed, and whenever, the whole tree goes."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from broker.sandbox.commands import GATE_SCRIPT
from tests.sandbox.conftest import PYTHON_INSIDE, Yard

pytestmark = pytest.mark.sandbox

Hold: TypeAlias = Callable[[Yard, dict[str, Any]], tuple[subprocess.Popen[str], dict[str, Any]]]

GONE_WITHIN = 60.0  # 30 ms on a quiet machine
RACES = 10  # of each sort, as each user; benchmarks/kill.py does hundreds

TREE = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        time.sleep(600)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        time.sleep(600)
    os._exit(0)
os.wait()
print("READY", flush=True)
time.sleep(600)
"""

STORM = """
import os
print("READY", flush=True)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
"""

POLITE = """
import signal, sys, time
def leave(*_):
    sys.exit(7)
signal.signal(signal.SIGTERM, leave)
print("READY", flush=True)
time.sleep(600)
"""


def job(program: str, **more: Any) -> dict[str, Any]:
    return {"argv": [PYTHON_INSIDE, "-c", program], **more}


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, itself included, as the host sees them."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                found += map(int, Path(f"/proc/{process}/task/{thread}/children").read_text().split())
    return found


@contextlib.contextmanager
def watched(pids: list[int]) -> Iterator[list[int]]:
    """Descriptors that tell when each process is gone."""
    descriptors = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def all_gone(pidfds: list[int]) -> bool:
    left = set(pidfds)
    deadline = time.monotonic() + GONE_WITHIN
    while left and (remaining := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        left -= {descriptor for descriptor, _ in poll.poll(remaining * 1000)}
    return not left


@pytest.mark.claim("C23")
@pytest.mark.parametrize("victim", ["daemon", "supervisor", "both of them", "bwrap", "process 1", "server"])
def test_after_kill_9_of(yard: Yard, held: Hold, victim: str) -> None:
    daemon, told = held(yard, {"hold": [job(TREE), job(TREE)]})
    trees = [descendants(outer) for outer in told["outer"]]
    assert all(len(tree) == 6 for tree in trees), trees  # bwrap twice, the server, two children, the daemonised one
    first = trees[0][1]
    targets = {
        "daemon": [daemon.pid],
        "supervisor": [told["supervisor"]],
        "both of them": [told["supervisor"], daemon.pid],
        "bwrap": [told["outer"][0]],
        "process 1": [first],
        "server": [told["server"][0]],
    }[victim]
    everything = victim in ("daemon", "supervisor", "both of them")
    doomed = [pid for tree in trees for pid in tree] if everything else trees[0]
    with watched(doomed) as pidfds:
        assert len(pidfds) == len(doomed)
        for target in targets:
            os.kill(target, signal.SIGKILL)
        assert all_gone(pidfds)
    if victim == "daemon":
        with watched([told["supervisor"]]) as pidfds:
            assert all_gone(pidfds)
    elif not everything:
        assert len(descendants(told["outer"][1])) == 6  # the other session goes on


def test_a_fork_storm_is_ended_with_its_sandbox(yard: Yard, held: Hold) -> None:
    _, told = held(yard, {"hold": [job(STORM, limits={"processes": 64})]})
    storm = descendants(told["outer"][0])
    with watched(storm) as pidfds:
        os.kill(told["outer"][0], signal.SIGKILL)
        assert all_gone(pidfds)


@pytest.mark.claim("C23")
def test_ending_the_daemon_in_order_stops_every_server(yard: Yard, held: Hold) -> None:
    daemon, told = held(yard, {"hold": [job(TREE)], "waits": {"stop_stdin": 0.05, "stop_terminate": 0.05}})
    with watched([*descendants(told["outer"][0]), told["supervisor"]]) as pidfds:
        assert daemon.stdin is not None
        daemon.stdin.close()
        assert all_gone(pidfds)
    assert daemon.wait(GONE_WITHIN) == 0


def test_no_dead_process_is_left_uncollected(yard: Yard, held: Hold) -> None:
    _, told = held(yard, {"hold": [job(TREE), job(TREE), job(TREE)]})
    with watched([pid for outer in told["outer"][:2] for pid in descendants(outer)]) as pidfds:
        for outer in told["outer"][:2]:
            os.kill(outer, signal.SIGKILL)
        assert all_gone(pidfds)
    assert comes_true(lambda: len(descendants(told["supervisor"])) == 7)  # itself and the one tree that is left


@pytest.mark.claim("C23")
@pytest.mark.parametrize("victim", ["daemon", "supervisor", "both"])
def test_nothing_is_left_of_a_launch_during_which_kill_9_hits(yard: Yard, victim: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"the moments come from seed {seed}")
    chance = random.Random(seed)
    for number in range(RACES):
        here = yard.folder(f"race-{victim}-{number}", 0o777)
        program = f"open({str(here / 'ran')!r}, 'w').close(); import time; time.sleep(600)"
        with yard.popen({"race": job(program, write=[str(here)])}) as daemon:
            assert daemon.stdout is not None and daemon.stderr is not None
            told = daemon.stdout.readline()
            assert told, daemon.stderr.read()
            supervisor = json.loads(told)["supervisor"]
            select.select([], [], [], chance.uniform(0, 0.04))
            with watched([supervisor]) as pidfds:
                for pid in {"daemon": [daemon.pid], "supervisor": [supervisor]}.get(victim, [supervisor, daemon.pid]):
                    os.kill(pid, signal.SIGKILL)
                daemon.communicate(timeout=GONE_WITHIN)
                assert all_gone(pidfds)
        if victim == "both":
            yard.ask({"jobs": []})  # the next start sweeps up what nobody was left to kill
        assert comes_true(lambda: _running_in(yard.work) == []), _running_in(yard.work)


def test_the_sweep_spares_sandboxes_that_live(yard: Yard, held: Hold) -> None:
    _, told = held(yard, {"hold": [job(TREE)]})
    before = descendants(told["outer"][0])
    yard.ask({"jobs": []})
    assert descendants(told["outer"][0]) == before


def test_the_sweep_removes_a_sandbox_without_a_parent(user_yard: Yard) -> None:
    options = ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc"]
    with user_yard.popen({"command": ["bwrap", *options, "/bin/sh", "-c", GATE_SCRIPT, "gate"]}) as holder:
        assert holder.stdout is not None
        outer = json.loads(holder.stdout.readline())["pid"]
        assert comes_true(lambda: len(descendants(outer)) == 3)
        _, first, _ = descendants(outer)
        with watched([first]) as pidfds:
            os.kill(outer, signal.SIGKILL)
            assert not select.select(pidfds, [], [], 0.2)[0]  # without a parent-death signal it stays
            user_yard.ask({"jobs": []})
            assert all_gone(pidfds)
        holder.communicate()


def comes_true(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + GONE_WITHIN
    while not (true := what()) and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return true


def _running_in(work: Path) -> list[str]:
    """Processes anywhere whose command names this yard: a list of children taken before a fork would miss them."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.fsencode(f"{work}/race-") in Path("/proc", name, "cmdline").read_bytes():
                    found.append(name)
    return found
