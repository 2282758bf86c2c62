"""The desk where a person is asked.  No answer is a no.

A question is open until it is answered, withdrawn, or its deadline passes; whoever asked gets exactly one answer.  An
answer repeats the digest of everything the person was shown, so a yes is never taken for something else.
"""

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias

from broker.errors import DeskError
from broker.model import (
    Answer,
    ClientName,
    JsonObject,
    Lifetime,
    Question,
    QuestionId,
    QuestionKind,
    ServerName,
    SessionId,
)

MAX_OPEN_PER_CLIENT: Final = 32  # a person who has not read 32 cards will not read the next one either
MAX_OPEN: Final = 256
MAX_UNSEEN: Final = 256  # changes a watcher may lag behind; a slower one begins again with a snapshot

NO_ANSWER: Final = Answer(False, by="deadline")
WITHDRAWN: Final = Answer(False, by="withdrawn")
CLOSED: Final = Answer(False, by="desk closed")
TOO_MANY: Final = Answer(False, by="too many open questions")
NOT_THE_NUMBER: Final = Answer(False, by="a wrong number, three times")
MAX_NUMBERS: Final = 3
USED: Final = Answer(False, by="the yes was for one call, and another identical call used it")


@dataclass(frozen=True, slots=True)
class Opened:
    """A new question waits."""

    question: Question


@dataclass(frozen=True, slots=True)
class Closed:
    """A question waits no longer."""

    question: Question
    answer: Answer


Change: TypeAlias = Opened | Closed


class Ticket:
    """One asker's claim to the answer.  `question` is what is on the desk; several tickets may share it."""

    def __init__(self, question: Question, desk: "ConsentDesk | None", future: asyncio.Future[Answer]) -> None:
        self.question = question
        self._desk = desk
        self._future = future
        self.late = False
        """Whoever asked waits no longer, and takes the answer for the next time only if nobody waits for it now."""

    @property
    def answered(self) -> bool:
        return self._future.done()

    async def answer(self) -> Answer:
        """Wait for the answer.  It comes no later than the deadline of the question."""
        return await asyncio.shield(self._future)

    def withdraw(self) -> None:
        """Nobody needs the answer any more.  The question goes when its last ticket does."""
        if self._desk is not None:
            self._desk._leave(self)


@dataclass(slots=True)
class _Waiting:
    """A question on the desk and who waits for it, the first asker first."""

    question: Question
    timer: asyncio.TimerHandle
    tickets: list[Ticket] = field(default_factory=list)
    number: str = field(default="", repr=False)
    tries: int = 0


class Watcher:
    """Changes at the desk, in order.  One that falls behind by more than its bound is `dropped` and ends."""

    def __init__(self, desk: "ConsentDesk", bound: int) -> None:
        self._desk = desk
        self._bound = bound
        self._unseen: deque[Change] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self.dropped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            while self._unseen:
                yield self._unseen.popleft()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """Watch no longer.  What was not read yet can still be read."""
        self._ended = True
        self._desk._watchers.discard(self)
        self._news.set()

    def _tell(self, change: Change) -> None:
        if len(self._unseen) >= self._bound:
            self.dropped = True
            self._unseen.clear()  # a part of the changes would be worse than none
            self.close()
            return
        self._unseen.append(change)
        self._news.set()


class ConsentDesk:
    """All open questions.  Belongs to one event loop."""

    def __init__(
        self,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        *,
        per_client: int = MAX_OPEN_PER_CLIENT,
        in_all: int = MAX_OPEN,
    ) -> None:
        """`clock` gives seconds since the epoch, `new_id` a name nobody can guess."""
        self._clock = clock
        self._new_id = new_id
        self._per_client = per_client
        self._in_all = in_all
        self._open: dict[QuestionId, _Waiting] = {}
        self._watchers: set[Watcher] = set()
        self._closed = False

    def ask(
        self,
        kind: QuestionKind,
        *,
        client: ClientName,
        server: ServerName,
        session: SessionId,
        what: str,
        why: str,
        digest_of: bytes | JsonObject,
        evidence: tuple[str, ...] = (),
        detail: str = "",
        wait_seconds: float,
        number: str = "",
        reach: str = "",
    ) -> Ticket:
        """Put a question to the person.  With a `number`, which stands elsewhere, a yes has to repeat it.
        `reach` says how far a yes for always would go.

        `digest_of` is what exactly is asked about; with all that is shown it makes the question's digest.  A session
        that asks the very same again while it is open joins the open question.  Where too many are open, or the desk
        is closed, the ticket is answered with no at once.
        """
        asked = self._clock()
        digest = _digest(kind, client, server, what, why, digest_of, evidence, detail)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        for waiting in self._open.values():
            if (waiting.question.session, waiting.question.digest) == (session, digest):
                ticket = Ticket(waiting.question, self, future)
                waiting.tickets.append(ticket)
                return ticket
        question = Question(QuestionId(self._new_id()), kind, client, server, session, what, why, digest, asked,
                            asked + wait_seconds, evidence, detail, bool(number), reach)  # fmt: skip
        refusal = CLOSED if self._closed else TOO_MANY if self._is_full(client) else None
        if refusal is not None:
            future.set_result(refusal)
            return Ticket(question, None, future)
        ticket = Ticket(question, self, future)
        timer = asyncio.get_running_loop().call_later(max(0.0, wait_seconds), self._settle, question.id, NO_ANSWER)
        self._open[question.id] = _Waiting(question, timer, [ticket], number)
        self._tell(Opened(question))
        return ticket

    def answer(
        self, id: QuestionId, digest: str, *, allowed: bool, lifetime: Lifetime = "once", by: str, number: str = ""
    ) -> Question:
        """Answer a question; `by` says who did.  Returns the question.

        Raises:
            DeskError: no such question is open (`unknown`), `digest` is not what it asks (`replaced`), or a yes lacks
                the number that stands elsewhere (`number`); the third wrong one is a no.
        """
        waiting = self._open.get(id)
        if waiting is not None and self._clock() >= waiting.question.deadline:
            self._settle(id, NO_ANSWER)  # the timer does not run while the machine sleeps; the deadline does
            waiting = None
        if waiting is None:
            raise DeskError("this question is not open: it was answered, withdrawn, or its time is over",
                            hint="see what is open: bulkhead pending", code="unknown")  # fmt: skip
        if digest != waiting.question.digest:
            raise DeskError("this answer is for another question than the one that is open",
                            hint="look at it again: bulkhead pending", code="replaced")  # fmt: skip
        if allowed and waiting.number and not hmac.compare_digest(waiting.number.encode(), number.encode()):
            waiting.tries += 1
            if waiting.tries >= MAX_NUMBERS:
                self._settle(id, NOT_THE_NUMBER)
            raise DeskError("this is not the number that the page shows; the third wrong one is a no",
                            hint=f"bulkhead approve {id} --number NUMBER", code="number")  # fmt: skip
        self._settle(id, Answer(allowed, lifetime if allowed else "once", by))
        return waiting.question

    def find(self, id: QuestionId) -> Question | None:
        """The open question with this id."""
        waiting = self._open.get(id)
        return waiting.question if waiting else None

    def open(self) -> tuple[Question, ...]:
        """Every open question, the oldest first."""
        return tuple(waiting.question for waiting in self._open.values())

    def withdraw(self, id: QuestionId) -> None:
        """Take a question off the desk, whoever waits for it.  One that is not open is no error."""
        self._settle(id, WITHDRAWN)

    def end_session(self, session: SessionId) -> None:
        """Take every question of this session off the desk."""
        for question in self.open():
            if question.session == session:
                self._settle(question.id, WITHDRAWN)

    def close(self) -> None:
        """Answer everything with no, now and from now on, and let the watchers go."""
        self._closed = True
        for question in self.open():
            self._settle(question.id, CLOSED)
        for watcher in tuple(self._watchers):
            watcher.close()

    def subscribe(self, bound: int = MAX_UNSEEN) -> Watcher:
        """Watch the desk from now on; take a snapshot with `open` in the same breath."""
        watcher = Watcher(self, bound)
        if self._closed:
            watcher.close()
        else:
            self._watchers.add(watcher)
        return watcher

    def _is_full(self, client: ClientName) -> bool:
        of_client = sum(waiting.question.client == client for waiting in self._open.values())
        return of_client >= self._per_client or len(self._open) >= self._in_all

    def _leave(self, ticket: Ticket) -> None:
        waiting = self._open.get(ticket.question.id)
        if waiting is None or ticket not in waiting.tickets:
            return
        if len(waiting.tickets) == 1:
            self._settle(ticket.question.id, WITHDRAWN)
            return
        waiting.tickets.remove(ticket)
        _give(ticket, WITHDRAWN)

    def _settle(self, id: QuestionId, answer: Answer) -> None:
        waiting = self._open.pop(id, None)
        if waiting is None:
            return
        waiting.timer.cancel()
        first, *others = sorted(waiting.tickets, key=lambda ticket: ticket.late)
        _give(first, answer)
        # One yes, one dispatch: a yes to one call does not send it twice.
        single = answer.allowed and answer.lifetime == "once" and waiting.question.kind == "call"
        for ticket in others:
            _give(ticket, USED if single else answer)
        self._tell(Closed(waiting.question, answer))

    def _tell(self, change: Change) -> None:
        for watcher in tuple(self._watchers):
            watcher._tell(change)


def _give(ticket: Ticket, answer: Answer) -> None:
    if not ticket._future.done():
        ticket._future.set_result(answer)


def _digest(
    kind: QuestionKind, client: str, server: str, what: str, why: str, subject: bytes | JsonObject,
    evidence: tuple[str, ...], detail: str,
) -> str:  # fmt: skip
    if not isinstance(subject, bytes):
        subject = json.dumps(subject, sort_keys=True, separators=(",", ":")).encode("ascii")
    shown: list[object] = [kind, client, server, what, why, hashlib.sha256(subject).hexdigest(), evidence, detail]
    return hashlib.sha256(json.dumps(shown, separators=(",", ":")).encode("ascii")).hexdigest()
