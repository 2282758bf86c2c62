"""What servers tried to reach and may not, with the narrowest grant that would allow it: for a person to look at.

It is a view of the receipts, kept in memory; each server has room for few, and the newest stay.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from broker.model import Fact, ServerName, Verdict

KEPT: Final = 32
SERVERS: Final = 256


@dataclass(frozen=True, slots=True)
class Blocked:
    """One thing that was denied: where to, why, how often, when last (seconds since the epoch), and what allows it."""

    target: str
    grant: str
    reason: str
    last: float
    times: int = 1


class BlockedBook:
    """What was blocked of each server."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._book: dict[ServerName, dict[str, Blocked]] = {}

    def note(self, server: ServerName, fact: Fact) -> None:
        """Look at a fact; only a denied way out, and one that some grant could allow, is kept."""
        grant = (fact.body or {}).get("grant")
        denied = fact.decision is not None and fact.decision.verdict is Verdict.DENY
        if fact.kind != "egress" or not denied or not isinstance(grant, str) or fact.decision is None:
            return
        page = self._book.setdefault(server, {})
        known = page.pop(grant, None)
        while len(page) >= KEPT:
            del page[next(iter(page))]
        while len(self._book) > SERVERS:
            del self._book[next(iter(self._book))]
        fresh = Blocked(fact.target, grant, fact.decision.reason, self._clock())
        page[grant] = replace(fresh, times=known.times + 1) if known is not None else fresh

    def of(self, server: ServerName) -> tuple[Blocked, ...]:
        """The newest first."""
        return tuple(reversed(self._book.get(server, {}).values()))

    def forget(self, server: ServerName, grants: tuple[str, ...] | None = None) -> None:
        """It was allowed, or the server is gone (no `grants`: all of it)."""
        if grants is None:
            self._book.pop(server, None)
            return
        for grant in grants:
            self._book.get(server, {}).pop(grant, None)
