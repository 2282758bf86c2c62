"""What is known of a server by HTTP between two requests, and how one of its answers is read.

Every answer is bounded and strict JSON; a stream that broke off is resumed where its events have ids.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import httpx2

from broker.endpoints.http_reach import Reach, Unreachable, asked, origin_of
from broker.errors import BulkheadError, ProtocolError
from broker.model import JsonObject
from broker.protocol.frames import MAX_FRAME, encode, strict_json
from broker.protocol.http_values import LAST_EVENT, SESSION, VERSION
from broker.protocol.replies import RequestId
from broker.protocol.sse import Event, EventDecoder

BOTH: Final = "application/json, text/event-stream"
EVENTS: Final = "text/event-stream"
MAX_RESUMED: Final = 5  # times in a row without a single event
MAX_RETRY_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 1.0
MAX_SESSION: Final = 1024
SIGN_IN: Final = "needs a sign-in, or does not take the one it was given; look at: bulkhead tokens"
MAX_TRIES: Final = 4  # a token that ended, one that was renewed, and two steps to more rights


_T = TypeVar("_T")


@dataclass(slots=True)
class Tail:
    """How far a stream has come."""

    last: str = ""
    pause: float = RETRY_SECONDS
    barren: int = 0
    """How often it was resumed without a single event."""

    @property
    def header(self) -> dict[str, str]:
        return {LAST_EVENT: self.last} if self.last else {}

    def note(self, event: Event) -> None:
        self.last, self.barren = event.id or self.last, 0
        if event.retry is not None:
            self.pause = min(event.retry / 1000, MAX_RETRY_SECONDS)


class Credentials(Protocol):
    """Tokens for one server.  `refused` says whether a request is worth making again; both raise `BulkheadError`."""

    async def token(self) -> str: ...
    async def refused(self, status: int, challenges: list[str], sent: str, /) -> bool: ...


class Channel:
    """One server's address, headers, session and version.  `heard` is given each message of a stream."""

    def __init__(
        self,
        reach: Reach,
        url: str,
        headers: Mapping[str, str],
        heard: Callable[[JsonObject], Awaitable[None]],
        credentials: Credentials | None = None,
        most: int = MAX_FRAME,
    ) -> None:
        """`credentials` are asked for a token, unless a person gave a fixed one among the headers."""
        self.url = url
        self.most = most
        self.posts = ""
        """Where the first transport by HTTP wants messages; empty in the later ones."""
        self.origin = origin_of(url)
        self.session = ""
        self.version = ""
        self._client = reach.client(self.origin)
        self._own_headers = dict(headers)
        self._heard = heard
        self._credentials = None if "authorization" in headers else credentials

    def post(
        self, message: JsonObject, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        said = {**self._headers(), "accept": BOTH, "content-type": "application/json", **(headers or {})}
        return self._asked("POST", self.posts or self.url, said, encode(message))

    def get(self, tail: Tail) -> AbstractAsyncContextManager[httpx2.Response]:
        return self._asked("GET", self.url, {**self._headers(), "accept": EVENTS, **tail.header})

    def delete(self) -> AbstractAsyncContextManager[httpx2.Response]:
        return self._asked("DELETE", self.url, self._headers())

    @asynccontextmanager
    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """An answer to a request with a token, where there are any; made again while a better one can be had."""
        for tries in range(1, MAX_TRIES + 1):
            token = await self._told(self._credentials.token()) if self._credentials is not None else ""
            bearer = {"authorization": f"Bearer {token}"} if token else {}
            async with asked(self._client, method, url, {**headers, **bearer}, content) as response:
                is_last = self._credentials is None or tries == MAX_TRIES or method == "DELETE"
                if is_last or response.status_code not in (401, 403):
                    yield response
                    return
                challenges = response.headers.get_list("www-authenticate")
                if response.status_code == 403 and not challenges:
                    yield response
                    return
            assert self._credentials is not None
            if not await self._told(self._credentials.refused(response.status_code, challenges, token)):
                raise self.refused(response.status_code)

    async def _told(self, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except Unreachable:
            raise
        except BulkheadError as problem:
            hint = f"; {problem.hint}" if problem.hint else ""
            raise Unreachable(f"{self.origin}: {problem}{hint}", hint=problem.hint) from problem

    def keep_session(self, response: httpx2.Response) -> None:
        """Remember the id a server gave in its answer to `initialize`.

        Raises:
            ProtocolError: it can be none.
        """
        id: str = response.headers.get(SESSION, "")
        if len(id) > MAX_SESSION or not all("!" <= character <= "~" for character in id):
            raise ProtocolError("server", "gave the session an id that is none")
        self.session = id

    def refused(self, status: int) -> Unreachable:
        """Why an answer without a message is none."""
        said = SIGN_IN if status == 401 else f"answered with HTTP status {status} and no message"
        return Unreachable(f"{self.origin} {said}", status=status)

    async def whole(self, response: httpx2.Response) -> Any:
        """The JSON of a body.

        Raises:
            ProtocolError: it is too long, or not strict.
        """
        body = bytearray()
        async for data in response.aiter_raw():
            body += data
            if len(body) > self.most:
                raise ProtocolError("server", f"sent an answer longer than {self.most} bytes")
        return _value(bytes(body))

    async def follow(self, response: httpx2.Response, id: RequestId) -> None:
        """Pass on a stream up to the answer of `id`.

        Raises:
            Unreachable: it broke off for good.
        """
        tail = Tail()
        if await self.drain(response, id, tail):
            return
        while tail.last and tail.barren < MAX_RESUMED:
            tail.barren += 1
            await asyncio.sleep(tail.pause)
            async with self.get(tail) as more:
                if more.status_code == 200 and await self.drain(more, id, tail):
                    return
        raise Unreachable(f"the answer of {self.origin} broke off")

    async def drain(
        self,
        response: httpx2.Response,
        id: RequestId | None,
        tail: Tail,
        place: Callable[[str], None] = lambda _text: None,
    ) -> bool:
        """Pass on one response; true once the answer of `id` was among it.  `place` is told of an `endpoint` event."""
        decoder = EventDecoder("server", self.most)
        try:
            async with aclosing(response.aiter_raw()) as pieces:
                async for data in pieces:
                    for event in decoder.feed(data):
                        tail.note(event)
                        if event.name == "endpoint":
                            place(event.data)
                        elif event.data and event.name == "message":
                            message = _value(event.data.encode("utf-8"))
                            if not isinstance(message, dict):
                                raise ProtocolError("server", "sent an event that is no message")
                            await self._heard(message)
                            if id is not None and "method" not in message and message.get("id") == id:
                                return True
        except httpx2.HTTPError:
            pass  # it broke off, which is the same as its end
        return False

    def _headers(self) -> dict[str, str]:
        said = {SESSION: self.session} if self.session else {}
        return {**self._own_headers, **said, **({VERSION: self.version} if self.version else {})}


def kind_of(response: httpx2.Response) -> str:
    """The media type of an answer."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _value(data: bytes) -> Any:
    try:
        return strict_json(data)
    except ValueError as cause:
        raise ProtocolError("server", "sent what is not strict JSON") from cause
