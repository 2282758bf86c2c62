"""What both eras by HTTP have in common: a link that is heard to its end, and ended when nobody used it for a while."""

import asyncio
from abc import ABC, abstractmethod

from broker.endpoints.http_wire import Wire
from broker.model import JsonObject


class HttpLink(ABC):
    """One link of clients that speak HTTP.  Whoever waits for something of it waits on `_changed`."""

    def __init__(self, wire: Wire) -> None:
        self.ended = False
        self._wire = wire
        self._changed = asyncio.Condition()
        self._idle_since: float | None = None

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Somebody reads, or waits for an answer."""

    @abstractmethod
    async def _heard(self, message: JsonObject, text: str) -> None:
        """The link said this; it waits until this returns."""

    async def run(self) -> None:
        """Hear the link to its end."""
        try:
            await self._wire.listen(self._heard)
        finally:
            await self.end()

    async def end(self) -> None:
        """Leave the link; whoever still waits or reads is told.  Idempotent."""
        self.ended = True
        self._wire.close()
        async with self._changed:
            self._changed.notify_all()

    async def sweep(self, now: float, idle: float) -> None:
        """End it if nobody used it for `idle` seconds."""
        if self.busy:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > idle:
            await self.end()
