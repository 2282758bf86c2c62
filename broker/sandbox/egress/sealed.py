"""TLS over a connection that was read from already: the bytes that were looked at first are given to it.

One task reads and one writes; a connection that ends without TLS's own last word is broken, not ended.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.sandbox.egress.wire import BUFFER, FIRST_WORDS, Stream

T = TypeVar("T")


class Sealed(Stream):
    """One side of an encrypted connection, used like a plain one."""

    __slots__ = ("_in", "_out", "_tls", "_under")

    def __init__(self, under: Stream, context: ssl.SSLContext, *, host: str | None = None, begun: bytes = b"") -> None:
        """As the client of `host`, or, without one, as a server that was sent `begun` already."""
        self._under = under
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._in.write(begun)
        self._tls = context.wrap_bio(self._in, self._out, server_side=host is None, server_hostname=host)
        super().__init__(_Reader(self._read), under.writer)

    async def handshake(self) -> None:
        """Agree on keys, in bounded time.

        Raises:
            ssl.SSLError, OSError: the other side is not who it must be, will not, or is gone.
        """
        async with asyncio.timeout(FIRST_WORDS):
            await self._go(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
        await self._flush()

    def end(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # our last word is written; the other side's is not waited for
        if data := self._out.read():
            self.writer.write(data)

    async def close(self) -> None:
        self.end()
        await self._under.close()

    async def _read(self) -> bytes:
        try:
            return await self._go(lambda: self._tls.read(BUFFER))
        except ssl.SSLZeroReturnError:
            return b""

    async def _go(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._under.reader.read(BUFFER):
                    self._in.write(data)
                else:
                    self._in.write_eof()
            except ssl.SSLError:
                await self._flush()  # the reason, for the other side
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if data := self._out.read():
            await self._under.send(data)


class _Reader:
    """What was decrypted, read as a stream's reader reads."""

    def __init__(self, more: Callable[[], Awaitable[bytes]]) -> None:
        self._more = more
        self._held = b""

    async def read(self, size: int) -> bytes:
        if not self._held:
            self._held = await self._more()
        return self._taken(min(size, len(self._held)))

    async def readexactly(self, size: int) -> bytes:
        while len(self._held) < size:
            await self._extend(size)
        return self._taken(size)

    async def readuntil(self, separator: bytes) -> bytes:
        while (found := self._held.find(separator)) < 0:
            if len(self._held) > BUFFER:
                raise asyncio.LimitOverrunError("the separator is not found", len(self._held))
            await self._extend(None)
        return self._taken(found + len(separator))

    async def _extend(self, expected: int | None) -> None:
        more = await self._more()
        if not more:
            raise asyncio.IncompleteReadError(self._taken(len(self._held)), expected)
        self._held += more

    def _taken(self, size: int) -> bytes:
        part, self._held = self._held[:size], self._held[size:]
        return part
