"""Word that something changed, for whoever watches."""

import asyncio
import contextlib
from collections.abc import Iterator


class News:
    """Something changed: whoever watches looks again.  Many changes in one breath are one."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._watchers = 0

    @property
    def attended(self) -> bool:
        """Somebody watches."""
        return self._watchers > 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count as one that watches."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    def tell(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after `seconds`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._waiting.discard(future)
