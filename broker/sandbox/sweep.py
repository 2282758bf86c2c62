"""What a killed daemon and a killed supervisor may leave together: a half-built sandbox that waits for its dead parent.

No server has run in it and none will.  It is known by three things at once: it is process 1 of a namespace of its
own, it carries our gate in its command, and its parent is no bwrap.
"""

import contextlib
import os
import signal
from typing import Final

from broker.sandbox.bubblewrap import GATE_SCRIPT

MAX_READ: Final = 64 * 1024


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
