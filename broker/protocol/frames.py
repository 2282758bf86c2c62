"""Bytes to messages and back.

We forward what we judged: a line is decoded strictly, judged, and encoded again from the very object that was judged.
The peer's own bytes never pass through, because two parsers may read one text in two ways.  Most lines are, byte for
byte, what we would write ourselves: that is found out when they are decoded, proves that they can be read in one way
only, and saves writing them again.

A line that is no message is a fault of its own and never ends the decoder: the faulty line is skipped to its end and
the next one counts again.  What a fault means is the conversation's business: a client is told (`Fault.reply`) and its
link lives on; a server's line is recorded, dropped and counted, and too many end the link.
"""

import json
import re
from dataclasses import dataclass, field
from itertools import accumulate
from math import isfinite
from typing import Any, Final, TypeGuard

import orjson

from broker.errors import ProtocolError
from broker.model import JsonObject, Side
from broker.protocol.replies import INVALID_REQUEST, PARSE_ERROR
from broker.protocol.replies import error as error_reply

MAX_FRAME: Final = 4 * 1024 * 1024  # the MCP SDK's own bound for one HTTP body; a person may give a server more
MAX_GROWTH: Final = 16 * 1024 * 1024  # writing a message anew can make it longer: 1e15 becomes 1000000000000000.0
MAX_BATCH: Final = 64  # messages in one; as many as may wait for a person
MAX_DEPTH: Final = 128  # the deepest published tool schema seen nests 20; the SDK's parser stops near 200

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # the last quote is optional: no backtracking
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEP: Final = tuple(1 if byte in b"[{" else -1 for byte in range(256))
_LOOKED_AT: Final = 64  # bytes: enough to see whether its writer puts blanks behind colons
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half a character


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line is no message: `error` names who sent it, `reply` is the JSON-RPC error its sender deserves."""

    error: ProtocolError
    reply: JsonObject
    overlong: bool = False
    """Nobody read the line: it was longer than the limit, which is the frame's `size`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of the wire: a message, a fault, or a batch; `size` counts its bytes without the line end.

    `line` is what `encode` makes of the message, where that is known already; else it is empty.
    """

    size: int
    message: JsonObject | None = None
    fault: Fault | None = None
    batch: tuple[JsonObject, ...] = ()
    line: bytes = field(default=b"", compare=False, repr=False)


class FrameDecoder:
    """Cut a byte stream into messages.  Feed it any chunks; the cuts never matter, and nothing is ever raised.

    Work is linear in the bytes fed.  At most `max_frame` bytes are kept: of a longer line the fault is reported at
    once and the rest is skipped as it comes; a flood that never ends its line is a new fault every `max_frame` bytes.
    With `batches`, a list of messages is a batch; whether there may be any is for others to say.
    """

    def __init__(
        self, who: Side, max_frame: int = MAX_FRAME, max_depth: int = MAX_DEPTH, *, batches: bool = False
    ) -> None:
        self._who = who
        self._batches = batches
        self._max_frame = max_frame
        self._max_depth = max_depth
        self._line = (
            bytearray()
        )  # of the open line; the many small pieces of a slow sender would cost more than they say
        self._held = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
        frames: list[Frame] = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            if self._held or len(piece) > self._max_frame:
                self._take(piece, frames)
                self._end_line(frames)
            elif piece and (piece[:1] == b"{" or piece.strip(b" \t\r")):
                frames.append(self._decode(piece))  # a line that came in one piece is not copied
        if rest:
            self._take(rest, frames)
        return frames

    def _take(self, piece: bytes, frames: list[Frame]) -> None:
        """Keep a piece of the open line, or skip it when the line is too long already."""
        self._held += len(piece)
        if self._held > self._max_frame:
            self._skipping = True
            self._line.clear()
        elif not self._skipping:
            self._line += piece
        while self._held > self._max_frame:
            self._held -= self._max_frame
            what = f"sent a line longer than {self._max_frame} bytes"
            frames.append(self._fault(self._max_frame, INVALID_REQUEST, what, overlong=True))

    def _end_line(self, frames: list[Frame]) -> None:
        line, skipped = bytes(self._line), self._skipping
        self._line.clear()
        self._held = 0
        self._skipping = False
        if not skipped and line.strip(b" \t\r"):
            frames.append(self._decode(line))

    def _decode(self, line: bytes) -> Frame:
        size = len(line)
        try:
            value, ours = _decoded(line, self._max_depth)
        except ValueError as cause:
            why = str(cause) if isinstance(cause, NotStrict) else "it is not JSON in UTF-8"
            return self._fault(size, PARSE_ERROR, f"sent a line that is no message: {why}")
        if isinstance(value, list) and self._batches:
            return self._batch(value, size)
        if isinstance(value, list):
            return self._fault(size, INVALID_REQUEST, "sent a batch, and only one message a line is taken")
        if not isinstance(value, dict):
            return self._fault(size, INVALID_REQUEST, "sent JSON that is not an object")
        if _has_odd_id(value):
            return self._fault(size, INVALID_REQUEST, "sent an id that is neither text nor a whole number")
        return Frame(size, message=value, line=line + b"\n" if ours else b"")

    def _batch(self, found: list[Any], size: int) -> Frame:
        if not 0 < len(found) <= MAX_BATCH:
            return self._fault(size, INVALID_REQUEST, f"sent a batch of no messages, or of more than {MAX_BATCH}")
        if not all(isinstance(each, dict) and not _has_odd_id(each) for each in found):
            return self._fault(size, INVALID_REQUEST, "sent a batch with something in it that is no message")
        return Frame(size, batch=tuple(found))

    def _fault(self, size: int, code: int, what: str, *, overlong: bool = False) -> Frame:
        error = ProtocolError(self._who, what, hint="one JSON-RPC 2.0 object a line, in UTF-8, no key twice")
        return Frame(size, fault=Fault(error, error_reply(None, code, str(error)), overlong))


def encode(message: JsonObject | tuple[JsonObject, ...]) -> bytes:
    """One line: a message, or a batch.

    Raises:
        ValueError: it holds NaN, an infinity, or half a surrogate pair; no decoder of ours lets these in.
    """
    try:
        line = orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a number of more than 64 bits, half a surrogate pair, or very deep
        line = b""
    if line and b"null" not in line:  # it writes NaN as null
        return line
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n"


def strict_json(text: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """What `text` says, if it can be read in one way only.

    Raises:
        ValueError: not UTF-8 or not JSON; `NotStrict` where a rule of ours says no.
    """
    return _decoded(text, max_depth)[0]


def _decoded(text: bytes, max_depth: int) -> tuple[Any, bool]:
    """What `text` says, and whether it is byte for byte what we write for that."""
    if _deeper_than(text, max_depth):
        raise NotStrict(f"it is nested deeper than {max_depth} levels")
    value = _read_back(text)
    return (value, True) if value is not None else (_read_strictly(text), False)


def _read_back(text: bytes) -> Any:
    """What a text says that is exactly what we would write for it; None where it is not, or says null.

    The fast parser keeps the last of two equal keys, rounds large numbers and the like: each changes what it writes.
    """
    if b"\\u" in text or b'": ' in text[:_LOOKED_AT]:  # written in another style: it could not be the same
        return None
    try:
        value = orjson.loads(text)
        return value if orjson.dumps(value) == text else None
    except (ValueError, TypeError):
        return None  # the strict reading says why


def _read_strictly(text: bytes) -> Any:
    string = text.decode("utf-8")  # json.loads(bytes) would also accept UTF-16 and UTF-32
    try:
        value: Any = json.loads(string, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(string):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character cannot be sent on
    except UnicodeEncodeError as cause:
        raise NotStrict("it has half a surrogate pair") from cause
    except RecursionError as cause:  # an interpreter with a small stack may give up before our own bound
        raise NotStrict("it is nested too deep") from cause
    return value


class NotStrict(ValueError):
    """A rule of strict JSON, named for the sender."""


def is_request_id(value: object) -> TypeGuard[str | int]:
    """What MCP allows as an id.  `True` would pass for request 1, and null turns a request into a notification."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrict("an object has a key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise NotStrict("it has a number JSON cannot carry")
    return number


def _has_odd_id(message: JsonObject) -> bool:
    return "id" in message and not is_request_id(message["id"]) and not _is_error_without_id(message)


def _is_error_without_id(message: JsonObject) -> bool:
    """JSON-RPC lets a peer say with id null that it could not read what we sent."""
    return message["id"] is None and "error" in message and "method" not in message


def _deeper_than(line: bytes, limit: int) -> bool:
    """Found on the text, so that no parser ever descends; only lines with many brackets are looked at closely."""
    if line.count(b"[") + line.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", line).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > limit
