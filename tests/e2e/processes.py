"""Who runs, and waiting until somebody does not: by process descriptors, which a reused number cannot fool."""

import contextlib
import os
import select
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.processes import process


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, itself first."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{thread}/children").read_text().split())
    return found


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty if it is gone or has none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def pids() -> Iterator[int]:
    """Every process there is now."""
    yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def daemons(home: Path) -> list[int]:
    """The daemons of this home, without the helpers they forked."""
    of_home = {pid for pid in pids() if {"broker.daemon", str(home)} <= set(command_line(pid))}
    parents = {pid: found.parent for pid in of_home if (found := process(pid)) is not None}
    return sorted(pid for pid, parent in parents.items() if parent not in of_home)


class Watched:
    """Processes held by descriptor.  Take hold of them while they live, then ask whether they ended."""

    def __init__(self, wanted: Iterable[int]) -> None:
        self._held: dict[int, int] = {}
        for pid in wanted:
            with contextlib.suppress(ProcessLookupError):
                self._held[os.pidfd_open(pid)] = pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    @property
    def pids(self) -> list[int]:
        return sorted(self._held.values())

    def left(self, *, within: float = 0.0) -> dict[int, list[str]]:
        """Those that still run after `within` seconds, with their command lines; empty as soon as all have ended."""
        waiting, deadline = set(self._held), time.monotonic() + within
        while waiting:
            ended, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
            if not ended:
                break
            waiting.difference_update(ended)
        return {self._held[descriptor]: command_line(self._held[descriptor]) for descriptor in waiting}
