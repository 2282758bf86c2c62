"""Requests somebody still waits for, by the side that made them.

An id is taken until its answer was passed on, so that an answer can only ever go to the request it belongs to.  The id
of a cancelled request stays taken for a while too: its answer may still be under way.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from broker.model import Call, Decision, JsonObject
from broker.protocol.replies import RequestId

MAX_ABANDONED: Final = 256  # answers to cancelled requests come soon or never
MAX_LINGERING: Final = 64  # progress tokens of tasks that go on after their call was answered


class Place(Enum):
    """Where a request is right now."""

    QUESTION = "question"  # a person is asked about it
    PARKED = "parked"  # the server is not ready for it
    PEER = "peer"  # sent on; the answer is awaited
    LISTENING = "listening"  # a subscription: it has no answer until it ends
    RESTING = "resting"  # it got no answer, and is tried again in a while
    RESULT = "result"  # answered, and a person is asked about the answer


@dataclass(frozen=True, slots=True)
class Said:
    """What a client's person said to a question known as `mark`; `allowed` is None where they gave no answer."""

    mark: str
    allowed: bool | None


@dataclass(slots=True)
class OpenRequest:
    """One request and how far it has come.  `message` is the judged object itself."""

    id: RequestId
    method: str
    target: str
    message: JsonObject
    size: int
    token: RequestId | None = None
    call: Call | None = None
    place: Place = Place.PARKED
    question: int = 0
    questions: int = 0
    asked: Decision | None = None
    consent: Decision | None = None
    answer: JsonObject | None = None
    inputs: list[Call] = field(default_factory=list)
    progress: int = 0
    turn: int = 0
    said: Said | None = None
    at_desk: bool = False
    """Its client gave no answer: the question is put to the desk."""

    @property
    def durable(self) -> bool:
        """Its answer belongs on the disk before anybody sees it: a person was asked about this request."""
        return self.questions > 0


class OpenRequests:
    """All requests one side made and nobody has answered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[RequestId, OpenRequest] = {}
        self._abandoned: OrderedDict[RequestId, None] = OrderedDict()
        self._lingering: deque[RequestId] = deque(maxlen=MAX_LINGERING)

    def __contains__(self, request: RequestId) -> bool:
        return request in self._open or request in self._abandoned

    @property
    def full(self) -> bool:
        return len(self._open) >= self._limit

    def add(self, request: OpenRequest) -> None:
        self._open[request.id] = request

    def get(self, request: RequestId) -> OpenRequest | None:
        return self._open.get(request)

    def at(self, *places: Place) -> list[OpenRequest]:
        """Those in one of `places`, oldest first."""
        return [request for request in self._open.values() if request.place in places]

    def close(self, request: OpenRequest) -> None:
        """Its answer is passed on: the id is free again."""
        del self._open[request.id]

    def abandon(self, request: OpenRequest) -> None:
        """It was cancelled: an answer may still come and is for nobody."""
        del self._open[request.id]
        self.expect_late(request.id)

    def expect_late(self, request: RequestId) -> None:
        """An answer that is for nobody may still come under this id."""
        self._abandoned[request] = None
        if len(self._abandoned) > MAX_ABANDONED:
            self._abandoned.popitem(last=False)

    def settle_abandoned(self, request: RequestId) -> bool:
        """The late answer came.  False when no cancelled request has that id."""
        if request not in self._abandoned:
            return False
        del self._abandoned[request]
        return True

    def forget_abandoned(self) -> None:
        """Whoever could have answered late is gone."""
        self._abandoned.clear()

    def linger(self, request: OpenRequest) -> None:
        """Its answer was a task: progress on it may still be told."""
        if request.token is not None:
            self._lingering.append(request.token)

    def expects(self, token: object) -> bool:
        """Whether somebody wants progress under this token.  Compared with its type: 1 is not True."""
        wanted = [request.token for request in self._open.values() if request.token is not None]
        return any(type(token) is type(each) and token == each for each in (*wanted, *self._lingering))
