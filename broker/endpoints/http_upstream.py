"""A server that is reached by HTTP, as a link sees it: an instance with two streams of lines.

Each message of the link is posted, and what comes back becomes lines again.  The words of one transport become those of
the other: a session is kept and begun anew when it expired, hanging up is how a modern call is cancelled.
"""

import asyncio
import os
import socket
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from broker.endpoints.http_channel import EVENTS, MAX_RESUMED, Channel, Credentials, Tail, kind_of
from broker.endpoints.http_reach import Reach, Unreachable, within
from broker.errors import ProtocolError
from broker.model import JsonObject
from broker.protocol import replies
from broker.protocol.frames import MAX_FRAME, MAX_GROWTH, encode, strict_json
from broker.protocol.http_values import headers_of
from broker.protocol.replies import RequestId
from broker.protocol.versions import VERSION_KEY

OPENING_SECONDS: Final = 30.0
STOP_SECONDS: Final = 3.0  # for the last word of a session
LAST_WORDS: Final = 1024  # bytes
NOT_SPOKEN: Final = frozenset({400, 404, 405, 406, 415})
"""What a server answers to an opening of an era or a transport it does not speak."""
_OPENINGS: Final = ("initialize", "server/discover")


@dataclass(frozen=True, slots=True)
class Ends:
    """The link's ends of the three streams."""

    stdin: int
    stdout: int
    stderr: int


class RemoteInstance:
    """One conversation with a server somewhere else."""

    tier = "remote"
    pid = 0
    kept_by = ""
    pages = None
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        reach: Reach,
        url: str,
        headers: Mapping[str, str],
        credentials: Credentials | None = None,
        most: int = MAX_FRAME,
    ) -> None:
        """`most` is the size of the largest message, either way."""
        self.ending = ""
        self.alive = True
        self._channel = Channel(reach, url, headers, self._heard, credentials, most)
        self._opening: JsonObject | None = None
        self._initialized: JsonObject | None = None
        self._schemas: dict[str, object] = {}
        self._listing: set[RequestId] = set()
        self._work: dict[RequestId, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._renewing = asyncio.Lock()
        self._near, far = socket.socketpair()
        words, self._words = os.pipe()
        stdout = far.detach()
        self._ends: Ends | None = Ends(os.dup(stdout), stdout, words)
        self._writer: asyncio.StreamWriter | None = None
        self._pump = asyncio.get_running_loop().create_task(self._run())

    def take_streams(self) -> Ends:
        """The link's ends, which are its to close from now on."""
        assert self._ends is not None
        ends, self._ends = self._ends, None
        return ends

    def regrant(self, _hosts: Collection[str]) -> None:
        """It reaches what it reaches: it runs elsewhere."""

    async def stop(self) -> None:
        """Say goodbye, bounded, and let go of everything.  Idempotent."""
        self._let_go()
        self._pump.cancel()
        await asyncio.gather(self._pump, *self._work.values(), *self._others, return_exceptions=True)
        if self._ends is not None:
            for descriptor in (self._ends.stdin, self._ends.stdout, self._ends.stderr):
                os.close(descriptor)
            self._ends = None
        if self._channel.session:
            try:
                async with asyncio.timeout(STOP_SECONDS), self._channel.delete():
                    self._channel.session = ""
            except (Unreachable, TimeoutError):
                self._channel.session = ""  # it is gone: its own time-out ends the session then

    # --- from the link ---

    async def _run(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._near, limit=self._channel.most + MAX_GROWTH)
        try:
            while line := await reader.readline():
                await self._take(strict_json(line))
        finally:
            self._let_go()

    async def _take(self, message: JsonObject) -> None:
        method, id = message.get("method"), message.get("id")
        if method == "notifications/cancelled":
            await self._cancel(message)
        elif self._channel.posts:
            await self._tell(message)
        elif method is None or id is None:
            if self._channel.version:  # the modern era has nothing but requests
                await self._tell(message)
            if method == "notifications/initialized":
                self._initialized = message
                self._start(self._listen())
        elif method == "initialize":
            self._opening = message
            await self._request(message, id)  # nothing may overtake it
        else:
            task = asyncio.get_running_loop().create_task(self._request(message, id))
            self._work[id] = task
            task.add_done_callback(lambda _: self._work.pop(id, None))

    async def _cancel(self, message: JsonObject) -> None:
        task = self._work.get(message.get("params", {}).get("requestId", ""))
        if self._channel.version or self._channel.posts:
            await self._tell(message)
        if task is not None:
            task.cancel()  # in the modern era this is how the server is told

    async def _tell(self, message: JsonObject) -> None:
        """Post what has no answer."""
        try:
            async with self._channel.post(message) as response:
                if response.status_code == 401 or (self._channel.posts and response.status_code >= 400):
                    self._end(str(self._channel.refused(response.status_code)))
        except Unreachable as problem:
            if self._channel.posts:
                self._end(str(problem))  # nothing else would tell whoever waits; elsewhere their own request does

    async def _request(self, message: JsonObject, id: RequestId) -> None:
        """Post a request and pass on everything that comes back for it; there is an answer in any case."""
        try:
            await self._post(message, id)
        except (Unreachable, ProtocolError, TimeoutError) as problem:
            is_opening = message["method"] in _OPENINGS
            status = problem.status if isinstance(problem, Unreachable) else 0
            if status == 401 or (is_opening and status not in NOT_SPOKEN):
                self._end(str(problem))
            else:
                code = replies.METHOD_NOT_FOUND if is_opening else replies.UNAVAILABLE
                await self._say(replies.error(id, code, f"Bulkhead: {problem}"))

    async def _post(self, message: JsonObject, id: RequestId, *, again: bool = False) -> None:
        channel, method = self._channel, message["method"]
        if method == "tools/list":
            self._listing.add(id)
        session = channel.session
        async with channel.post(message, self._repeated(message)) as response:
            if not (response.status_code == 404 and session and not again):
                await self._answered(message, id, response)
                return
        await self._renew(session)
        await self._post(message, id, again=True)

    def _repeated(self, message: JsonObject) -> dict[str, str]:
        """What a modern request repeats in its headers."""
        params = message.get("params", {})
        version = params.get("_meta", {}).get(VERSION_KEY)
        if not isinstance(version, str) or self._channel.version:
            return {}
        return headers_of(message, version, self._schemas.get(str(params.get("name"))))

    async def _answered(self, message: JsonObject, id: RequestId, response: httpx2.Response) -> None:
        channel, is_handshake = self._channel, message["method"] == "initialize"
        if response.status_code == 200 and kind_of(response) == EVENTS:
            if is_handshake:
                channel.keep_session(response)
            await channel.follow(response, id)
            return
        answer = await channel.whole(response) if kind_of(response) == "application/json" else None
        if isinstance(answer, dict) and "method" not in answer and response.status_code != 401:
            if is_handshake and "result" in answer:
                channel.keep_session(response)
            await self._heard({**answer, "id": id} if answer.get("id") is None else answer)
        elif is_handshake and response.status_code in NOT_SPOKEN:
            await self._open_2024()
            await self._tell(message)
        else:
            raise channel.refused(response.status_code)

    async def _renew(self, expired: str) -> None:
        """The session expired: begin another in the same words, once for all who notice.

        What the server offers may have changed with it, so the link is told to look again.
        """
        async with self._renewing:
            channel, opening, initialized = self._channel, self._opening, self._initialized
            if channel.session != expired:
                return
            if opening is None or initialized is None:
                raise channel.refused(404)
            channel.session = ""
            async with channel.post(opening) as response:
                if response.status_code != 200:
                    raise channel.refused(response.status_code)
                channel.keep_session(response)
            await self._tell(initialized)
            self._start(self._listen())
            for part in ("tools", "prompts", "resources"):
                await self._say(replies.notification(f"notifications/{part}/list_changed"))

    # --- from the server ---

    async def _listen(self) -> None:
        """The stream a legacy server may speak on by itself; many have none, and calls have streams of their own."""
        channel, tail = self._channel, Tail()
        session = channel.session
        while self.alive and session == channel.session and tail.barren <= MAX_RESUMED:
            try:
                async with channel.get(tail) as response:
                    if response.status_code != 200:
                        return
                    await channel.drain(response, None, tail)
            except ProtocolError as problem:
                self._end(str(problem))
                return
            except Unreachable:
                tail.last = ""  # it may come back, and knows nothing of what was
            tail.barren += 1
            await asyncio.sleep(tail.pause)

    async def _heard(self, message: JsonObject) -> None:
        result = message.get("result")
        if "method" not in message and isinstance(result, dict):
            if message.get("id") in self._listing:
                self._listing.discard(message["id"])
                tools = result.get("tools")
                for tool in tools if isinstance(tools, list) else []:
                    if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                        self._schemas[tool["name"]] = tool.get("inputSchema")
            if self._opening is not None and message.get("id") == self._opening["id"]:
                self._channel.version = str(result.get("protocolVersion", ""))[:64]
        await self._say(message)

    async def _say(self, message: JsonObject) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        self._writer.write(encode(message))
        try:
            await self._writer.drain()
        except ConnectionError:
            self._let_go()

    # --- HTTP+SSE, the transport of 2024-11-05 ---

    async def _open_2024(self) -> None:
        """Open the one stream of that transport and learn where to post."""
        place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._start(self._hear_2024(place))
        async with asyncio.timeout(OPENING_SECONDS):
            self._channel.posts = await place

    async def _hear_2024(self, place: "asyncio.Future[str]") -> None:
        channel = self._channel

        def found(text: str) -> None:
            url = str(httpx2.URL(channel.url).join(text))
            if not within(channel.origin, url):
                raise Unreachable(f"{channel.origin} wants messages to go elsewhere, which nobody agreed to")
            if not place.done():
                place.set_result(url)

        try:
            async with channel.get(Tail()) as response:
                if response.status_code != 200 or kind_of(response) != EVENTS:
                    raise channel.refused(response.status_code)
                await channel.drain(response, None, Tail(), found)
            raise Unreachable(f"the stream of {channel.origin} ended")
        except (Unreachable, ProtocolError) as problem:
            if place.done():
                self._end(str(problem))
            else:
                place.set_exception(problem)

    # --- ends ---

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _end(self, reason: str) -> None:
        """It is over with this server; the link hears its streams end and asks why."""
        if self.alive:
            self.ending = reason
            try:
                os.write(self._words, reason.encode("utf-8", "replace")[:LAST_WORDS])
            except OSError:
                pass  # nobody listens to its last words
            self._let_go()

    def _let_go(self) -> None:
        """Close our ends and stop all work.  Idempotent."""
        if not self.alive:
            return
        self.alive = False
        me = asyncio.current_task()
        for task in (*self._work.values(), *self._others):
            if task is not me:
                task.cancel()
        if self._writer is not None:
            self._writer.close()
        else:
            self._near.close()
        os.close(self._words)
