"""The calls of one link that are under way, held against the rules.

A call is admitted when it is judged and allowed, keeps its place while it is judged again or rests before its next
try, and leaves with its answer.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from broker.manners.breaker import Breaker
from broker.manners.kept import Kept
from broker.manners.rules import Bounds
from broker.model import Call, Decision, Fact, Verdict
from broker.protocol.replies import is_absence

MAX_SEEN: Final = 1024  # different calls whose repeats are counted


@dataclass(slots=True)
class _Under:
    """A call that was admitted."""

    call: Call
    bounds: Bounds
    turn: int = 0
    since: float = 0.0
    told: bool = False
    tried: int = 0
    due: float | None = None
    cleared: bool = True


@dataclass(slots=True)
class Calls:
    """Those of one link.  `breaker` is its server's; `kept` are answers that may be given again, on this link alone."""

    breaker: Breaker
    kept: Kept = field(default_factory=Kept)
    _under: list[_Under] = field(default_factory=list)
    _seen: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def judged(self, call: Call, bounds: Bounds, now: float) -> Decision | None:
        """Why an allowed call may not go now; None if it may, and then it has its place."""
        known = self._find(call)
        if known is not None and known.cleared:
            return None
        if known is None and (rude := self._too_much(call, bounds, now)) is not None:
            return rude
        if not self.breaker.admits(now):
            reason = (
                f"{call.server} failed {self.breaker.failed} times in a row and is left alone; "
                f"it is tried again in {self.breaker.left(now):.0f} s"
            )
            return Decision(Verdict.DENY, "breaker", reason)
        if known is None:
            self._under.append(_Under(call, bounds, since=now))
            self._count(call.digest, now)
        else:
            known.cleared = True
        return None

    def _too_much(self, call: Call, bounds: Bounds, now: float) -> Decision | None:
        if bounds.at_once is not None and self._same_tool(call) >= bounds.at_once:
            reason = f"{bounds.at_once} calls of {call.target[:100]} are under way, as many as may be"
            return Decision(Verdict.DENY, "manners", reason)
        if bounds.again is not None and self._repeats(call.digest, bounds.within, now) >= bounds.again:
            reason = f"the very same call came {bounds.again} times within {bounds.within:g} s: this looks like a loop"
            return Decision(Verdict.DENY, "manners", reason)
        return None

    def may_again(self, call: Call) -> bool:
        """Whether a call may be tried once more, as far as manners are concerned."""
        one = self._find(call)
        return one is not None and one.tried < one.bounds.tries

    def again(self, call: Call, now: float) -> tuple[int, float] | None:
        """It got no answer: the number of its next try and the seconds until then; None when it is over with it."""
        one = self._find(call)
        if one is None or one.tried >= one.bounds.tries or self.breaker.failed + 1 >= self.breaker.failures:
            return None
        self.breaker.broke(now)
        wait = one.bounds.wait * 2**one.tried
        one.tried, one.due = one.tried + 1, now + wait
        return one.tried, wait

    def due(self, now: float) -> list[int]:
        """Requests whose next try is due, once each."""
        ready = [one for one in self._under if one.due is not None and one.due <= now]
        for one in ready:
            one.due, one.since, one.cleared = None, now, False
        return [one.turn for one in ready]

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
        if found.due is not None and fact.kind == "result" and fact.side == "server":
            return  # its next try was agreed on when this came
        self._under.remove(found)
        failed = (fact.body or {}).get("error")
        if fact.kind == "result" and fact.side == "server" and not is_absence(failed):
            self.breaker.worked()
        elif fact.kind == "result" and failed is not None:
            self.breaker.broke(now)
        else:
            self.breaker.withdrawn()  # cancelled, or refused by us: it says nothing of the server

    def overdue(self, now: float) -> list[tuple[int, float]]:
        """Requests whose answer did not come in time, once each, with the seconds they had."""
        found = []
        for one in self._under:
            limit = one.bounds.seconds
            if limit is not None and one.turn and one.due is None and not one.told and now - one.since > limit:
                one.told = True
                found.append((one.turn, limit))
        return found

    def room(self, call: Call) -> int | None:
        """How large the answer to a call may be; None is as large as any."""
        one = self._find(call)
        return one.bounds.result_bytes if one is not None else None

    def bounds(self, call: Call) -> Bounds | None:
        """What holds for a call that is under way."""
        one = self._find(call)
        return one.bounds if one is not None else None

    def _find(self, call: Call) -> _Under | None:
        return next((one for one in self._under if one.call is call), None)

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
