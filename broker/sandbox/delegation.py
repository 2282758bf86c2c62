"""Where this daemon may make control groups, found out by trying: version 2 where a part of the tree is ours, version 1
where we may write it, a scope of our own where a systemd gives one; else none, and our own watch keeps the limits.

Never in silence: what was found has a sentence.  Groups of a daemon that is gone are ended at the next start; a lock on
their folder says who lives.
"""

import contextlib
import fcntl
import itertools
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from broker.model import Limits
from broker.sandbox.cgroups import Group, Places

OURS: Final = "bulkhead-"
BOX: Final = "box-"
ASIDE: Final = "broker"  # not to be taken for what a daemon left
TRIES: Final = 5  # another daemon that starts may take our new folder for one that was left
NEEDED: Final = ("memory", "pids")
WATCHED: Final = "Bulkhead's own watch keeps memory, processes and processor time"
HELD: Final = "the kernel keeps memory and processes, and counts processor time"
MAX_READ: Final = 4 << 20
SCOPE_LIMIT: Final = 5.0
STEP: Final = 0.02
TRIED: Final = Limits(memory=64 << 20, processes=16)


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mounted tree of groups; `root` is what of it is mounted."""

    version: int
    controllers: frozenset[str]
    root: str
    point: Path

    def folder(self, path: str) -> Path | None:
        """Where the group `path` of the tree is seen; None: it is outside of what is mounted."""
        if self.root == "/":
            return self.point / path.lstrip("/")
        if path == self.root or path.startswith(f"{self.root}/"):
            return self.point / path[len(self.root) :].lstrip("/")
        return None


class Groups:
    """The groups of one daemon, each for one sandbox; without `places` there are none.

    `name` says for a receipt who keeps the limits, `note` says it to a person.
    """

    def __init__(self, name: str, note: str, places: Places | None = None, locks: Sequence[int] = ()) -> None:
        self.name = name
        self.note = note
        self._places = places
        self._locks = tuple(locks)
        self._numbers = itertools.count(1)

    def new(self, limits: Limits) -> Group | None:
        """The group of a new sandbox.  Raises OSError: it cannot be made any more."""
        if self._places is None:
            return None
        return Group.make(self._places.below(f"{BOX}{next(self._numbers)}"), limits)

    def close(self) -> None:
        """Remove all of them.  Idempotent."""
        locks, self._locks = self._locks, ()
        if self._places is not None and locks:
            _end_all(self._places)
        for lock in locks:
            os.close(lock)


def no_groups(why: str = "no control groups were looked for") -> Groups:
    return Groups("watch", f"{WATCHED}: {why}")


def find_groups(processes: Sequence[int]) -> Groups:
    """Try what there is; `processes` are those of the daemon, which may have to move into a group beside its sandboxes.

    Blocks for at most some seconds, where a systemd does not answer.
    """
    mounts = list(mounted(_read("/proc/self/mountinfo")))
    complaints: list[str] = []
    for name, find in (
        ("cgroup v2", partial(_version_2, mounts, processes)),
        ("cgroup v1", partial(_version_1, mounts)),
        ("cgroup v2 in a scope", partial(_in_a_scope, mounts, processes)),
    ):
        try:
            parent = find()
            end_left_over(parent)
            return _settled_at_last(name, parent)
        except OSError as problem:
            complaints.append(f"{name}: {problem.strerror or problem}")
    return no_groups("; ".join(complaints))


def mounted(text: str) -> Iterator[Mounted]:
    """The trees that `/proc/self/mountinfo` lists."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, of_type = before.split(), after.split()
        if len(words) > 4 and len(of_type) > 2 and of_type[0] in ("cgroup", "cgroup2"):
            version = 2 if of_type[0] == "cgroup2" else 1
            yield Mounted(version, frozenset(of_type[2].split(",")), words[3], Path(words[4]))


def own_groups(text: str) -> dict[str, str]:
    """What `/proc/self/cgroup` says: the path for each controller; version 2 has the empty name."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return {name: words[2] for words in lines if len(words) == 3 for name in words[1].split(",")}


def scope_command(name: str, processes: Sequence[int], *, user: bool) -> list[str]:
    """The command that has systemd put `processes` into a scope of which we may make what we want."""
    wish = ["ssa(sv)a(sa(sv))", f"{name}.scope", "fail", "3"]
    wish += ["PIDs", "au", str(len(processes)), *map(str, processes)]
    wish += ["Delegate", "b", "true", "CollectMode", "s", "inactive-or-failed", "0"]
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    return ["busctl", "--user" if user else "--system", "--quiet", "call", *manager, "StartTransientUnit", *wish]


def end_left_over(parent: Places) -> list[str]:
    """End the groups below `parent` whose daemon is gone, and everything in them; answer which."""
    found: list[str] = []
    for name in {entry.name for folder in parent.folders for entry in _below(folder, OURS)}:
        old = parent.below(name)
        with contextlib.ExitStack() as held:
            try:
                for folder in (each for each in old.folders if each.is_dir()):
                    held.callback(os.close, _locked(folder))
            except OSError:
                continue  # its daemon lives
            _end_all(old)
            found.append(name)
    return found


def _settled_at_last(name: str, parent: Places) -> Groups:
    for _ in range(TRIES - 1):
        with contextlib.suppress(OSError):
            return _settled(name, parent)
    return _settled(name, parent)


def _settled(name: str, parent: Places) -> Groups:
    """Our own folder in `parent`, tried with a group and a process in it.  Raises OSError."""
    places = parent.below(OURS + secrets.token_hex(6))
    locks: list[int] = []
    try:
        for folder in places.folders:
            folder.mkdir()
            locks.append(_locked(folder))
        if places.version == 2:
            _pass_on(places.memory)
        tried = Groups(name, f"{HELD} ({name})", places, locks)
        group = tried.new(TRIED)
        assert group is not None
        try:
            _take_a_process(group)
        finally:
            group.end()
    except BaseException:
        _end_all(places)
        for lock in locks:
            os.close(lock)
        raise
    return tried


def _take_a_process(group: Group) -> None:
    """Put a process into it, which waits for us, and see whether it is counted there.  Raises OSError."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            for entry in group.entries:
                Path(entry).write_text(str(process.pid), "ascii")
            for entry in group.entries:
                if str(process.pid) not in _read(entry).split():
                    raise OSError(0, "it does not keep a process")
        finally:
            process.kill()


def _version_2(mounts: Sequence[Mounted], processes: Sequence[int]) -> Places:
    """Our own part of the tree, with the daemon moved aside.  Raises OSError: there is none."""
    tree = next((each for each in mounts if each.version == 2), None)
    folder = tree.folder(own_groups(_read("/proc/self/cgroup")).get("", "/")) if tree is not None else None
    if folder is None:
        raise OSError(0, "is not mounted")
    if missing := [name for name in NEEDED if name not in _read(str(folder / "cgroup.controllers")).split()]:
        raise OSError(0, f"has no controller for {' and '.join(missing)} here")
    if not _is_ours(folder):
        raise OSError(0, "no part of it was delegated to us")
    aside = folder / ASIDE
    if (folder / "cgroup.type").exists():  # the very root may hold processes and groups side by side
        aside.mkdir(exist_ok=True)
        for pid in processes:
            (aside / "cgroup.procs").write_text(str(pid), "ascii")
    _pass_on(folder)
    return Places(2, folder, folder, folder, folder)


def _is_ours(folder: Path) -> bool:
    """Whether we may do as we like there: systemd marks what it delegates, and the root of a container is its own."""
    if not all(os.access(folder / name, os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control")):
        return False
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return own_groups(_read("/proc/self/cgroup")).get("") == "/"


def _pass_on(folder: Path) -> None:
    """Let groups below `folder` have limits.  Raises OSError: somebody else is in it."""
    able = _read(str(folder / "cgroup.controllers")).split()
    wanted = " ".join(f"+{name}" for name in (*NEEDED, "cpu") if name in able)
    (folder / "cgroup.subtree_control").write_text(wanted, "ascii")


def _version_1(mounts: Sequence[Mounted]) -> Places:
    """Below the groups we are in.  Raises OSError: we may not write there."""
    own = own_groups(_read("/proc/self/cgroup"))
    found: dict[str, Path] = {}
    needed = (*NEEDED, "cpuacct")
    for name in (*needed, "freezer"):
        for tree in mounts:
            folder = tree.folder(own.get(name, "/")) if tree.version == 1 and name in tree.controllers else None
            if folder is not None and os.access(folder, os.W_OK | os.X_OK):
                found[name] = folder
    if missing := [name for name in needed if name not in found]:
        raise OSError(0, f"no groups for {' and '.join(missing)} that we may write")
    return Places(1, found["memory"], found["pids"], found["cpuacct"], found.get("freezer"))


def _in_a_scope(mounts: Sequence[Mounted], processes: Sequence[int]) -> Places:
    """Ask the systemd of this user, or of the machine, for a scope, and find our place in it.  Raises OSError."""
    before = own_groups(_read("/proc/self/cgroup")).get("", "/")
    user = os.getuid() != 0
    if not os.path.isdir(f"/run/user/{os.getuid()}/systemd" if user else "/run/systemd/system"):
        raise OSError(0, "no systemd to ask for one")
    if before.endswith(".service"):  # its manager would lose sight of it
        raise OSError(0, "we run as a service: give its unit the line Delegate=yes")
    env = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    command = scope_command(OURS + secrets.token_hex(6), processes, user=user)
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SCOPE_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as cause:
        raise OSError(0, f"systemd did not answer within {SCOPE_LIMIT:.0f} s") from cause
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise OSError(0, f"systemd gives none: {said[:200]}")
    end = time.monotonic() + SCOPE_LIMIT
    while own_groups(_read("/proc/self/cgroup")).get("", "/") == before:
        if time.monotonic() > end:
            raise OSError(0, "systemd did not move us")
        time.sleep(STEP)
    return _version_2(mounts, processes)


def _end_all(places: Places) -> None:
    for name in {entry.name for folder in places.folders for entry in _below(folder, BOX)}:
        Group(places.below(name)).end()
    Group(places).end()


def _below(folder: Path, prefix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if each.name.startswith(prefix) and each.is_dir(follow_symlinks=False)]
    except OSError:  # gone
        return []


def _locked(folder: Path) -> int:
    """A descriptor that holds the lock of `folder` until it is closed.  Raises OSError if somebody has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read(MAX_READ)
