"""What servers tried to reach and may not, with the narrowest grant that would allow it: for a person to look at.

Beside it, what else a person should hear of a server that ran: the limits that ended it, and what it left behind.

It is a view of the receipts, kept in memory; each server has room for few, and the newest stay.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from broker.model import Fact, ServerName, Verdict

KEPT: Final = 32
SERVERS: Final = 256
LEFT_SHOWN: Final = 3
_TELLING: Final = frozenset({"exit", "violation", "egress"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blocked:
    """One thing that was denied: where to, why, how often, when last (seconds since the epoch), and what allows it."""

    target: str
    grant: str
    reason: str
    last: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that came of running a server, in one sentence, how often, and when last."""

    text: str
    last: float
    times: int = 1


class BlockedBook:
    """What was blocked of each server, and what happened with it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._book: dict[ServerName, dict[str, Blocked]] = {}
        self._happened: dict[ServerName, dict[str, Happened]] = {}

    def note(self, server: ServerName, fact: Fact) -> None:
        """Look at a fact.  Of what was denied, only a way out is kept, and one that some grant could allow."""
        if fact.kind not in _TELLING:
            return
        if text := _sentence(fact):
            told = _page(self._happened, server)
            before = told.pop(text, None)
            _turn(told)
            told[text] = Happened(text, self._clock(), before.times + 1 if before is not None else 1)
            return
        grant = (fact.body or {}).get("grant")
        denied = fact.decision is not None and fact.decision.verdict is Verdict.DENY
        if fact.kind != "egress" or not denied or not isinstance(grant, str) or fact.decision is None:
            return
        page = _page(self._book, server)
        known = page.pop(grant, None)
        _turn(page)
        fresh = Blocked(fact.target, grant, fact.decision.reason, self._clock())
        page[grant] = replace(fresh, times=known.times + 1) if known is not None else fresh

    def of(self, server: ServerName) -> tuple[Blocked, ...]:
        """The newest first."""
        return tuple(reversed(self._book.get(server, {}).values()))

    def happened(self, server: ServerName) -> tuple[Happened, ...]:
        """The newest first."""
        return tuple(reversed(self._happened.get(server, {}).values()))

    def forget(self, server: ServerName, grants: tuple[str, ...] | None = None) -> None:
        """It was allowed, or the server is gone (no `grants`: all of it)."""
        if grants is None:
            self._book.pop(server, None)
            self._happened.pop(server, None)
            return
        for grant in grants:
            self._book.get(server, {}).pop(grant, None)


def _page(book: dict[ServerName, dict[str, T]], server: ServerName) -> dict[str, T]:
    """The page of a server; the oldest server gives way to one that is new."""
    page = book.setdefault(server, {})
    while len(book) > SERVERS:
        del book[next(iter(book))]
    return page


def _turn(page: dict[str, T]) -> None:
    """Make room for one more."""
    while len(page) >= KEPT:
        del page[next(iter(page))]


def _sentence(fact: Fact) -> str:
    """What a person should hear of it; empty for nothing."""
    body = fact.body or {}
    match fact.kind, fact.method:
        case "exit", "limit":
            return str(body.get("reason", ""))
        case "violation", "leftover":
            left = [str(one) for one in body.get("left", ())]
            rest = len(left) - LEFT_SHOWN + int(body.get("more", 0))
            return f"it left {', '.join(left[:LEFT_SHOWN])}" + (f" and {rest} more" if rest > 0 else "")
        case _:
            return ""
