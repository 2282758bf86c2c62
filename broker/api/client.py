"""Ask the front desk: what the command line and the screen use, and nothing else.

One connection carries one question at a time; `watch` takes a connection of its own.  The desk's refusals come back as
`DeskError` with the desk's own words and hint.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from broker.api import schema
from broker.errors import DaemonUnreachable, DeskError

MAX_LINE: Final = 32 * 1024 * 1024  # a snapshot with thousands of tools stays far below
CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 1800.0  # between two lines of an answer; long work tells how far it is
_LOOK: Final = "see: bulkhead status"
_WATCH_EVENT: Final[TypeAdapter[schema.WatchEvent]] = TypeAdapter(schema.WatchEvent)

Answer = TypeVar("Answer", bound=schema.Words)


class DeskClient:
    """A person's side of `control.sock`.

    Usage: `async with DeskClient(socket_path) as desk: status = await desk.ask(schema.STATUS, schema.Nothing(), ...)`.
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._next_id = 0

    async def __aenter__(self) -> "DeskClient":
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._reader, self._writer = await asyncio.open_unix_connection(str(self._path), limit=MAX_LINE)
        except (OSError, TimeoutError) as cause:
            raise DaemonUnreachable(f"no daemon answers at {self._path}", hint="start it with: bulkhead up") from cause
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def ask(
        self,
        route: schema.Route,
        params: schema.Words,
        answer: type[Answer],
        *,
        progress: Callable[[str], None] = lambda _text: None,
        to_do: Callable[[schema.ToDo], None] = lambda _what: None,
    ) -> Answer:
        """Send one request and return its answer; `progress` hears of long work, `to_do` of what a person must do.

        Raises:
            DeskError: the desk said no, and why.
            DaemonUnreachable: the connection broke, or nothing was heard of the work for `ANSWER_SECONDS`.
        """
        number = await self._send(route, params)
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    line = await self._line(number)
            except TimeoutError as cause:
                raise DaemonUnreachable(
                    f"the daemon said nothing about {route.method} for {ANSWER_SECONDS:.0f} s", hint=_LOOK
                ) from cause
            if "event" in line:
                if line["event"].get("event") == "to do":
                    to_do(schema.ToDo.model_validate(line["event"]))
                else:
                    progress(str(line["event"].get("text", "")))
                continue
            try:
                return answer.model_validate(line.get("result"))
            except ValidationError as cause:
                raise _foreign() from cause

    async def watch(self) -> AsyncIterator[schema.WatchEvent]:
        """A snapshot first, then changes, until the connection ends (then `DaemonUnreachable`)."""
        number = await self._send(schema.WATCH, schema.Nothing())
        while True:
            line = await self._line(number)
            if "event" not in line:
                return
            try:
                event = _WATCH_EVENT.validate_python(line["event"])
            except ValidationError as cause:
                raise _foreign() from cause
            yield event

    async def _send(self, route: schema.Route, params: schema.Words) -> int:
        if self._writer is None:
            raise DaemonUnreachable("the desk is not open")
        self._next_id += 1
        request = {
            "v": schema.VERSION,
            "id": self._next_id,
            "method": route.method,
            "params": params.model_dump(mode="json"),
        }
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        except OSError as cause:
            raise DaemonUnreachable("the daemon closed the connection") from cause
        return self._next_id

    async def _line(self, number: int) -> dict[str, Any]:
        if self._reader is None:
            raise DaemonUnreachable("the desk is not open")
        try:
            text = await self._reader.readline()
        except (OSError, ValueError) as cause:
            raise DaemonUnreachable("the daemon's answer could not be read") from cause
        if not text:
            raise DaemonUnreachable("the daemon closed the connection", hint=_LOOK)
        try:
            line = json.loads(text)
        except ValueError as cause:
            raise DaemonUnreachable("the daemon broke off in the middle of its answer", hint=_LOOK) from cause
        if not isinstance(line, dict) or line.get("id") != number:
            raise DaemonUnreachable("the daemon answered another question", hint=_LOOK)
        if "error" in line:
            error = line["error"]
            raise DeskError(str(error["what"]), hint=str(error.get("hint", "")), code=str(error.get("code", "refused")))
        return line


def _foreign() -> DaemonUnreachable:
    return DaemonUnreachable("the daemon speaks in words this program does not know", hint="restart it: bulkhead down")
