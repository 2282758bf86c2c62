"""Running a build for a bounded time, on a bounded part of the disk.

The box bounds memory, processes and single files; what all files take together is looked at here while it runs.
"""

import os
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from broker.errors import BulkheadError, TrustError
from broker.trust.run import Command, Finished, Run

BUILDING: Final = 900.0  # seconds; a large C++ module takes 300
MAX_ROOM: Final = 4 << 30  # bytes; a build of a C++ module leaves some 200 MiB
MAX_ENTRIES: Final = 200_000
_LOOKS: Final = 1.0  # seconds between two looks
_NETWORK: Final = ("enotfound", "eai_again", "econnrefused", "enetunreach", "getaddrinfo", "name resolution",
                   "network is unreachable", "connection refused", "could not resolve", "urlopen error")  # fmt: skip


async def run_build(run: Run, command: Command, *, room: int = MAX_ROOM, entries: int = MAX_ENTRIES) -> Finished:
    """Run one build to its end.

    Raises:
        TrustError: it took too long, said too much, or took more of the disk than `room` or `entries`.
    """
    outcome: Finished | BulkheadError | None = None

    async def watch() -> None:
        while await anyio.to_thread.run_sync(_fits, command.work, room, entries):  # noqa: ASYNC110
            await anyio.sleep(_LOOKS)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            outcome = await run(command)
        except BulkheadError as cause:  # not through the group, which would wrap it
            outcome = cause
        tasks.cancel_scope.cancel()
    if isinstance(outcome, BulkheadError):
        raise outcome
    if outcome is None or not await anyio.to_thread.run_sync(_fits, command.work, room, entries):
        raise TrustError(f"the build was ended: it wrote more than {room >> 20} MiB, or {entries} files")
    return outcome


def why(finished: Finished) -> str:
    """Why a build failed, as far as its words can be believed: they are its author's, and only searched."""
    said = finished.complaint.lower()
    if any(word in said for word in _NETWORK):
        return "it wanted a network, and a build gets none"
    return f"it ended with {finished.code}"


def _fits(folder: Path, room: int, entries: int) -> bool:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as scan:
                for entry in scan:
                    entries -= 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        room -= entry.stat(follow_symlinks=False).st_blocks * 512
                    if room < 0 or entries < 0:
                        return False
        except FileNotFoundError:
            continue  # a build removes things while it is looked at
    return True
