"""Whatever loosens something needs a person (B1).

An AI client with a shell of its own could type `bulkhead approve`.  So an answer is refused to every process that
descends from an application that holds a link here, or from a sandbox, and to every process without a terminal.
What this cannot see is a process that left its tree on purpose; SECURITY.md says so.
"""

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from broker.processes import Process

Presence: TypeAlias = Literal["required", "unsafe-no-presence", "throw-away home"]
"""How far a person is asked for: `throw-away home` only in a home that the very command made for itself."""


def why_absent(
    line: Sequence[Process], applications: Collection[tuple[int, int]], supervisor: int, presence: Presence
) -> str | None:
    """Why this caller is not a person at a terminal, or None if it may be one.

    `line` is the caller's whole ancestry, itself first; `applications` are (pid, start) of the processes of every
    client that was seen since the machine started; `supervisor` is the pid below which all sandboxes live.
    """
    if not line:
        return "the calling process, or what stands above it, cannot be seen"
    if any(process.pid == supervisor for process in line):
        return "the call came out of a sandbox"
    if presence != "required":
        return None
    for process in line:
        if (process.pid, process.started) in applications:
            return f"the call came from inside {process.name}, which is a client of Bulkhead"
    if line[0].terminal == 0:
        return "the call came from a process without a terminal"
    return None
