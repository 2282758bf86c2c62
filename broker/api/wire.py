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

from pydantic import ValidationError

from broker.api import schema
from broker.errors import BulkheadError, ConfigError, DeskError, ProtocolError
from broker.model import Peer
from broker.processes import peer_of

MAX_REQUEST: Final = 8 * 1024 * 1024  # a policy document and a proposal's answer are kilobytes
MAX_CALLERS: Final = 64  # windows of one person
WATCH_BACKLOG: Final = 32 * 1024 * 1024  # a watcher that is further behind is dropped and starts again
SEND_SECONDS: Final = 30.0

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
Gate: TypeAlias = Callable[[Peer, schema.Route], None]
"""Raises `DeskError` when this peer may not use this route."""


class FrontDesk:
    """All callers of one control socket."""

    def __init__(self, handlers: Mapping[str, Handler], gate: Gate) -> None:
        missing = schema.ROUTES.keys() ^ handlers.keys()
        if missing:
            raise ConfigError(f"the desk and its routes differ in: {', '.join(sorted(missing))}")
        self._handlers = handlers
        self._gate = gate
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
        except (OSError, asyncio.CancelledError):
            pass  # the caller hung up, or the daemon stops; there is nobody to tell
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
            try:
                number, answer = await self._answer(text, peer, reader, writer)
            except BulkheadError as error:
                number, answer = _number(text), None
                writer.write(_refusal(number, error))
            if answer is not None:
                writer.write(_line({"id": number, "result": answer.model_dump(mode="json")}))
            async with asyncio.timeout(SEND_SECONDS):
                await writer.drain()

    async def _answer(
        self, text: bytes, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, schema.Words]:
        try:
            request = json.loads(text)
            number, method = int(request["id"]), str(request["method"])
            if request["v"] != schema.VERSION:
                raise DeskError(
                    f"the caller speaks version {request['v']!r} of the desk's language, this daemon {schema.VERSION}",
                    hint="restart the daemon: bulkhead down",
                    code="version",
                )
            route = schema.ROUTES[method]
            params = route.params.model_validate(request.get("params", {}))
        except ValidationError as cause:
            raise DeskError(f"{method}: {_first(cause)}", code="usage") from cause
        except (ValueError, KeyError, TypeError) as cause:
            raise DeskError("the desk does not know this request", hint="bulkhead help", code="usage") from cause
        self._gate(peer, route)
        work = asyncio.ensure_future(self._handlers[method](Caller(peer, number, writer), params))
        hangup = asyncio.ensure_future(reader.read(1)) if route is schema.WATCH else None
        try:
            await asyncio.wait({work, hangup} if hangup else {work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ProtocolError("the watcher", "hung up")
            return number, work.result()
        except BulkheadError:
            raise
        except asyncio.CancelledError:
            raise
        except Exception as cause:  # the top of one conversation: it closes this request, and says so
            _log.exception("the desk failed at %s", method)
            raise DeskError(f"{method} failed inside the daemon: {type(cause).__name__}", code="internal") from cause
        finally:
            work.cancel()
            if hangup is not None:
                hangup.cancel()


def _first(problem: ValidationError) -> str:
    error = problem.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _number(text: bytes) -> int:
    try:
        return int(json.loads(text)["id"])
    except (ValueError, KeyError, TypeError):
        return 0


def _refusal(number: int, error: BulkheadError) -> bytes:
    code = error.code if isinstance(error, DeskError) else "refused"
    return _line({"id": number, "error": {"code": code, "what": str(error), "hint": error.hint}})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
