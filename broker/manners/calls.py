"""The calls of one link that are under way, held against the rules.

A call is admitted when it is judged and allowed, keeps its place while it is judged again, and leaves with its answer.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from broker.manners.breaker import Breaker
from broker.manners.rules import Bounds
from broker.model import Call, Decision, Fact, Verdict

MAX_SEEN: Final = 1024  # different calls whose repeats are counted


@dataclass(slots=True)
class _Under:
    """A call that was admitted."""

    call: Call
    bounds: Bounds
    turn: int = 0
    since: float = 0.0
    told: bool = False


@dataclass(slots=True)
class Calls:
    """Those of one link.  `breaker` is its server's."""

    breaker: Breaker
    _under: list[_Under] = field(default_factory=list)
    _seen: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def judged(self, call: Call, bounds: Bounds, now: float) -> Decision | None:
        """Why an allowed call may not go now; None if it may, and then it has its place."""
        if any(one.call is call for one in self._under):
            return None
        if bounds.at_once is not None and self._same_tool(call) >= bounds.at_once:
            reason = f"{bounds.at_once} calls of {call.target[:100]} are under way, as many as may be"
            return Decision(Verdict.DENY, "manners", reason)
        if bounds.again is not None and self._repeats(call.digest, bounds.within, now) >= bounds.again:
            reason = f"the very same call came {bounds.again} times within {bounds.within:g} s: this looks like a loop"
            return Decision(Verdict.DENY, "manners", reason)
        if not self.breaker.admits(now):
            reason = (
                f"{call.server} failed {self.breaker.failed} times in a row and is left alone; "
                f"it is tried again in {self.breaker.left(now):.0f} s"
            )
            return Decision(Verdict.DENY, "breaker", reason)
        self._under.append(_Under(call, bounds, since=now))
        self._count(call.digest, now)
        return None

    def heard(self, fact: Fact, turn: int, now: float) -> None:
        """Something about request `turn` was recorded."""
        if not turn:
            return
        if fact.kind == "decision" and fact.side == "client" and not _denies(fact):
            for one in self._under:
                if not one.turn and one.call.digest == fact.digest:
                    one.turn = turn
                    break
            return
        gone = fact.kind == "notification" and fact.method == "notifications/cancelled"
        found = next((one for one in self._under if one.turn == turn), None)
        if found is None or not (gone or _denies(fact) or fact.kind == "result"):
            return
        self._under.remove(found)
        if fact.kind == "result" and fact.side == "server":
            self.breaker.worked()
        elif fact.kind == "result" and "error" in (fact.body or {}):
            self.breaker.broke(now)
        else:
            self.breaker.withdrawn()  # cancelled, or refused by us: it says nothing of the server

    def overdue(self, now: float) -> list[tuple[int, float]]:
        """Requests whose answer did not come in time, once each, with the seconds they had."""
        found = []
        for one in self._under:
            limit = one.bounds.seconds
            if limit is not None and one.turn and not one.told and now - one.since > limit:
                one.told = True
                found.append((one.turn, limit))
        return found

    def room(self, call: Call) -> int | None:
        """How large the answer to a call may be; None is as large as any."""
        return next((one.bounds.result_bytes for one in self._under if one.call is call), None)

    def _same_tool(self, call: Call) -> int:
        return sum(one.call.target == call.target for one in self._under)

    def _repeats(self, digest: str, within: float, now: float) -> int:
        return sum(now - moment < within for moment in self._seen.get(digest, ()))

    def _count(self, digest: str, now: float) -> None:
        moments = self._seen.setdefault(digest, deque(maxlen=10_000))
        moments.append(now)
        self._seen.move_to_end(digest)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)


def _denies(fact: Fact) -> bool:
    return fact.kind == "decision" and fact.decision is not None and fact.decision.verdict is Verdict.DENY
