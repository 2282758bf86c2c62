"""Waiting for a sandbox to be armed: only then may it be let go, for only then does it die with its parent."""

import asyncio
import os
from typing import Final

from broker.sandbox.eyes import loaded_filters

FILTERED: Final = b"\nSeccomp:\t2\n"
ARMED_LIMIT: Final = 5.0
ARMED_PAUSE: Final = 0.001


async def armed(first_pid: int, *, watched: bool) -> None:
    """Wait until process 1 has armed its parent-death signal: right after that it loads the filter, which shows."""
    async with asyncio.timeout(ARMED_LIMIT):
        least = loaded_filters(_status(os.getpid())) + 2  # the one that tells was there before
        while (loaded_filters(_status(first_pid)) < least) if watched else FILTERED not in _status(first_pid):  # noqa: ASYNC110 - the kernel has no event for this
            await asyncio.sleep(ARMED_PAUSE)


def _status(pid: int) -> bytes:
    with open(f"/proc/{pid}/status", "rb") as file:
        return file.read(16_384)
