"""Waiting in tests: always for something, never for long."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

WITHIN: Final = 10.0  # seconds; a loaded machine of two cores needs a fraction of one


async def until(condition: Callable[[], object], within: float = WITHIN) -> None:
    """Return once `condition` holds; what no event tells is looked at again and again.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.002)


async def turns(number: int = 5) -> None:
    """Let the loop go round a few times."""
    for _ in range(number):
        await asyncio.sleep(0)


def open_descriptors() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/proc/self/fd"))
