"""Reading and carrying the bytes of one connection: every read has a size, every wait a limit.

A request that was judged ends where its own length says; nothing behind it is ever read, so that no second request
rides on the first one's permission.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from broker.sandbox.egress.head import MAX_FIELDS, Head, HeadError, chunk_length, parse_head
from broker.sandbox.egress.hello import RECORD_HEADER, HelloError, hello_length, record_length, server_name

BUFFER: Final = 64 * 1024  # what one direction may hold back; asyncio keeps at most twice of it
FIRST_WORDS: Final = 30.0  # for the head of a request or a ClientHello; slow links need a few seconds
IDLE: Final = 3600.0  # databases and event streams are silent for long
LAST_WORDS: Final = 10.0  # for whoever does not read what is left for it
HALF_OPEN: Final = 60.0  # one side said its last word and the other says nothing more

Answering: TypeAlias = Callable[[asyncio.Timeout], Awaitable[None]]


class Reader(Protocol):
    """What is read of one side; errors as asyncio's own."""

    async def read(self, size: int, /) -> bytes: ...

    async def readexactly(self, size: int, /) -> bytes: ...

    async def readuntil(self, separator: bytes, /) -> bytes: ...


@dataclass(slots=True)
class Stream:
    """One side of a connection."""

    reader: Reader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def end(self) -> None:
        """No more will be written."""
        with contextlib.suppress(OSError, RuntimeError):  # the other side may be gone already
            if self.writer.can_write_eof():
                self.writer.write_eof()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        """Let what was written go, for a moment; then drop the connection."""
        self.writer.close()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self.writer.wait_closed()
        except OSError:  # broken, or not read in time
            self.abort()


class SpentError(ConnectionAbortedError):
    """The sandbox has sent all that it may."""


@dataclass(slots=True)
class Budget:
    """How many bytes may go out of one sandbox, over all its connections; `spent` is told of every one too many."""

    limit: int
    spent: Callable[[], None]
    used: int = 0

    def take(self, count: int) -> None:
        """Raises SpentError, before the bytes are sent."""
        if self.used + count > self.limit:
            self.used = self.limit  # whoever tries one byte less must not get through
            self.spent()
            raise SpentError("the sandbox has sent all that it may")
        self.used += count


@dataclass(slots=True)
class Carried:
    """Bytes that went out and came in."""

    budget: Budget | None = None
    out: int = 0
    back: int = 0

    def send(self, count: int) -> None:
        """So many are about to go out."""
        if self.budget is not None:
            self.budget.take(count)
        self.out += count


async def read_head(stream: Stream, begun: bytes = b"") -> Head:
    """One request's head.

    Raises:
        HeadError: it is not one, too long, or not there in time.
    """
    try:
        async with asyncio.timeout(FIRST_WORDS):
            return parse_head(begun + await stream.reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError as cause:
        raise HeadError("its head is too long") from cause
    except asyncio.IncompleteReadError as cause:
        raise HeadError("it was cut short") from cause
    except TimeoutError as cause:
        raise HeadError(f"it was not there within {FIRST_WORDS:.0f} seconds") from cause


async def refuse(client: Stream, status: str, reason: str, remedy: str = "") -> None:
    """An answer of our own to an HTTP request, in words a person can act on."""
    text = f"Bulkhead: {reason}" + (f"\nto allow it: {remedy}" if remedy else "") + "\n"
    body = text.encode("ascii", "replace")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await client.send(head.encode("ascii") + body)


async def read_hello(stream: Stream) -> tuple[bytes, str | None]:
    """The bytes of a ClientHello as they came, and the host in it.

    Raises:
        HelloError: it is not one, not a clear one, or not there in time.
    """
    raw = message = b""
    try:
        async with asyncio.timeout(FIRST_WORDS):
            while len(message) < (needed := hello_length(message)) or needed == 4:
                header = await stream.reader.readexactly(RECORD_HEADER)
                part = await stream.reader.readexactly(record_length(header))
                raw, message = raw + header + part, message + part
    except asyncio.IncompleteReadError as cause:
        raise HelloError("it was cut short") from cause
    except TimeoutError as cause:
        raise HelloError(f"it was not there within {FIRST_WORDS:.0f} seconds") from cause
    return raw, server_name(message)


async def carry_request(
    head: Head, client: Stream, outside: Stream, carried: Carried, answer: Answering | None = None
) -> None:
    """The body of one request out and its answer back, each while the other lasts.

    What comes behind the body ends the connection: whoever wants to ask again is made to open another one.  `answer`
    carries the answer back in its own way.
    """
    async with asyncio.timeout(IDLE) as limit:
        answering = asyncio.ensure_future(
            answer(limit) if answer is not None else _pump(outside, client, carried, limit, out=False)
        )
        sending = asyncio.ensure_future(_send_body(head, client, outside, carried, limit))
        try:
            # An answer may come before the body was taken, and an end of the client before the answer.
            await asyncio.wait({answering, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                sending.result()
            await answering
        finally:
            await _cancel(answering, sending)


async def carry(client: Stream, outside: Stream, carried: Carried, answer: Answering | None = None) -> None:
    """Both directions until both have ended, or one broke.  `answer` carries what comes back in its own way."""
    async with asyncio.timeout(IDLE) as limit:
        both = [
            asyncio.ensure_future(_pump(client, outside, carried, limit, out=True)),
            asyncio.ensure_future(
                answer(limit) if answer is not None else _pump(outside, client, carried, limit, out=False)
            ),
        ]
        try:
            await asyncio.gather(*both)
        finally:
            await _cancel(*both)


async def _pump(source: Stream, target: Stream, carried: Carried, limit: asyncio.Timeout, *, out: bool) -> None:
    loop = asyncio.get_running_loop()
    while data := await source.reader.read(BUFFER):
        if out:
            carried.send(len(data))
        else:
            carried.back += len(data)
        await target.send(data)
        limit.reschedule(loop.time() + IDLE)
    target.end()
    limit.reschedule(loop.time() + HALF_OPEN)


async def _send_body(head: Head, client: Stream, outside: Stream, carried: Carried, limit: asyncio.Timeout) -> None:
    if head.length is not None:
        await _send_exactly(head.length, client, outside, carried, limit)
        await _nothing_more(client)
        return
    try:
        while length := chunk_length(await client.reader.readuntil(b"\r\n")):
            await outside.send(b"%x\r\n" % length)
            await _send_exactly(length, client, outside, carried, limit)
            if await client.reader.readexactly(2) != b"\r\n":
                raise HeadError("its body is not in chunks")
            await outside.send(b"\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as cause:
        raise HeadError("its body was cut short") from cause
    await outside.send(b"0\r\n\r\n")  # trailers are not carried on
    await _skip_trailers(client)
    await _nothing_more(client)


async def _skip_trailers(client: Stream) -> None:
    try:
        for _ in range(MAX_FIELDS):
            if await client.reader.readuntil(b"\r\n") == b"\r\n":
                return
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as cause:
        raise HeadError("its body was cut short") from cause
    raise HeadError("it has too many fields")


async def _nothing_more(client: Stream) -> None:
    if await client.reader.read(1):
        raise ConnectionAbortedError("a second request")


async def _send_exactly(count: int, client: Stream, outside: Stream, carried: Carried, limit: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    while count:
        data = await client.reader.read(min(count, BUFFER))
        if not data:
            raise HeadError("its body was cut short")
        carried.send(len(data))
        await outside.send(data)
        count -= len(data)
        limit.reschedule(loop.time() + IDLE)


async def _cancel(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
