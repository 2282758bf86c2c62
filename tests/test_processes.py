"""Who is at the other end, as the kernel tells it."""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from broker import processes
from broker.processes import (
    MAX_ANCESTORS,
    ancestry,
    application,
    boot_id,
    executable,
    peer_of,
    process,
    same_program,
    whole_ancestry,
)

WAIT = "import sys; sys.stdin.read()"


@contextmanager
def child(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        try:
            yield started
        finally:
            started.kill()


def told(started: subprocess.Popen[bytes]) -> int:
    """The process id it printed."""
    assert started.stdout is not None
    return int(started.stdout.readline())


def test_a_process_is_named_by_its_id_and_start() -> None:
    me = process(os.getpid())
    assert me is not None
    assert (me.pid, me.parent) == (os.getpid(), os.getppid())
    assert me.started > 0
    assert process(os.getpid()) == me


def test_a_process_that_is_gone_is_none() -> None:
    with child(sys.executable, "-c", "pass") as started:
        started.wait(10)
    assert process(started.pid) is None
    assert executable(started.pid) == ""
    assert list(ancestry(started.pid)) == []
    assert application(started.pid) is None


def test_a_name_full_of_brackets_and_spaces_confuses_nobody(tmp_path: Path) -> None:
    """A process chooses its own name; what stands after it must not move."""
    rename = "import os, pathlib; pathlib.Path('/proc/self/comm').write_text(') S 1 1 ('); "
    rename += "print(os.getpid(), flush=True); "
    with child(sys.executable, "-c", rename + WAIT) as started:
        pid = told(started)
        found = process(pid)
    assert found is not None
    assert (found.name, found.parent) == (") S 1 1 (", os.getpid())


def test_the_line_of_ancestors_begins_with_the_process_and_ends_with_the_first() -> None:
    line = list(ancestry(os.getpid()))
    assert [found.pid for found in line[:2]] == [os.getpid(), os.getppid()]
    assert all(below.parent == above.pid for below, above in pairwise(line))
    assert line[-1].parent == 0


def test_a_line_is_never_longer_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    turning = processes.Process(5, 5, "ring", 0, 1)
    monkeypatch.setattr(processes, "process", lambda pid: turning)
    assert len(list(ancestry(5))) == MAX_ANCESTORS


def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(ours, cwd="/somewhere")
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert peer.executable == str(Path(sys.executable).resolve())
    assert peer.cwd == "/somewhere"
    assert peer.root_pid not in (0, os.getpid())
    found = process(peer.root_pid)
    assert found is not None
    assert found.started == peer.root_started


def test_the_application_is_the_nearest_ancestor_that_only_starts_nothing() -> None:
    shell = shutil.which("sh")
    assert shell is not None
    inner = f"{sys.executable} -c 'import os; print(os.getpid(), flush=True); {WAIT}'; true"
    with child(shell, "-c", f'{shell} -c "{inner}"; true') as started:
        found = application(told(started))
    assert found is not None
    assert found.pid == os.getpid()  # both shells are passed over


def test_with_nothing_but_shells_above_the_topmost_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        9: processes.Process(9, 8, "shim", 0, 90),
        8: processes.Process(8, 7, "bash", 0, 80),
        7: processes.Process(7, 1, "sh", 0, 70),
        1: processes.Process(1, 0, "init", 0, 1),
    }
    monkeypatch.setattr(processes, "process", known.get)
    monkeypatch.setattr(processes, "executable", lambda pid: "")
    assert application(9) == known[7]
    assert application(1) == known[1]


@pytest.mark.parametrize(
    ("hidden", "door", "found"),
    [("sshd-session", True, 7), ("agent", True, 7), ("editor", False, 5)],
)
def test_what_only_lets_the_user_in_is_no_application(
    monkeypatch: pytest.MonkeyPatch, hidden: str, door: bool, found: int
) -> None:
    """Somebody works over ssh, or after su: the shell there is theirs, what stands above it is not."""
    known = {
        9: processes.Process(9, 8, "shim", 0, 90),
        8: processes.Process(8, 7, "sh", 0, 80),
        7: processes.Process(7, 6, "bash", 0, 70),
        6: processes.Process(6, 5, "bash", 0, 60),  # that of the other user, below whose door it all is
        5: processes.Process(5, 4, hidden, 0, 50),
        4: processes.Process(4, 1, "editor", 0, 40),
        1: processes.Process(1, 0, "init", 0, 1),
    }
    monkeypatch.setattr(processes, "process", known.get)
    monkeypatch.setattr(
        processes, "executable", {9: "/b/python", 8: "/b/dash", 7: "/b/bash", 6: "", 5: "", 4: "/o/editor"}.get
    )
    monkeypatch.setattr(processes, "_lets_in", lambda one: door and one == known[5])
    assert application(9) == known[found]


def test_a_process_of_the_same_user_is_no_door() -> None:
    own, first = process(os.getpid()), process(1)
    assert own is not None
    assert not processes._lets_in(own)
    assert processes._lets_in(dataclasses.replace(own, name="sshd-session"))
    assert first is None or processes._lets_in(first) == (os.getuid() != 0)


def test_a_launcher_that_renamed_itself_is_known_by_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        9: processes.Process(9, 8, "shim", 0, 90),
        8: processes.Process(8, 7, "my tool", 0, 80),
        7: processes.Process(7, 1, "editor", 0, 70),
        1: processes.Process(1, 0, "init", 0, 1),
    }
    monkeypatch.setattr(processes, "process", known.get)
    monkeypatch.setattr(processes, "executable", {8: "/usr/bin/bash", 7: "/opt/editor"}.get)
    assert application(9) == known[7]


def test_one_boot_has_one_name() -> None:
    assert boot_id() == boot_id() != ""


def test_looking_somebody_up_is_cheap() -> None:
    began = time.monotonic()
    for _ in range(50):
        application(os.getpid())
    assert time.monotonic() - began < 5


def test_a_line_with_a_part_missing_is_no_line_to_believe(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = {pid: processes.Process(pid, pid - 1, "nested", 34816, pid) for pid in range(1, 3 * MAX_ANCESTORS)}
    monkeypatch.setattr(processes, "process", deep.get)
    assert [found.pid for found in whole_ancestry(MAX_ANCESTORS)] == list(range(MAX_ANCESTORS, 0, -1))
    assert whole_ancestry(MAX_ANCESTORS + 1) == []  # who knows what stands above the last one that was looked at
    del deep[5]
    assert whole_ancestry(9) == []  # it ended while we looked
    del deep[1]
    assert [found.pid for found in whole_ancestry(9)] == [9, 8, 7, 6]  # the system hides what is not ours


def test_an_application_of_several_processes_is_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        9: processes.Process(9, 8, "extensions", 0, 90),
        8: processes.Process(8, 7, "launcher", 0, 80),
        7: processes.Process(7, 2, "editor", 0, 70),
        2: processes.Process(2, 1, "desktop", 0, 20),
        1: processes.Process(1, 0, "init", 0, 1),
    }
    editor = "/opt/editor"
    monkeypatch.setattr(processes, "process", known.get)
    monkeypatch.setattr(processes, "executable", {9: editor, 8: "/bin/sh", 7: editor, 2: "/bin/desk", 1: ""}.get)
    assert list(same_program(9)) == [known[9], known[7]]
    assert list(same_program(1)) == [known[1]]
