"""What is around a call: in which folder its client works, what the tool does with data, what time it is, how often.

Policies match on these beside the call itself.  What is not known counts for the worse: it permits nothing, and is no
way around a rule that asks or denies.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from broker.model import Call

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_BUCKETS: Final = 4096  # rules times sessions
MAX_RECENT: Final = 1024  # calls that may be judged again: those of every link that wait for something


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds, and never more than that many at once."""

    calls: int
    seconds: float


class Rates:
    """How often each session was under each rule with a rate: a token bucket for each."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, Rate, str, str], tuple[float, float]] = OrderedDict()
        self._recent: OrderedDict[tuple[str, int], tuple[Call, bool]] = OrderedDict()

    def within(self, rule: str, rate: Rate, call: Call, now: float) -> bool:
        """Whether this call still has room; it takes it.  A call that is judged again takes none and is told the same.

        `now` is seconds of a clock that never goes back.
        """
        judged = (rule, id(call))
        known = self._recent.get(judged)
        if known is not None and known[0] is call:
            return known[1]
        key = (rule, rate, call.session, call.client)
        tokens, since = self._buckets.pop(key, (float(rate.calls), now))
        tokens = min(float(rate.calls), tokens + max(0.0, now - since) * rate.calls / rate.seconds)
        fits = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if fits else tokens, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        self._recent[judged] = (call, fits)
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        return fits


@dataclass(frozen=True, slots=True)
class Around:
    """`workspace` is a real path, empty where there is none; `weekday` counts from Monday, -1 where no time is known.

    `flags` and `level` are the labels of the call, and `vouched` whether anybody speaks for them.  Without `rates`
    nothing was ever called before.
    """

    workspace: str = ""
    flags: frozenset[str] = frozenset({"P", "U", "E", "M"})
    level: str = "H"
    vouched: bool = False
    weekday: int = -1
    minute: int = 0
    seconds: float = 0.0
    rates: Rates | None = field(default=None, compare=False)


NOWHERE: Final = Around()
"""Nothing is known."""
