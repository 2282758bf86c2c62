"""HTTP/1.1 on a listening socket of this machine: bytes in, requests out, answers back.

Every size and every wait is ours.  The head of a request is judged before its body is taken, and a caller that hangs
up ends the work on its request.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias

import h11

from broker.protocol.frames import MAX_FRAME

MAX_HEAD: Final = 32 * 1024  # bytes of a request line and its headers; a client's own have under two thousand
MAX_CONNECTIONS: Final = 256
MAX_AHEAD: Final = 64 * 1024  # bytes a caller may send before its last request was answered
HEAD_SECONDS: Final = 10.0  # from the first byte of a request to the end of its head
IDLE_SECONDS: Final = 75.0  # between two requests of one connection
BODY_SECONDS: Final = 30.0
SEND_SECONDS: Final = 30.0  # a caller that does not read for so long is gone
CLOSE_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 1.0  # until somebody may have given a descriptor back
_READ: Final = 65536
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in front of a body.  Header names are in lower case, in their order, as often as they came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    caller: tuple[str, int]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        """The value of a header; None when it is absent or stands there more than once."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that goes on: what the generator yields is sent as it comes, and the end is its end."""

    chunks: AsyncGenerator[bytes, None]
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


Answer: TypeAlias = Reply | Streamed
Work: TypeAlias = Callable[[bytes], Awaitable[Answer]]
"""Takes the body, once the head was found to deserve it."""


class HttpServer:
    """Serves one listening socket.  `judge` says of each head whether its body is wanted, and by whom.

    `room` says how long the body of such a request may be.
    """

    def __init__(
        self, judge: Callable[[Head], Reply | Work], room: Callable[[Head], int] = lambda _head: MAX_FRAME
    ) -> None:
        self._judge = judge
        self._room = room
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None

    def open(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._knock)

    async def close(self) -> None:
        """Let nobody in any more and end every connection."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _knock(self) -> None:
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as problem:
            _log.error("nobody can be let in by HTTP for a moment: %s", problem.strerror)
            loop.remove_reader(self._listener)
            loop.call_later(PAUSE_SECONDS, self._listen_again)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.close()
            return
        task = loop.create_task(_serve(connection, (str(address[0]), int(address[1])), self._judge, self._room))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _listen_again(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._knock)


async def _serve(
    connection: socket.socket,
    caller: tuple[str, int],
    judge: Callable[[Head], Reply | Work],
    room: Callable[[Head], int],
) -> None:
    reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_AHEAD)
    try:
        await _Connection(reader, writer, caller, judge, room).run()
    except (OSError, TimeoutError, h11.ProtocolError, asyncio.IncompleteReadError):
        pass  # the caller broke off, was too slow or speaks no HTTP: there is nobody to tell
    except Exception:  # noqa: BLE001 - the top of this connection: it closes
        _log.exception("a connection by HTTP failed")
    finally:
        writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


class _Connection:
    """One caller.  One request at a time; what it sends ahead waits, bounded."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        caller: tuple[str, int],
        judge: Callable[[Head], Reply | Work],
        room: Callable[[Head], int],
    ) -> None:
        self._room = room
        self._reader = reader
        self._writer = writer
        self._caller = caller
        self._judge = judge
        self._heads_only = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self) -> None:
        while await self._one():
            self._http.start_next_cycle()

    async def _one(self) -> bool:
        """Serve one request; true when the connection can carry another."""
        try:
            event = await self._event(IDLE_SECONDS, HEAD_SECONDS)
            if not isinstance(event, h11.Request):
                return False
            self._heads_only = event.method == b"HEAD"
            head = Head(
                event.method.decode("ascii"),
                event.target.decode("ascii"),
                tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers),
                self._caller,
            )
            verdict = self._judge(head)
            if isinstance(verdict, Reply):
                return await self._turn_away(verdict)
            body = await self._body(head)
            if isinstance(body, Reply):
                return await self._turn_away(body)
        except h11.RemoteProtocolError as problem:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._turn_away(Reply(problem.error_status_hint))
            return False
        return await self._unless_hung_up(self._work(verdict, body))

    async def _turn_away(self, reply: Reply) -> Literal[False]:
        """The last answer of this connection.  What the caller still says is thrown away, so that it can read ours."""
        await self._answer(reply, last=True)
        self._writer.write_eof()
        thrown_away = 0
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while thrown_away < 2 * MAX_FRAME and (data := await self._reader.read(_READ)):
                    thrown_away += len(data)
        return False

    async def _work(self, work: Work, body: bytes) -> None:
        await self._answer(await work(body))

    async def _unless_hung_up(self, coroutine: Coroutine[Any, Any, None]) -> bool:
        """Do the work and answer; a caller that is gone ends it."""
        work = asyncio.ensure_future(coroutine)
        watch = asyncio.ensure_future(self._hung_up())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return False
            work.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _hung_up(self) -> None:
        """Returns when the caller closed its side; what it sends meanwhile is kept for later, and no more of it."""
        ahead = 0
        while data := await self._reader.read(_READ):
            self._http.receive_data(data)
            ahead += len(data)
            if ahead > MAX_AHEAD:
                return

    async def _event(self, first: float, then: float) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event; `first` seconds for its first byte, `then` for the rest."""
        event = self._http.next_event()
        if event is h11.NEED_DATA and not self._http.trailing_data[0]:
            async with asyncio.timeout(first):
                self._http.receive_data(await self._reader.read(_READ))
            event = self._http.next_event()
        async with asyncio.timeout(then):
            while event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ))
                event = self._http.next_event()
        return event

    async def _body(self, head: Head) -> bytes | Reply:
        length, room = head.one("content-length"), self._room(head)
        if length is not None and (len(length) > 12 or int(length) > room):
            return _too_long(room)
        if self._http.they_are_waiting_for_100_continue:
            await self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        body = bytearray()
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(_READ))
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > room:
                        return _too_long(room)
                elif isinstance(event, h11.EndOfMessage):
                    return bytes(body)
                else:
                    raise asyncio.IncompleteReadError(bytes(body), None)

    async def _answer(self, answer: Answer, *, last: bool = False) -> None:
        headers = [*answer.headers, ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
        if isinstance(answer, Reply):
            headers += [("content-length", str(len(answer.body)))]
        else:
            headers += [("transfer-encoding", "chunked")]
        if last:
            headers += [("connection", "close")]
        start = h11.Response(status_code=answer.status, headers=headers, reason=_REASONS.get(answer.status, b""))
        if isinstance(answer, Reply):
            body = b"" if self._heads_only else answer.body
            parts = [start, h11.Data(data=body), h11.EndOfMessage()]
            await self._send(b"".join(filter(None, map(self._http.send, parts))))
            return
        async with aclosing(answer.chunks):
            await self._send(self._http.send(start))
            async for chunk in answer.chunks:
                await self._send(self._http.send(h11.Data(data=chunk)))
        await self._send(self._http.send(h11.EndOfMessage()))

    async def _send(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        async with asyncio.timeout(SEND_SECONDS):
            await self._writer.drain()


def _too_long(room: int) -> Reply:
    text = f"the message is longer than the limit of {room} bytes; for more: bulkhead limits NAME --message-size SIZE\n"
    return Reply(413, text.encode(), (("content-type", "text/plain; charset=utf-8"),))
