"""What a rule may say about what is around a call: the folder, the labels, the time of day, how often.

Each answers like a constraint on an argument: yes, no, or unsure, and a rule takes unsure for the worse.
"""

from dataclasses import dataclass
from typing import TypeAlias

from broker.model import Call
from broker.policy.around import Around, Rate
from broker.policy.constraints import Answer


@dataclass(frozen=True, slots=True)
class InFolder:
    """The client works in one of these folders or below it."""

    folders: tuple[str, ...]

    def answer(self, _call: Call, around: Around, _rule: str) -> Answer:
        where = around.workspace
        if not where.startswith("/") or ".." in where.split("/"):
            return Answer.UNSURE
        return _said(any(where == folder or where.startswith(folder.rstrip("/") + "/") for folder in self.folders))

    def __str__(self) -> str:
        return "workspace"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Its labels hold all of `has` and none of `lacks`, and its class is `level` if one is named."""

    has: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    level: str = ""

    def answer(self, _call: Call, around: Around, _rule: str) -> Answer:
        fits = self.has <= around.flags and not self.lacks & around.flags and self.level in ("", around.level)
        return _said(fits) if around.vouched else Answer.UNSURE if fits else Answer.NO

    def __str__(self) -> str:
        return "labels"


@dataclass(frozen=True, slots=True)
class AtTimes:
    """On these days of the week (all, if none is named), from one minute of the day until before another.

    Where the end is before the beginning the time goes over midnight, and the day is that of its beginning.
    """

    days: tuple[int, ...] = ()
    begins: int = 0
    ends: int = 24 * 60

    def answer(self, _call: Call, around: Around, _rule: str) -> Answer:
        if around.weekday < 0:
            return Answer.UNSURE
        now, day = around.minute, around.weekday
        if self.begins <= self.ends:
            inside = self.begins <= now < self.ends
        else:
            inside = now >= self.begins or now < self.ends
            day = day if now >= self.begins else (day - 1) % 7
        return _said(inside and (not self.days or day in self.days))

    def __str__(self) -> str:
        return "time"


@dataclass(frozen=True, slots=True)
class Often:
    """Within a rate, or (`beyond`) only what goes over it."""

    rate: Rate
    beyond: bool

    def answer(self, call: Call, around: Around, rule: str) -> Answer:
        within = around.rates is None or around.rates.within(rule, self.rate, call, around.seconds)
        return _said(within is not self.beyond)

    def __str__(self) -> str:
        return "rate"


Condition: TypeAlias = InFolder | Labelled | AtTimes | Often


def _said(yes: bool) -> Answer:
    return Answer.YES if yes else Answer.NO
