"""How much memory a server's processes use, as the system counts it, looked at every few seconds at most."""

import os
from collections.abc import Callable
from typing import Final

FRESH: Final = 6.0  # seconds that a number is good for
MAX_PROCESSES: Final = 4096  # of one server; its sandbox allows fewer
MAX_KNOWN: Final = 4096
UNIT: Final = 1 << 20  # nobody needs it finer, and a number that stands still is not news
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """By process.  Zero where the system does not say."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._known: dict[int, tuple[float, int]] = {}

    def of(self, pid: int) -> int:
        """Bytes that `pid` and all it started have in memory, in whole MiB."""
        if pid <= 0:
            return 0
        now = self._steady()
        at, found = self._known.get(pid, (float("-inf"), 0))
        if now - at > FRESH:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = _tree(pid) // UNIT * UNIT
            self._known[pid] = now, found
        return found


def _tree(pid: int) -> int:
    total, waiting, seen = 0, [pid], 0
    while waiting and seen < MAX_PROCESSES:
        one, seen = waiting.pop(), seen + 1
        total += int((_words(f"/proc/{one}/statm") or ["0", "0"])[1]) * _PAGE
        waiting += map(int, _words(f"/proc/{one}/task/{one}/children"))
    return total


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read(1 << 16).split()
    except OSError:  # it ended meanwhile, or this system has no such file
        return []
