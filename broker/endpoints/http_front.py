"""Clients that come in by HTTP on this machine: `/SECRET/SERVER` for every revision, and the two addresses of 2024.

Who is calling is settled before anything else of a request is looked at; only then which server, era and session.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, Protocol
from urllib.parse import parse_qs

from broker.endpoints.http_legacy import HttpSession, HttpSessions
from broker.endpoints.http_modern import ModernLinks
from broker.endpoints.http_replies import not_opened, refused, said, streamed
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply, Work
from broker.endpoints.http_wire import Welcome, Wire
from broker.errors import BulkheadError
from broker.protocol import replies
from broker.protocol.envelope import Envelope, Request
from broker.protocol.frames import MAX_FRAME
from broker.protocol.http_body import BodyFault, check_modern, envelopes_of, era_of
from broker.protocol.http_gate import Guest, Passes, Refusal, accepts, admit, is_json
from broker.protocol.http_values import SESSION, VERSION
from broker.protocol.sse import write
from broker.protocol.versions import LEGACY_VERSIONS, MODERN_VERSIONS

MAX_SESSIONS: Final = 256  # of all bearers together; each may hold a server
IDLE_SECONDS: Final = 1800.0  # then the server behind it is stopped; a client that comes back begins anew
SWEEP_SECONDS: Final = 10.0
EVENT_STREAM: Final = "text/event-stream"
BOTH: Final = ("application/json", EVENT_STREAM)
_ALLOW: Final = (("allow", "POST"),)


class Counter(Passes, Protocol):
    """Where guests sign in: it has addresses of its own, and knows the passes it gave."""

    def judge(self, head: Head) -> Reply | Work | None: ...
    async def close(self) -> None: ...


Receive = Callable[[Guest, str, Head], Awaitable[Welcome]]
"""Looks at a guest that wants a link to a server."""


class HttpFront:
    """All clients that come in by HTTP.  `guests` are by the secret in their address, and may change at any time."""

    def __init__(
        self, host: str, guests: Mapping[str, Guest], receive: Receive,
        most: Callable[[str], int] = lambda _: MAX_FRAME, counter: Counter | None = None,
    ) -> None:  # fmt: skip
        """`most` says how long a message to a server may be; `counter` is where guests without a bearer sign in."""
        self._counter = counter
        self._most = most
        self._host = host
        self._guests = guests
        self._receive = receive
        self._sessions = HttpSessions()
        self._links = ModernLinks()
        self.server = HttpServer(self.judge, self.room)

    async def run(self) -> None:
        """End what nobody uses, now and then, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            await self._sessions.sweep(now, IDLE_SECONDS)
            await self._links.sweep(now, IDLE_SECONDS)

    async def close(self) -> None:
        """End every link and connection."""
        await self._sessions.close()
        await self._links.close()
        if self._counter is not None:
            await self._counter.close()
        await self.server.close()

    def room(self, head: Head) -> int:
        """How long the body of an admitted request may be."""
        below = head.target.partition("?")[0].removeprefix("/").partition("/")[2]
        return self._most(below.partition("/")[0])

    def judge(self, head: Head) -> Reply | Work:
        """Whether the body of this request is wanted, and what is done with it."""
        if self._counter is not None and (verdict := self._counter.judge(head)) is not None:
            return verdict
        admitted = admit(head.target, head.headers, self._host, self._guests, self._counter)
        if isinstance(admitted, Refusal):
            return refused(admitted.status, admitted.why, admitted.headers)
        guest, rest = admitted
        server, _, page = rest.partition("/")
        match page, head.method:
            case "", "POST":
                return _unfit(head, BOTH) or (lambda body: self._post(guest, server, head, body))
            case "", "GET" | "DELETE":
                return self._of_session(guest, server, head)
            case "sse", "GET":
                return lambda _: self._open_2024(guest, server, head)
            case "messages", "POST":
                return _unfit(head, ()) or (lambda body: self._post_2024(guest, server, head, body))
            case "" | "sse" | "messages", _:
                return refused(405, f"{head.method} is nothing one can do here")
        return refused(404, "there is nothing at this address")

    def _of_session(self, guest: Guest, server: str, head: Head) -> Reply | Work:
        version = head.one(VERSION)
        if version in MODERN_VERSIONS:
            return refused(405, "this revision has nothing but POST", _ALLOW)
        found = self._session(guest, server, head)
        if isinstance(found, Reply):
            return found
        if head.method == "DELETE":
            return lambda _: _end(found)
        if not accepts(head.all("accept"), EVENT_STREAM):
            return refused(406, "the client has to accept text/event-stream")

        async def listen(_body: bytes) -> Answer:
            return found.listen(head)

        return listen

    def _session(self, guest: Guest, server: str, head: Head) -> HttpSession | Reply:
        version, id = head.one(VERSION), head.one(SESSION)
        if version is not None and version not in LEGACY_VERSIONS:
            return refused(400, "this protocol version is not spoken here")
        if id is None:
            return refused(400, f"{SESSION} is missing: begin with initialize")
        return self._sessions.find(id, guest, server) or refused(404, "there is no such session, or it has ended")

    async def _post(self, guest: Guest, server: str, head: Head, body: bytes) -> Answer:
        try:
            envelopes, batch = envelopes_of(body)
            if era_of(envelopes, head.headers) == "modern":
                return await self._post_modern(guest, server, head, envelopes, batch)
        except BodyFault as fault:
            return _faulted(fault)
        opening = envelopes[0] if len(envelopes) == 1 and not batch else None
        if isinstance(opening, Request) and opening.method == "initialize" and head.one(SESSION) is None:
            try:
                session = await self._begin(guest, server, head)
            except BulkheadError as problem:
                return not_opened(problem, opening.id)
            return session if isinstance(session, Reply) else await session.open(opening)
        found = self._session(guest, server, head)
        return found if isinstance(found, Reply) else await found.post(envelopes, batch)

    async def _post_modern(
        self, guest: Guest, server: str, head: Head, envelopes: list[Envelope], batch: bool
    ) -> Answer:
        request = envelopes[0]
        if batch or (not isinstance(request, Request) and "method" not in request.message):
            return refused(400, "a post of this revision is one request or notification")
        if not isinstance(request, Request):
            return Reply(202)  # this era has no notifications of a client by HTTP: hanging up is how it cancels
        check_modern(request, head.headers)
        if len(self._links) >= MAX_SESSIONS:
            return refused(429, "too many links are open")
        try:
            link = await self._links.of(guest, server, lambda: self._receive(guest, server, head))
        except BulkheadError as problem:
            return not_opened(problem, request.id)
        if request.method == "tools/call":
            check_modern(request, head.headers, link.schemas.get(str(request.params.get("name"))))
        return await link.post(request)

    async def _begin(self, guest: Guest, server: str, head: Head) -> HttpSession | Reply:
        if len(self._sessions) >= MAX_SESSIONS:
            return refused(429, "too many sessions are open")
        wire = await Wire.open(await self._receive(guest, server, head))
        return self._sessions.add(guest, server, wire)

    # --- HTTP+SSE, the transport of 2024-11-05 ---

    async def _open_2024(self, guest: Guest, server: str, head: Head) -> Answer:
        try:
            session = await self._begin(guest, server, head)
        except BulkheadError as problem:
            return not_opened(problem, None)
        return session if isinstance(session, Reply) else streamed(_stream_2024(session))

    async def _post_2024(self, guest: Guest, server: str, head: Head, body: bytes) -> Answer:
        id = parse_qs(head.target.partition("?")[2], max_num_fields=4).get("session", [""])[0]
        session = self._sessions.find(id, guest, server)
        if session is None:
            return refused(404, "there is no such session, or it has ended")
        try:
            envelopes, batch = envelopes_of(body)
        except BodyFault as fault:
            return _faulted(fault)
        if batch:
            return refused(400, "this revision has no batches")
        return await session.post_2024(envelopes)


async def _stream_2024(session: HttpSession) -> AsyncGenerator[bytes, None]:
    """Where to post, and then everything there is; with the stream the session ends."""
    try:
        yield write(f"/{session.guest.path}/{session.server}/messages?session={session.id}", name="endpoint")
        async with aclosing(session.events()) as events:
            async for event in events:
                yield event
    finally:
        await session.end()


async def _end(session: HttpSession) -> Reply:
    await session.end()
    return Reply(204)


def _unfit(head: Head, answers: tuple[str, ...]) -> Reply | None:
    if not is_json(head.all("content-type")):
        return refused(415, "a message is posted as application/json")
    if not all(accepts(head.all("accept"), kind) for kind in answers):
        return refused(406, f"the client has to accept {' and '.join(answers)}")
    return None


def _faulted(fault: BodyFault) -> Reply:
    code = fault.reply["error"]["code"]
    return said(404 if code == replies.METHOD_NOT_FOUND else 400, fault.reply)
