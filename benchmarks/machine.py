"""What every measurement says of the machine it ran on."""

import os
from pathlib import Path
from typing import Final

QUIET: Final = 2.0  # a load above it, on the two cores this was written for, disturbs the figures


def processor_of(pid: int) -> float:
    """Processor time that a process has used, in microseconds; 0 for none."""
    spent = 0
    for task in Path("/proc", str(pid), "task").glob("*/schedstat") if pid else ():
        spent += int(task.read_text().split()[0])
    return spent / 1000


def memory_of(*pids: int) -> float:
    """Proportional set size of the process trees, in MiB: what is shared is counted once."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                parent = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry))
    waiting, total = [pid for pid in pids if pid], 0
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        total += _proportional(pid)
    return total / 1024


def own_memory_of(pid: int) -> float:
    """The same of one process, without its children."""
    return _proportional(pid) / 1024


def _proportional(pid: int) -> int:
    try:
        text = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
