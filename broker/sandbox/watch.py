"""Looks at what a sandbox uses, again and again, and says when it is too much.

Where a sandbox has a control group, the kernel has counted already.  Else the kernel limits single processes only, and
this counts all of one sandbox together, with the memory that processes share and that its file systems in memory take.
Every look is bounded, and a server that does nothing is looked at less often.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.model import Limits, ServerName
from broker.sandbox.cgroups import Group
from broker.sandbox.limits import Meter, Overrun, Use, overrun

SHORTEST: Final = 0.1  # seconds between two looks at a server that works
LONGEST: Final = 0.4  # and at one that used no processor time, and so could not have grown
EACH: Final = 8  # looks between two at nameless files and at the disk, which cost more
MAX_PROCESSES: Final = 40_000  # more than any limit allows
MAX_FILES: Final = 65_536  # descriptors of one process; entries of one state folder
IN_MEMORY: Final = ("tmp", "dev/shm", "home/mcp")
"""The home comes last: it is on the disk for a server that keeps its state."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICK: Final = os.sysconf("SC_CLK_TCK")
NAMELESS: Final = "/memfd:"
MAX_READ: Final = 65_536


class Watch:
    """The look at one sandbox.  `first` is process 1 in it; `state` the folder it keeps, if it has one."""

    def __init__(
        self,
        server: ServerName,
        first: int,
        limits: Limits,
        state: Path | None = None,
        *,
        walled: bool = True,
        group: Group | None = None,
    ) -> None:
        """`walled`: it has file systems of its own.  `group` counts for us, if there is one."""
        self._first = first
        self._state = state
        self._group = group
        self._meter = Meter(server, limits)
        self._out_of_memory = overrun(server, limits, "memory")
        self._memory = limits.memory
        own = IN_MEMORY if state is None else IN_MEMORY[:-1]
        self._filled = tuple(_opened(first, own if walled and group is None else ()))
        self._nameless = self._kept = self._looks = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, over: Callable[[Overrun], None]) -> None:
        """Look from now on, and call `over` at most once."""
        self._task = asyncio.get_running_loop().create_task(self._watch(over))

    def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        filled, self._filled = self._filled, ()
        for descriptor in filled:
            os.close(descriptor)

    def last_look(self) -> Overrun | None:
        """What the kernel ended by itself, faster than we look."""
        return self._out_of_memory if self._group is not None and self._group.use().out_of_memory else None

    async def _watch(self, over: Callable[[Overrun], None]) -> None:
        loop = asyncio.get_running_loop()
        started, pause, before = loop.time(), SHORTEST, -1.0
        while True:
            if self._state is not None and self._looks % EACH == 0:
                self._kept = await asyncio.to_thread(disk_use, self._state)
            use = self.look()
            found = self._meter.over(use, loop.time() - started)
            if found is not None:
                over(found)
                return
            pause = SHORTEST if use.processor != before else min(LONGEST, 2 * pause)
            before = use.processor
            await asyncio.sleep(pause)

    def look(self) -> Use:
        """What is used now."""
        if self._group is not None:
            self._looks += 1
            return replace(self._group.use(), state=self._kept)
        processes = list(_tree(self._first))
        if self._looks % EACH == 0:
            self._nameless = _nameless(processes)
        self._looks += 1
        stored = self._nameless + sum(_used(descriptor) for descriptor in self._filled)
        resident = threads = 0
        processor = 0.0
        for pid in processes:
            resident += _resident(pid)
            count, seconds = _count_and_seconds(pid)
            threads += count
            processor += seconds
        memory = resident + stored
        if memory > self._memory:  # programs in it may be shared and given back: now it is worth an exact look
            own, shared = _exactly(processes)
            memory = own + max(shared, stored)
        return Use(memory, threads, processor, self._kept)


def disk_use(folder: Path) -> int:
    """Bytes on the disk below `folder`, links not followed.  More entries than we count is more than any limit."""
    total, seen, waiting = 0, 0, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if (seen := seen + 1) > MAX_FILES:
                        return 1 << 62
                    with contextlib.suppress(OSError):  # removed while we look
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
        except OSError:
            continue  # gone, or closed to us by its owner, whose other files are counted still
    return total


def _opened(first: int, names: Iterable[str]) -> Iterator[int]:
    """Its file systems in memory, held so that asking how full they are needs no path the server could change."""
    for name in names:
        with contextlib.suppress(OSError):  # its process just ended
            yield os.open(f"/proc/{first}/root/{name}", os.O_PATH | os.O_CLOEXEC)


def _used(descriptor: int) -> int:
    found = os.fstatvfs(descriptor)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _tree(first: int) -> Iterator[int]:
    """Process 1 and all below it; orphans become its children."""
    waiting = [first]
    for _ in range(MAX_PROCESSES):
        if not waiting:
            return
        pid = waiting.pop()
        yield pid
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue  # it ended
        for thread in threads:
            waiting += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())


def _resident(pid: int) -> int:
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * PAGE if len(words) > 1 else 0


def _count_and_seconds(pid: int) -> tuple[int, float]:
    """Threads, and processor time with that of the children it has waited for."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 18:
        return 0, 0.0
    return int(fields[17]), sum(map(int, fields[11:15])) / TICK


def _exactly(processes: list[int]) -> tuple[int, int]:
    """Memory that belongs to the processes, and their shares of what several use; no program texts."""
    own = shared = 0
    for pid in processes:
        found = _sizes(_read(f"/proc/{pid}/smaps_rollup"))
        if "Pss_Anon" not in found:  # closed to us, or an old kernel: the coarser count, with shared memory in full
            found = _sizes(_read(f"/proc/{pid}/status"))
            found = {"Pss_Anon": found.get("RssAnon", 0), "Pss_Shmem": found.get("RssShmem", 0)}
        own += found["Pss_Anon"]
        shared += found.get("Pss_Shmem", 0)
    return own, shared


def _sizes(data: bytes) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in data.decode(errors="replace").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found


def _nameless(processes: list[int]) -> int:
    """Memory in files without a name (memfd), each counted once, also where no process has mapped it."""
    found: dict[int, int] = {}
    for pid in processes:
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")[:MAX_FILES]
        except OSError:
            continue  # it ended, or closed itself to us
        for number in numbers:
            path = f"/proc/{pid}/fd/{number}"
            with contextlib.suppress(OSError):
                if os.readlink(path).startswith(NAMELESS):
                    status = os.stat(path)
                    found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(MAX_READ)
    except OSError:  # it ended meanwhile, or is closed to us
        return b""
