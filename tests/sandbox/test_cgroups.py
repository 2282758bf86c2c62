"""Control groups: where they may be made, what the kernel is told, and that none outlives its daemon for long."""

import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.model import Limits
from broker.sandbox.cgroups import Group, Places
from broker.sandbox.delegation import Groups, end_left_over, mounted, no_groups, own_groups, scope_command
from broker.sandbox.limits import Meter, Use
from tests.sandbox.conftest import PYTHON_INSIDE, Yard

MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
37 31 0:34 /box /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
38 31 0:35 /user.slice /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
LIMITS = Limits(memory=64 << 20, processes=40)


def test_the_trees_of_groups_are_read_from_what_is_mounted() -> None:
    memory, processor, unified = mounted(MOUNTS)
    assert (memory.version, memory.controllers >= {"memory"}) == (1, True)
    assert memory.folder("/a/b") == Path("/sys/fs/cgroup/memory/a/b")
    assert processor.controllers >= {"cpu", "cpuacct"}
    assert processor.folder("/box/a") == Path("/sys/fs/cgroup/cpu,cpuacct/a")
    assert processor.folder("/boxes") is None
    assert (unified.version, unified.folder("/user.slice")) == (2, Path("/sys/fs/cgroup/unified"))
    assert own_groups("4:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/user.slice/x:y\n") == {
        "cpu": "/a",
        "cpuacct": "/a",
        "name=systemd": "/b",
        "": "/user.slice/x:y",
    }


def test_a_scope_is_asked_for_in_one_command_that_names_the_daemon_and_its_supervisor() -> None:
    command = scope_command("bulkhead-1", [7, 8], user=True)
    assert command[:4] == ["busctl", "--user", "--quiet", "call"]
    assert command[7] == "StartTransientUnit"
    assert command[8:17] == ["ssa(sv)a(sa(sv))", "bulkhead-1.scope", "fail", "3", "PIDs", "au", "2", "7", "8"]
    assert command[17:] == ["Delegate", "b", "true", "CollectMode", "s", "inactive-or-failed", "0"]
    assert scope_command("x", [1], user=False)[1] == "--system"


def tree(folder: Path, version: int) -> Places:
    """Plain folders in the place of the kernel's: what is written is what the kernel would have been told."""
    if version == 2:
        return Places(2, folder, folder, folder, folder)
    return Places(1, folder / "memory", folder / "pids", folder / "cpuacct", folder / "freezer")


def told(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_version_is_told_the_limits_in_its_own_words(tmp_path: Path) -> None:
    for version in (1, 2):
        places = tree(tmp_path / str(version), version)
        for folder in places.folders:
            folder.parent.mkdir(exist_ok=True)
        Group.make(places, LIMITS)
    assert told(tmp_path / "1") == {"memory.limit_in_bytes": str(64 << 20), "pids.max": "41"}
    assert told(tmp_path / "2") == {"memory.max": str(64 << 20), "memory.oom.group": "1", "pids.max": "41"}


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_kernel_counted_is_what_is_held_against_the_limits(tmp_path: Path, version: int) -> None:
    places = tree(tmp_path, version)
    for folder in places.folders:
        folder.mkdir(exist_ok=True)
    one = version == 1
    (places.memory / ("memory.usage_in_bytes" if one else "memory.current")).write_text("1000\n")
    (places.memory / ("memory.oom_control" if one else "memory.events")).write_text("under_oom 0\noom_kill 0\n")
    (places.pids / "pids.current").write_text("5\n")
    spent = ("cpuacct.usage", "2500000000\n") if one else ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    (places.processor / spent[0]).write_text(spent[1])
    group = Group(places)
    assert group.use() == Use(memory=1000, processes=4, processor=2.5)
    assert Meter("notes", LIMITS).over(group.use(), 1.0) is None
    (places.memory / ("memory.oom_control" if one else "memory.events")).write_text("under_oom 0\noom_kill 2\n")
    found = Meter("notes", LIMITS).over(group.use(), 1.0)
    assert found is not None and found.flag == "memory"


def test_what_a_daemon_left_is_ended_and_what_lives_is_not(tmp_path: Path) -> None:
    parent = tree(tmp_path, 2)
    for name in ("bulkhead-gone/box-1", "bulkhead-lives/box-1", "broker"):
        (tmp_path / name).mkdir(parents=True)
    lock = os.open(tmp_path / "bulkhead-lives", os.O_RDONLY)
    living = Groups("cgroup v2", "", parent.below("bulkhead-lives"), [lock])
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert end_left_over(parent) == ["bulkhead-gone"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broker", "bulkhead-lives"]
    living.close()
    assert [path.name for path in tmp_path.iterdir()] == ["broker"]


def test_without_groups_a_sentence_says_who_keeps_the_limits() -> None:
    groups = no_groups("cgroup v1: Permission denied")
    assert (groups.name, groups.new(LIMITS)) == ("watch", None)
    assert "own watch" in groups.note and "Permission denied" in groups.note


@pytest.mark.sandbox
def test_a_sandbox_is_held_still_where_the_kernel_can_and_refused_in_words_where_it_cannot(yard: Yard) -> None:
    wish = {"scene": "held_still_it_says_nothing_and_then_goes_on", "waits": {"stop_stdin": 30}}
    kept_by, *rest = yard.ask(wish)["scene"]
    if kept_by == "watch":
        assert rest == ["probe has no control group and cannot be held still"]
    else:
        assert rest == [True, True, False]


SLEEPER = [PYTHON_INSIDE, "-c", "print('READY', flush=True); import time; time.sleep(600)"]
Held = Callable[[Yard, dict[str, Any]], Any]


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 60
    while not all(map(gone, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.sandbox
def test_what_is_held_still_dies_with_its_daemon(root_yard: Yard, held: Held) -> None:
    stage, said = held(root_yard, {"hold": [{"argv": SLEEPER, "frozen": True}]})
    stage.send_signal(signal.SIGKILL)
    assert all_gone([*said["server"], *said["outer"]])


@pytest.mark.sandbox
def test_what_is_held_still_when_daemon_and_supervisor_are_killed_is_ended_at_the_next_start(
    root_yard: Yard, held: Held
) -> None:
    stage, said = held(root_yard, {"hold": [{"argv": SLEEPER, "frozen": True}]})
    os.kill(said["supervisor"], signal.SIGSTOP)  # so that it cannot clear up between the two
    stage.send_signal(signal.SIGKILL)
    os.kill(said["supervisor"], signal.SIGKILL)
    stage.wait()
    root_yard.run(["/bin/true"])
    assert all_gone([*said["server"], *said["outer"]])


def test_a_group_that_is_half_removed_is_removed_to_the_end(tmp_path: Path) -> None:
    places = tree(tmp_path, 1)
    for folder in places.folders[1:]:  # the first went when somebody was still dying in the second
        folder.mkdir(exist_ok=True)
    Group(places).end()
    assert not any(folder.exists() for folder in places.folders)
