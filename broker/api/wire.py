"""Serve the front desk: lines in, routes called, lines out.

No request reaches a handler without its parameters validated and its access checked.  One caller's fault ends that
request or that connection, never the desk.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from broker.api import schema
from broker.errors import BulkheadError, ConfigError, DeskError, ProtocolError
from broker.model import Peer
from broker.processes import peer_of

MAX_REQUEST: Final = 8 * 1024 * 1024  # a policy document and a proposal's answer are kilobytes
MAX_CALLERS: Final = 64  # windows of one person
WATCH_BACKLOG: Final = 32 * 1024 * 1024  # a watcher that is further behind is dropped and starts again
SEND_SECONDS: Final = 30.0
MAX_HEAD: Final = 64  # lines of a request for a page
WAITED_FOR: Final = (schema.WATCH, schema.PREPARE)
"""What ends when its caller hangs up: nothing of it counts unless somebody is there to hear it."""

_log = logging.getLogger(__name__)


class Caller:
    """Who asks, and how to tell them that long work goes on."""

    def __init__(self, peer: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self._number = number
        self._writer = writer

    def progress(self, text: str) -> None:
        self.event(schema.Progress(text=text))

    def event(self, words: schema.Words) -> None:
        """Send an event; a caller that does not read is dropped before its backlog grows without bound."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > WATCH_BACKLOG:
            transport.abort()
            return
        self._writer.write(_line({"id": self._number, "event": words.model_dump(mode="json")}))


Handler: TypeAlias = Callable[[Caller, Any], Awaitable[schema.Words]]
Page: TypeAlias = Callable[[bytes], bytes]
"""The answer to the head of an HTTP request."""
Gate: TypeAlias = Callable[[Peer, schema.Route], None]
"""Raises `DeskError` when this peer may not use this route."""


class FrontDesk:
    """All callers of one control socket."""

    def __init__(self, handlers: Mapping[str, Handler], gate: Gate, page: Page | None = None) -> None:
        """`page` answers those who ask by HTTP, for numbers and health."""
        missing = schema.ROUTES.keys() ^ handlers.keys()
        if missing:
            raise ConfigError(f"the desk and its routes differ in: {', '.join(sorted(missing))}")
        self._handlers = handlers
        self._gate = gate
        self._page = page
        self._callers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._callers):
            task.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._callers) >= MAX_CALLERS:
            writer.close()
            return
        self._callers.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, BulkheadError, asyncio.CancelledError):
            # It hung up, does not read, cannot be seen, or the daemon stops: what was not said stays unsaid.
            writer.transport.abort()
        finally:
            self._callers.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        while True:
            try:
                text = await reader.readline()
            except ValueError:
                writer.write(_refusal(0, DeskError("the request is too long", code="usage")))
                return
            if not text:
                return
            if text.startswith(b"GET /") and self._page is not None:
                await self._serve_page(text, self._page, peer, reader, writer)
                return
            try:
                writer.write(await self._answer(text, peer, reader, writer))
            except BulkheadError as error:
                writer.write(_refusal(_number(text), error))
            async with asyncio.timeout(SEND_SECONDS):
                await writer.drain()

    async def _serve_page(
        self, first: bytes, page: Page, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What `status` may say, for those who read numbers: one answer, and the line is closed."""
        self._gate(peer, schema.STATUS)
        lines = [first]
        async with asyncio.timeout(SEND_SECONDS):
            while lines[-1].strip() and len(lines) < MAX_HEAD:
                try:
                    lines.append(await reader.readline())
                except ValueError:
                    return
            writer.write(page(b"".join(lines)))
            await writer.drain()

    async def _answer(
        self, text: bytes, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        number, route, params = _understood(text)
        self._gate(peer, route)
        work = asyncio.ensure_future(self._handlers[route.method](Caller(peer, number, writer), params))
        hangup = asyncio.ensure_future(reader.read(1)) if route in WAITED_FOR else None
        try:
            await asyncio.wait({work, hangup} if hangup else {work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ProtocolError("the caller", "hung up")
            return _line({"id": number, "result": work.result().model_dump(mode="json")})
        except BulkheadError:
            raise
        except asyncio.CancelledError:
            raise
        except Exception as cause:  # the top of one conversation: it closes this request, and says so
            _log.exception("the desk failed at %s", route.method)
            raise DeskError(
                f"{route.method} failed inside the daemon: {type(cause).__name__}", code="internal"
            ) from cause
        finally:
            work.cancel()
            if hangup is not None:
                hangup.cancel()
                await asyncio.gather(hangup, return_exceptions=True)  # nobody else may read meanwhile


class _Request(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)  # unknown keys are refused below, once the version is known
    v: Any
    id: int
    method: str
    params: dict[str, Any] = {}


def _understood(text: bytes) -> tuple[int, schema.Route, schema.Words]:
    """The request's number, its route and its parameters.

    Raises:
        DeskError: it is not in the desk's language, or says more or less than its route takes.
    """
    try:
        request = _Request.model_validate_json(text)
    except ValidationError as cause:
        raise DeskError(f"the desk does not know this request: {_first(cause)}", code="usage") from cause
    if request.v != schema.VERSION:
        raise DeskError(
            f"the caller speaks version {str(request.v)[:20]} of the desk's language, this daemon {schema.VERSION}",
            hint="restart the daemon: bulkhead down",
            code="version",
        )
    route = schema.ROUTES.get(request.method)
    if route is None or request.model_extra:
        raise DeskError("the desk does not know this request", hint="bulkhead --help", code="usage")
    try:
        return request.id, route, route.params.model_validate(request.params)
    except ValidationError as cause:
        raise DeskError(f"{request.method}: {_first(cause)}", code="usage") from cause


def _first(problem: ValidationError) -> str:
    error = problem.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _number(text: bytes) -> int:
    try:
        return int(json.loads(text)["id"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0


def _refusal(number: int, error: BulkheadError) -> bytes:
    code = error.code if isinstance(error, DeskError) else "refused"
    return _line({"id": number, "error": {"code": code, "what": str(error), "hint": error.hint}})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
