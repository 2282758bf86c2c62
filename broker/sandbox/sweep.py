"""What a killed daemon may leave: a half-built sandbox that waits for its dead parent, and folders in memory or /tmp.

No server has run in such a sandbox and none will.  It is known by three things at once: it is process 1 of a namespace
of its own, it carries our gate in its command, and its parent is no bwrap.  A folder is known by its name, its owner,
and the lock that its daemon held as long as it lived.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.sandbox.commands import GATE_SCRIPT

MAX_READ: Final = 64 * 1024
BOX: Final = "bulkhead-box-"
LEAST_MARK, MARKS = 4096, 800_000  # together below what the kernel lets every user have
ROUNDS: Final = 400
ROUND_PAUSE: Final = 0.005
SWEEP_PAUSES: Final = (0.0, 0.05, 0.5)


@dataclass(frozen=True, slots=True)
class Box:
    """The home of a server that sees the machine's own folders; it goes with the server, or at the next start."""

    folder: Path
    lock: int

    @classmethod
    def make(cls) -> "Box":
        folder = tempfile.mkdtemp(prefix=BOX)
        return cls(Path(folder), _locked(folder))

    def remove(self) -> None:
        """With whatever its server detached from itself."""
        end_marked(mark_of(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def sweep_boxes() -> list[str]:
    """Remove the boxes whose daemon is gone; answer which."""
    found: list[str] = []
    for entry in _boxes():
        try:
            lock = _locked(entry.path)
        except OSError:
            continue  # its daemon lives, or it is gone already
        end_marked(mark_of(entry.path))
        shutil.rmtree(entry.path, ignore_errors=True)
        os.close(lock)
        found.append(entry.path)
    return found


def mark_of(folder: os.PathLike[str] | str) -> int:
    """A limit that every process of this box inherits and cannot raise, and that its filter keeps it from lowering.

    Without a namespace of processes the kernel ties what was detached to nothing; this is how it is known again.
    """
    name = hashlib.sha256(os.path.basename(os.fspath(folder)).encode()).digest()
    return LEAST_MARK + int.from_bytes(name[:8], "big") % MARKS


def end_marked(mark: int) -> None:
    """Kill every process that carries `mark`, until there is none: while one is killed it may make another."""
    for _ in range(ROUNDS):
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_marked(pid, mark)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(ROUND_PAUSE)


def _is_marked(pid: int, mark: int) -> bool:
    """Only what runs behind a filter and for good, and is not dead already."""
    lines = [line.split() for line in _read(pid, "limits").decode(errors="replace").splitlines()]
    if ["Max", "msgqueue", "size", str(mark), str(mark), "bytes"] not in lines:
        return False
    status = _fields(pid)
    told = (status.get("Uid", "").split()[:1], status.get("Seccomp"), status.get("NoNewPrivs"))
    return told == ([str(os.getuid())], "2", "1") and not status.get("State", "Z").startswith("Z")


def _boxes() -> Iterator[os.DirEntry[str]]:
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(BOX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # removed meanwhile
                    if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                        yield entry


def _locked(folder: str) -> int:
    """A descriptor that holds the lock of `folder` until it is closed.  Raises OSError if somebody has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sweep() -> list[int]:
    """Kill what an earlier daemon of this user left half built; answer what was found."""
    found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_left_over(pid)]
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _is_left_over(pid: int) -> bool:
    status = _fields(pid)
    return (
        _is_bwrap(pid)
        and status.get("Uid", "").split()[:1] == [str(os.getuid())]
        and len(inside := status.get("NSpid", "").split()) > 1
        and inside[-1] == "1"
        and os.fsencode(GATE_SCRIPT) in _read(pid, "cmdline").split(b"\0")
        and not _is_bwrap(int(status.get("PPid", "0")))
    )


def _is_bwrap(pid: int) -> bool:
    """By its arguments: what runs from a nameless copy has no name of its own."""
    return os.path.basename(_read(pid, "cmdline").split(b"\0", 1)[0]) == b"bwrap"


def _fields(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in _read(pid, "status").decode(errors="replace").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(MAX_READ)
    except OSError:  # gone, or not ours to look at
        return b""


async def sweep_up() -> None:
    """Kill what the supervisor had half built when it died itself: nobody else adopts and ends it.

    Its outer process may need a moment to die, and only then is the rest known for what it is.
    """
    for pause in SWEEP_PAUSES:
        await asyncio.sleep(pause)
        await asyncio.to_thread(sweep)
