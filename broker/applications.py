"""The applications that opened a link since this machine started: nothing they start may answer Bulkhead's questions.

They are remembered over a restart of the daemon, because every client can bring one about.
"""

from collections.abc import Iterable
from pathlib import Path

from broker.files import read_bounded, write_private
from broker.processes import boot_id, process


class Applications:
    """(pid, start) of their processes.  Disk first, then memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = boot_id()
        self._seen = frozenset(one for one in self._read() if _lives(one))

    @property
    def seen(self) -> frozenset[tuple[int, int]]:
        return self._seen

    def add(self, processes: Iterable[tuple[int, int]]) -> None:
        """Remember these, and those of the others that still live.

        Raises:
            ConfigError: they cannot be written down; then the link they want must not be opened.
        """
        seen = self._seen | frozenset(processes)
        if seen != self._seen:
            kept = [one for one in seen if one not in self._seen or _lives(one)]
            lines = [self._boot, *(f"{pid} {started}" for pid, started in sorted(kept))]
            write_private(self._path, "".join(f"{line}\n" for line in lines).encode())
            self._seen = frozenset(kept)

    def _read(self) -> Iterable[tuple[int, int]]:
        try:
            boot, *lines = read_bounded(self._path).decode("ascii", "replace").split("\n")
        except FileNotFoundError:
            return
        for line in lines if boot == self._boot else ():
            pid, _, started = line.partition(" ")
            if pid.isdecimal() and started.isdecimal():
                yield int(pid), int(started)


def _lives(one: tuple[int, int]) -> bool:
    found = process(one[0])
    return found is not None and found.started == one[1]
