"""Who is behind a TCP connection of this machine, by the kernel's own tables.

For a connection there is no SO_PEERCRED; the tables name the user of its other end, and its process can be found.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_TABLE: Final = 4 * 1024 * 1024  # of text; a line has 150 characters
_SOCKET: Final = re.compile(r"socket:\[([0-9]+)\]")


def owner_of(near: tuple[str, int], far: tuple[str, int]) -> tuple[int, int] | None:
    """The user and the process whose socket is bound to `near` and connected to `far`; the process is 0 if not seen."""
    wanted = f"{_written(near)} {_written(far)}"
    try:
        with open("/proc/net/tcp", encoding="ascii", errors="replace") as table:
            lines = table.read(MAX_TABLE).splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and f"{fields[1]} {fields[2]}" == wanted:
            return int(fields[7]), _holder(fields[9])
    return None


def _written(address: tuple[str, int]) -> str:
    octets = bytes(map(int, address[0].split(".")))
    return f"{octets[::-1].hex().upper()}:{address[1]:04X}"


def _holder(inode: str) -> int:
    for pid in _own_processes():
        try:
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                for each in descriptors:
                    found = _SOCKET.fullmatch(os.readlink(each.path))
                    if found is not None and found[1] == inode:
                        return pid
        except OSError:
            continue  # it ended meanwhile, or is not ours to see
    return 0


def _own_processes() -> Iterator[int]:
    """The youngest first: whoever connects was rarely started long ago."""
    me = os.getuid()
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        try:
            if Path(f"/proc/{pid}").stat().st_uid == me:
                yield pid
        except OSError:
            continue
