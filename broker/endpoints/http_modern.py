"""Requests of the modern era by HTTP: each stands alone, and all of one bearer for one server share a link.

Closing a response is how a client cancels; the server is told in the words of its own transport.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

from broker.endpoints.http_link import HttpLink
from broker.endpoints.http_replies import PING_SECONDS, said, streamed
from broker.endpoints.http_server import Answer
from broker.endpoints.http_wire import Welcome, Wire
from broker.model import JsonObject
from broker.protocol import replies
from broker.protocol.envelope import Request
from broker.protocol.frames import encode
from broker.protocol.http_body import status_of
from broker.protocol.http_exchanges import MAX_WAITING, Exchange, Exchanges
from broker.protocol.http_gate import Guest
from broker.protocol.sse import COMMENT, write

FIRST_SECONDS: Final = 10.0  # an error's status goes ahead of it, and the server may have to start before there is one
BEHIND_SECONDS: Final = 30.0  # a response that is not read for so long is given up


class ModernLink(HttpLink):
    """One link and the requests under way on it."""

    def __init__(self, wire: Wire, schemas: Mapping[str, object]) -> None:
        super().__init__(wire)
        self.schemas = schemas
        self._exchanges = Exchanges()

    @property
    def busy(self) -> bool:
        return bool(self._exchanges)

    async def post(self, request: Request) -> Answer:
        """Carry one request: its answer alone if that comes soon, else a stream."""
        if self._exchanges.full:
            return said(429, replies.error(request.id, replies.BUSY, "too many requests are open"))
        exchange, message = self._exchanges.begin(request)
        try:
            await self._wire.send(message)
            async with self._changed:
                try:
                    async with asyncio.timeout(FIRST_SECONDS):
                        await self._changed.wait_for(lambda: exchange.queue or self.ended)
                except TimeoutError:
                    pass
        except BaseException as problem:
            await self._abandon(exchange)
            if isinstance(problem, ConnectionError | TimeoutError):
                return said(503, _lost(exchange))
            raise
        if exchange.over and len(exchange.queue) == 1 and "method" not in exchange.queue[0]:
            return said(status_of(exchange.queue[0]), exchange.queue[0])
        if self.ended and not exchange.queue:
            return said(503, _lost(exchange))
        return streamed(self._events(exchange))

    async def _events(self, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                while exchange.queue:
                    message = exchange.queue.popleft()
                    yield write(encode(message).decode("utf-8").rstrip("\n"), name="message")
                exchange.size = 0
                if exchange.over:
                    return
                if self.ended:
                    yield write(encode(_lost(exchange)).decode("utf-8").rstrip("\n"), name="message")
                    return
                async with self._changed:
                    self._changed.notify_all()  # there is room again
                    try:
                        async with asyncio.timeout(PING_SECONDS):
                            await self._changed.wait_for(lambda: exchange.queue or exchange.over or self.ended)
                        quiet = False
                    except TimeoutError:
                        quiet = True
                if quiet:
                    yield COMMENT
        finally:
            await self._abandon(exchange)

    async def _abandon(self, exchange: Exchange) -> None:
        cancel = self._exchanges.abandon(exchange)
        exchange.over = True
        if cancel is not None and not self.ended:
            try:
                await asyncio.shield(self._wire.send(cancel))
            except (ConnectionError, TimeoutError):
                await self.end()

    async def _heard(self, message: JsonObject, text: str) -> None:
        exchange = self._exchanges.put(message, len(text))
        async with self._changed:
            self._changed.notify_all()
            if exchange is None or exchange.size <= MAX_WAITING:
                return
            try:
                async with asyncio.timeout(BEHIND_SECONDS):
                    await self._changed.wait_for(lambda: not exchange.size or exchange.over or self.ended)
            except TimeoutError:
                exchange.over = True
                exchange.queue.clear()


class ModernLinks:
    """One link for each bearer and server, made with the first request and ended when nobody used it for a while."""

    def __init__(self) -> None:
        self._links: dict[tuple[Guest, str], ModernLink] = {}
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._links)

    async def of(self, guest: Guest, server: str, welcome: Callable[[], Awaitable[Welcome]]) -> ModernLink:
        """The link of this bearer to this server.

        Raises:
            BulkheadError: it was refused, and why.
        """
        known = self._links.get((guest, server))
        if known is not None and not known.ended:
            return known
        async with self._opening:
            known = self._links.get((guest, server))
            if known is not None and not known.ended:  # another request opened it meanwhile
                return known
            welcomed = await welcome()
            link = ModernLink(await Wire.open(welcomed), welcomed.schemas)
            self._links[(guest, server)] = link
        task = asyncio.get_running_loop().create_task(link.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return link

    async def sweep(self, now: float, idle: float) -> None:
        """End what nobody used for a while."""
        for key, link in tuple(self._links.items()):
            if link.ended:
                del self._links[key]
            else:
                await link.sweep(now, idle)

    async def close(self) -> None:
        for link in tuple(self._links.values()):
            await link.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _lost(exchange: Exchange) -> JsonObject:
    return replies.error(exchange.id, replies.UNAVAILABLE, "Bulkhead closed the link")
