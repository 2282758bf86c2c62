"""A command that starts a sandbox, as data: words, environment, descriptors and limits, whichever tier composed it.

The program starts only after the daemon answered the gate, so that no server ever runs without one: bwrap's own
`--block-fd` cannot promise that.
"""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.model import Limits

# What each number means to the program bwrap is; mounts follow after them.
GATE, ARGUMENTS, INFO, FILTER = 3, 4, 5, 6

GATE_SCRIPT: Final = f'echo r >&{GATE}; read _ <&{GATE} || exit 125; exec {GATE}<&-; exec "$@"'
"""Runs inside, after bwrap armed its parent-death signal: says it is there, waits for a line, becomes the server.
End of file means that the daemon is gone: then the server never starts."""
DATA_FACTOR: Final = 2
"""The kernel refuses a single process so many times the memory of its sandbox: a wall behind the watch, which looks
at all processes together and can say what happened."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is to the kernel.  `setpriv` is the program that changes to it when we are root ourselves."""

    uid: int
    gid: int
    setpriv: Path | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """The sandbox's ends of what connects it with the daemon; owned by whoever made them until a Command has them."""

    stdin: int
    stdout: int
    stderr: int
    gate: int
    info: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: descriptor number i inside is `descriptors[i]`.  Whoever holds it closes it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    descriptors: tuple[int, ...]
    rlimits: tuple[tuple[int, int], ...]
    warnings: tuple[str, ...] = ()
    cwd: str = "/"
    watched: bool = False
    """Its calls are told to whoever holds the other end of its last descriptor, which it does not keep."""
    landlock: tuple[int, ...] | None = None
    """For a program behind Landlock: what it may do below each path, the descriptors after the gate and the filter."""
    groups: tuple[str, ...] = ()
    """Files by which it enters its control group, before it is executed."""
    thawing: str = ""
    """The file of it that must be written before it can be killed while it is held still."""

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def rlimits_of(limits: Limits, *, early_processes: bool) -> tuple[tuple[int, int], ...]:
    """Limits to set before bwrap starts.

    The number of processes is counted per user namespace.  Set before bwrap makes its own, it would count everything
    the user runs; so an ordinary user's sandbox gets it later, at the gate.
    """
    chosen = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_DATA, DATA_FACTOR * limits.memory),
        (resource.RLIMIT_MEMLOCK, 8 << 20),  # the kernel's default for users
    ]
    if early_processes:
        chosen.append((resource.RLIMIT_NPROC, limits.processes))
    return tuple(chosen)
