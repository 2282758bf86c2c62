"""How the daemon did in the last minutes: answers, errors, denials, holds, how long clients waited, memory.

Counting costs a link a look at the kind of what it records; it decides nothing and keeps no word of a message.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from broker.alarms.book import Alarms
from broker.alarms.memory import Memory
from broker.model import Fact, Verdict

STEP: Final = 2.0  # seconds of one sample
KEPT: Final = 300  # samples: ten minutes
MAX_TIMED: Final = 1024  # answers of one sample whose time is looked at; more say the same
MAX_OPEN: Final = 512  # requests of one link that are timed at once
MAX_RECENT: Final = 256  # answers, and denials, of one server that rules look back at
MAX_SUBJECTS: Final = 4096  # servers, and clients at servers

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened within one step that ended `at`.  Waits are seconds, memory bytes (of the daemon, of servers)."""

    at: float
    answers: int
    errors: int
    denials: int
    holds: int
    half: float
    most: float
    memory: float
    servers: float


@dataclass(slots=True)
class _Step:
    answers: int = 0
    errors: int = 0
    denials: int = 0
    holds: int = 0
    waits: list[float] = field(default_factory=list)


class Vitals:
    """The last minutes of one daemon.  `steady` never goes back."""

    def __init__(self, alarms: Alarms | None = None, steady: Callable[[], float] = time.monotonic) -> None:
        self.steady = steady
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.alarms = alarms or Alarms()
        self.memory = Memory(steady)
        self._step = _Step()
        self._answers: dict[str, deque[tuple[float, bool]]] = {}
        self._denials: dict[tuple[str, str], deque[float]] = {}

    def link(self, client: str, server: str) -> "LinkVitals":
        return LinkVitals(self, client, server)

    def sample(self, at: float, memory: float, servers: float) -> Sample:
        """End the step that runs."""
        step, self._step = self._step, _Step()
        waits = sorted(step.waits)
        half, most = (waits[len(waits) // 2], waits[max(0, -(-len(waits) * 99 // 100) - 1)]) if waits else (0.0, 0.0)
        done = Sample(at, step.answers, step.errors, step.denials, step.holds, half, most, memory, servers)
        self.samples.append(done)
        return done

    def answered(self, server: str, wait: float, failed: bool) -> None:
        step, now, rule = self._step, self.steady(), self.alarms.rules.current.errors
        step.answers += 1
        step.errors += failed
        if len(step.waits) < MAX_TIMED:
            step.waits.append(wait)
        recent = self._recent(self._answers, server)
        recent.append((now, failed))
        if failed:
            lately = [one for at, one in recent if now - at <= rule.seconds]
            if len(lately) >= rule.of and sum(lately) >= rule.share * len(lately):
                text = f"{sum(lately)} of the last {len(lately)} answers of {server} were errors"
                self.alarms.sound("errors", server, text)

    def held(self) -> None:
        self._step.holds += 1

    def denied(self, client: str, server: str) -> None:
        self._step.denials += 1
        now, rule = self.steady(), self.alarms.rules.current.denied
        recent = self._recent(self._denials, (client, server))
        recent.append(now)
        if len(recent) >= rule.calls and now - recent[-rule.calls] <= rule.seconds:
            text = f"{rule.calls} or more calls of {client} at {server} were denied within {rule.seconds:.0f} s"
            self.alarms.sound("denied", server, text, client)

    def _recent(self, book: dict[K, deque[T]], key: K) -> deque[T]:
        if key not in book and len(book) >= MAX_SUBJECTS:
            book.pop(next(iter(book)))
        return book.setdefault(key, deque(maxlen=MAX_RECENT))


class LinkVitals:
    """One link's part of it."""

    def __init__(self, vitals: Vitals, client: str, server: str) -> None:
        self._vitals = vitals
        self._client = client
        self._server = server
        self._began: dict[int, float] = {}

    def heard(self, fact: Fact, turn: int) -> None:
        """This was recorded."""
        kind = fact.kind
        if kind == "result":
            began = self._began.pop(turn, None)
            if began is not None:
                self._vitals.answered(self._server, self._vitals.steady() - began, _failed(fact))
        elif kind == "decision" and fact.side == "client" and fact.decision is not None:
            if fact.decision.verdict is Verdict.ALLOW:
                if turn and len(self._began) < MAX_OPEN:
                    self._began.setdefault(turn, self._vitals.steady())
            elif fact.decision.verdict is Verdict.ASK:
                self._vitals.held()
            else:
                self._vitals.denied(self._client, self._server)


def _failed(fact: Fact) -> bool:
    body = fact.body or {}
    result = body.get("result")
    return "error" in body or (isinstance(result, dict) and result.get("isError") is True)
