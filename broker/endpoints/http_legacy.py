"""Sessions of the legacy era by HTTP: an id we mint, posts, one stream by GET, resumption, and the end by DELETE.

One session is one link.  A connection that breaks cancels nothing: what it did not get waits for it, bounded.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from typing import Final

from broker.endpoints.http_link import HttpLink
from broker.endpoints.http_replies import GRACE_SECONDS, PING_SECONDS, refused, said, streamed
from broker.endpoints.http_server import Answer, Head, Reply
from broker.endpoints.http_wire import Wire
from broker.model import JsonObject
from broker.protocol import replies
from broker.protocol.envelope import Envelope, Notification, Request
from broker.protocol.http_body import BATCHES
from broker.protocol.http_gate import Guest
from broker.protocol.http_streams import Stream, Streams
from broker.protocol.http_values import LAST_EVENT, SESSION
from broker.protocol.sse import COMMENT, write

HIGH_WATER: Final = 4 * 1024 * 1024  # bytes one stream may be behind while somebody reads it
BEHIND_SECONDS: Final = 30.0  # then whoever reads it has to come back for the rest
PRIMED_FROM: Final = "2025-11-25"  # clients of older revisions do not know an event without a message
RETRY_MILLISECONDS: Final = 1000
OPENING_SECONDS: Final = 90.0  # a person may be asked first, and a server may have to start


class HttpSession(HttpLink):
    """One client's conversation with one server, and everything that waits for it."""

    def __init__(self, guest: Guest, server: str, wire: Wire) -> None:
        super().__init__(wire)
        self.id = secrets.token_urlsafe(32)
        self.guest = guest
        self.server = server
        self.version = ""
        self._streams = Streams(wire.most)
        self._readers = 0

    @property
    def busy(self) -> bool:
        return self._readers > 0 or self._streams.busy

    async def post(self, envelopes: list[Envelope], batch: bool) -> Answer:
        """Hand messages to the link and answer with what they lead to."""
        requests = [each for each in envelopes if isinstance(each, Request)]
        if batch and self.version != BATCHES:
            return refused(400, "this revision has no batches")
        ids = [request.id for request in requests]
        if any(id in self._streams for id in ids) or len({(type(id), id) for id in ids}) != len(ids):
            return refused(400, "the client used an id whose request is not answered yet")
        if requests and not self._streams.make_room():
            return refused(429, "too many requests are open")
        stream = self._streams.open(requests) if requests else None
        lost = await self._send(envelopes)
        if lost is not None or stream is None:
            return lost or Reply(202)
        return await self._answer(stream, batch)

    async def post_2024(self, envelopes: list[Envelope]) -> Reply:
        """Hand messages to the link; whatever they lead to goes to the one stream of that transport."""
        requests = [each for each in envelopes if isinstance(each, Request)]
        if any(request.id in self._streams for request in requests):
            return refused(400, "the client used an id whose request is not answered yet")
        self._streams.join(requests)
        return await self._send(envelopes) or Reply(202)

    async def open(self, request: Request) -> Reply:
        """The handshake: answered whole, with the id of the session if it came to one."""
        stream = self._streams.open([request])
        try:
            await self._wire.send(request.message)
            async with asyncio.timeout(OPENING_SECONDS), self._changed:
                await self._changed.wait_for(lambda: stream.over or self.ended)
        except (ConnectionError, TimeoutError):
            await self.end()
        self._streams.drop(stream)
        answers = [message for message in map(_message, stream.log) if "method" not in message]
        if not answers:
            text = "Bulkhead closed the link before the handshake was answered"
            return said(503, replies.error(request.id, replies.UNAVAILABLE, text))
        result = answers[0].get("result")
        if not isinstance(result, dict):
            await self.end()
            return said(200, answers[0])
        self.version = str(result.get("protocolVersion", ""))
        return said(200, answers[0], ((SESSION, self.id),))

    def listen(self, head: Head) -> Answer:
        """The stream by GET, or one that broke off and goes on."""
        seen = head.one(LAST_EVENT)
        stream = self._streams.unasked if seen is None else self._streams.resume(seen)
        if stream is None:
            return refused(400, f"{LAST_EVENT} names nothing that is kept; begin the session anew")
        return streamed(self.events(stream))

    async def events(self, stream: Stream | None = None) -> AsyncGenerator[bytes, None]:
        """A stream from where it stands to its end, or until another connection takes it over."""
        stream = stream or self._streams.unasked
        stream.holder += 1
        holder = stream.holder
        self._readers += 1
        try:
            if self.version >= PRIMED_FROM and not stream.sent:
                yield write("", id=f"{stream.number}-0", retry=RETRY_MILLISECONDS)
            while stream.holder == holder:
                for number, text in stream.unsent:
                    stream.sent = number
                    yield write(text, id=f"{stream.number}-{number}", name="message")
                if self.ended or stream.over:
                    break
                async with self._changed:
                    self._changed.notify_all()  # there is room again
                    try:
                        async with asyncio.timeout(PING_SECONDS):
                            await self._changed.wait_for(
                                lambda: stream.unsent or stream.over or self.ended or stream.holder != holder
                            )
                        quiet = False
                    except TimeoutError:
                        quiet = True
                if quiet:
                    yield COMMENT
        finally:
            self._readers -= 1

    async def _send(self, envelopes: list[Envelope]) -> Reply | None:
        """Hand messages to the link; what to tell the client if there is none any more."""
        try:
            await self._wire.send(*(each.message for each in envelopes))
        except (ConnectionError, TimeoutError):
            await self.end()
            return refused(404, "the session has ended")
        for each in envelopes:
            if isinstance(each, Notification) and each.method == "notifications/cancelled":
                self._streams.cancelled(each.params.get("requestId", ""))
        async with self._changed:
            self._changed.notify_all()
        return None

    async def _answer(self, stream: Stream, batch: bool) -> Answer:
        """An answer that comes soon and alone is sent as it is; else there is a stream."""
        async with self._changed:
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await self._changed.wait_for(lambda: stream.log or stream.over or self.ended)
            except TimeoutError:
                pass
        if stream.over and len(stream.log) == 1 and not batch:
            self._streams.drop(stream)
            return said(200, _message(stream.log[0]))
        return streamed(self.events(stream))

    async def _heard(self, message: JsonObject, text: str) -> None:
        stream = self._streams.put(message, text)
        if self._streams.overflowing:
            await self.end()
            return
        async with self._changed:
            self._changed.notify_all()
            if stream is None or stream.holder == 0 or self._behind(stream) <= HIGH_WATER:
                return
            try:
                async with asyncio.timeout(BEHIND_SECONDS):
                    await self._changed.wait_for(lambda: self._behind(stream) <= HIGH_WATER or self.ended)
            except TimeoutError:
                stream.holder += 1

    def _behind(self, stream: Stream) -> int:
        return sum(len(text) for _, text in stream.unsent) if self._readers else 0


class HttpSessions:
    """All sessions of the legacy era."""

    def __init__(self) -> None:
        self._sessions: dict[str, HttpSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, guest: Guest, server: str, wire: Wire) -> HttpSession:
        session = HttpSession(guest, server, wire)
        self._sessions[session.id] = session
        task = asyncio.get_running_loop().create_task(session.run())
        self._tasks[session.id] = task
        task.add_done_callback(lambda _: self._gone(session.id))
        return session

    def find(self, id: str | None, guest: Guest, server: str) -> HttpSession | None:
        """A live session, for the bearer and server it was made for only."""
        session = self._sessions.get(id or "")
        if session is None or session.ended or (session.guest, session.server) != (guest, server):
            return None
        return session

    async def sweep(self, now: float, idle: float) -> None:
        """End what nobody used for a while."""
        for session in tuple(self._sessions.values()):
            await session.sweep(now, idle)

    async def close(self) -> None:
        for session in tuple(self._sessions.values()):
            await session.end()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _gone(self, id: str) -> None:
        self._sessions.pop(id, None)
        self._tasks.pop(id, None)


def _message(event: tuple[int, str]) -> JsonObject:
    message: JsonObject = json.loads(event[1])
    return message
