"""Which stream of one legacy HTTP session a message of the server goes to, and what can be sent again.

An answer goes where its request came from, progress too; a request of the server goes to the call it must belong to;
all else goes to the stream the client opened by GET.  What was sent is kept for a while, bounded, and can be resumed
at the event a client saw last.  Pure.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject
from broker.protocol.envelope import Request
from broker.protocol.replies import RequestId

UNASKED: Final = 0  # the number of the stream a client opens by GET
MAX_KEPT: Final = 16 * 1024 * 1024  # beside one largest message, bytes of one session that were sent, or wait to be
MAX_STREAMS: Final = 512  # of one session; 256 requests may be open
_NEWS: Final = ("list_changed", "updated")  # of no request's making


@dataclass(slots=True)
class Stream:
    """What goes to one response.  `sent` is the number of the last event handed to a connection."""

    number: int
    waiting: set[RequestId] = field(default_factory=set)
    tokens: set[RequestId] = field(default_factory=set)
    log: deque[tuple[int, str]] = field(default_factory=deque)
    last: int = 0
    sent: int = 0
    holder: int = 0
    """Counts the connections that took the stream over; only the latest may send."""

    @property
    def over(self) -> bool:
        """All its requests are answered."""
        return self.number != UNASKED and not self.waiting

    @property
    def unsent(self) -> list[tuple[int, str]]:
        return [event for event in self.log if event[0] > self.sent]


class Streams:
    """All streams of one session."""

    def __init__(self, most: int = 0) -> None:
        self._most = MAX_KEPT + most
        self.unasked = Stream(UNASKED)
        self._streams: dict[int, Stream] = {UNASKED: self.unasked}
        self._numbers = 0
        self._kept = 0

    def __contains__(self, request: RequestId) -> bool:
        return self._of(request) is not None

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer."""
        return any(stream.waiting for stream in self._streams.values())

    def make_room(self) -> bool:
        """Whether another stream can be kept; one that is over and was sent whole gives way."""
        return len(self._streams) < MAX_STREAMS or self._forget_one(finished_only=True)

    @property
    def overflowing(self) -> bool:
        """More waits for the client than is kept for it: it has to begin anew."""
        return self._kept > self._most

    def open(self, requests: Iterable[Request]) -> Stream:
        """A stream for the answers to these."""
        self._numbers += 1
        stream = self._streams[self._numbers] = Stream(self._numbers)
        _expect(stream, requests)
        return stream

    def join(self, requests: Iterable[Request]) -> None:
        """The answers to these go to the stream opened by GET, as all did in the first transport by HTTP."""
        _expect(self.unasked, requests)

    def put(self, message: JsonObject, text: str) -> Stream | None:
        """Queue a message of the server; None if nobody can be meant by it."""
        stream = self._route(message)
        if stream is not None:
            stream.last += 1
            stream.log.append((stream.last, text))
            self._kept += len(text)
            while self._kept > self._most and self._forget_one(finished_only=False):
                pass
        return stream

    def cancelled(self, request: RequestId) -> Stream | None:
        """The client waits for this answer no longer."""
        stream = self._of(request)
        if stream is not None:
            stream.waiting.discard(request)
        return stream

    def resume(self, event: str) -> Stream | None:
        """The stream an event belongs to, set to go on behind it; None if that can no longer be done."""
        number, _, last = event.partition("-")
        if not all(part.isascii() and part.isdigit() and len(part) <= 12 for part in (number, last)):
            return None
        stream, seen = self._streams.get(int(number)), int(last)
        if stream is None or seen > stream.last or (stream.log and stream.log[0][0] > seen + 1):
            return None
        if not stream.log and seen < stream.last:
            return None
        stream.sent = seen
        return stream

    def drop(self, stream: Stream) -> None:
        """Its answer was taken whole: there is nothing to resume."""
        if self._streams.pop(stream.number, None) is not None:
            self._kept -= sum(len(text) for _, text in stream.log)

    def _of(self, request: RequestId) -> Stream | None:
        return next((stream for stream in self._streams.values() if _has(stream.waiting, request)), None)

    def _route(self, message: JsonObject) -> Stream | None:
        open_streams = [stream for stream in self._streams.values() if stream.waiting]
        method = message.get("method")
        if method is None:
            identifier = message.get("id")
            stream = self._of(identifier) if identifier is not None else next(reversed(open_streams), None)
            if stream is not None:
                stream.waiting.discard(identifier) if identifier is not None else stream.waiting.clear()
            return stream
        if method == "notifications/progress":
            token = message.get("params", {}).get("progressToken")
            return next((stream for stream in self._streams.values() if _has(stream.tokens, token)), self.unasked)
        if str(method).endswith(_NEWS) or not open_streams or (len(open_streams) > 1 and self.unasked.holder):
            return self.unasked
        return open_streams[-1]

    def _forget_one(self, *, finished_only: bool) -> bool:
        """Let go of the oldest that was sent already; false if there is none."""
        for stream in self._streams.values():
            if stream.over and stream.sent >= stream.last:
                self.drop(stream)
                return True
        for stream in self._streams.values():
            if not finished_only and stream.log and stream.log[0][0] <= stream.sent:
                self._kept -= len(stream.log.popleft()[1])
                return True
        return False


def _expect(stream: Stream, requests: Iterable[Request]) -> None:
    for request in requests:
        stream.waiting.add(request.id)
        token = request.meta.get("progressToken")
        if isinstance(token, str | int):
            stream.tokens.add(token)


def _has(known: set[RequestId], value: object) -> bool:
    """Compared with its type: 1 is not True."""
    return any(type(each) is type(value) and each == value for each in known)
