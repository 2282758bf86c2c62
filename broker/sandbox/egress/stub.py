"""The name service of one sandbox: real addresses of the hosts that were granted, and of no others.

A name that no rule covers is never asked for outside, so nothing can be told to anybody by looking it up.
"""

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Final, cast

from broker.sandbox.addresses import normal
from broker.sandbox.egress.lookup import FAILED, FINE, NO_SUCH_NAME, Lookup, answer, parse_lookup
from broker.sandbox.egress.receipts import Asked, Denied
from broker.sandbox.egress.way import Unreachable, Way

PENDING: Final = 32

Address = tuple[str, int]


class NameStub(asyncio.DatagramProtocol):
    """Answers on one UDP socket.  `failed` is told of what must end all of it: a receipt that cannot be written."""

    def __init__(self, way: Way, failed: Callable[[BaseException], None]) -> None:
        self._way = way
        self._failed = failed
        self._pending: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, data: bytes, addr: Address | Any) -> None:
        lookup = parse_lookup(data)
        if lookup is None or len(self._pending) >= PENDING:
            return  # whoever asks in earnest asks again
        task = asyncio.get_running_loop().create_task(self._answer(lookup, addr))
        self._pending.add(task)
        task.add_done_callback(self._answered)

    def close(self) -> None:
        for task in self._pending:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and (cause := task.exception()) is not None:
            self._failed(cause)

    async def _answer(self, lookup: Lookup, asker: Address) -> None:
        reply = answer(lookup, *await self._found(lookup))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, asker)

    async def _found(self, lookup: Lookup) -> tuple[int, tuple[IPv4Address, ...]]:
        try:
            name = normal(lookup.name)
        except ValueError:
            return NO_SUCH_NAME, ()
        try:
            if self._way.rules.names(name) and not lookup.wants_address:
                return FINE, ()
            return FINE, tuple(map(IPv4Address, await self._way.tell(name)))
        except Denied as denied:
            self._way.receipts.denied(Asked("names", name), denied)
            return NO_SUCH_NAME, ()
        except Unreachable:
            return FAILED, ()
