"""Events of a text/event-stream, to bytes and back.  Bounded: an event that never ends is a fault, not a buffer.

Pure; the work is linear in the bytes fed, wherever they are cut.
"""

from dataclasses import dataclass
from typing import Final

from broker.errors import ProtocolError
from broker.model import Side
from broker.protocol.frames import MAX_FRAME

MAX_FIELD: Final = 1024  # characters of an event's id or name
COMMENT: Final = b":\n\n"
"""Keeps a quiet connection open and means nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.  `retry` is in milliseconds."""

    data: str
    name: str = "message"
    id: str | None = None
    retry: int | None = None


def write(data: str, *, id: str = "", name: str = "", retry: int | None = None) -> bytes:
    """An event; `data` is one line, as JSON always is."""
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {id}"] if id else []
    lines += [f"retry: {retry}"] if retry is not None else []
    return "\n".join([*lines, f"data: {data}", "", ""]).encode("utf-8")


class EventDecoder:
    """Cut a byte stream into events.  Feed it any chunks; the cuts never matter."""

    def __init__(self, who: Side, max_event: int = MAX_FRAME) -> None:
        self._who = who
        self._max_event = max_event
        self._line = bytearray()
        self._after_return = False
        self._first = True
        self._data: list[str] = []
        self._size = 0
        self._name = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            ProtocolError: an event is too long, or not in UTF-8.
        """
        events: list[Event] = []
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        if data:
            self._after_return = data.endswith(b"\r")
        *whole, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in whole:
            self._keep(piece)
            line = bytes(self._line)
            self._line.clear()
            if self._first:
                line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
            if line:
                self._field(line)
            else:
                self._end(events)
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        self._line += piece
        if len(self._line) + self._size > self._max_event:
            raise ProtocolError(self._who, f"sent an event longer than {self._max_event} bytes")

    def _field(self, line: bytes) -> None:
        try:
            name, _, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError as cause:
            raise ProtocolError(self._who, "sent an event that is not UTF-8") from cause
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line) + 1
        elif name == "event" and len(value) <= MAX_FIELD:
            self._name = value
        elif name == "id" and len(value) <= MAX_FIELD and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= 9:
            self._retry = int(value)

    def _end(self, events: list[Event]) -> None:
        if self._data or self._id is not None or self._retry is not None:
            events.append(Event("\n".join(self._data), self._name or "message", self._id, self._retry))
        self._clear()

    def _clear(self) -> None:
        self._data, self._size = [], 0
        self._name, self._id, self._retry = "", None, None
