"""The alerts there were since the daemon started, the newest last.

An alert says what happened in our own words and names of our own grammar: never a word of a message.  The same one
again within its quiet time is counted and not told again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from broker.alarms.rules import AlertRules, Rule

KEPT: Final = 200
MAX_UNTOLD: Final = 32  # waiting to be passed on; beyond that the oldest is on the screen only


@dataclass(frozen=True, slots=True)
class Alert:
    """One.  `at` is when it came first, `last` when it came again, in seconds since the epoch."""

    number: int
    rule: Rule
    server: str
    client: str
    text: str
    at: float
    last: float
    times: int = 1


class Alarms:
    """Every alert of a home."""

    def __init__(
        self,
        rules: AlertRules | None = None,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules or AlertRules()
        self._changed = changed
        self._clock = clock
        self._alerts: deque[Alert] = deque(maxlen=KEPT)
        self._news: deque[Alert] = deque(maxlen=MAX_UNTOLD)
        self._rung = asyncio.Event()
        self._number = 0

    def all(self) -> tuple[Alert, ...]:
        return tuple(self._alerts)

    def sound(self, rule: Rule, server: str, text: str, client: str = "") -> None:
        """Something a person should hear of."""
        rules, now = self.rules.current, self._clock()
        if rule in rules.off:
            return
        for place, known in enumerate(self._alerts):
            if (known.rule, known.server, known.client) == (rule, server, client) and now - known.at < rules.quiet:
                self._alerts[place] = replace(known, times=known.times + 1, last=now, text=text)
                return
        self._number += 1
        alert = Alert(self._number, rule, server, client, text, now, now)
        self._alerts.append(alert)
        self._news.append(alert)
        self._rung.set()
        self._changed()

    async def next(self) -> Alert:
        """The oldest alert that was not taken yet; waits for one."""
        while not self._news:
            self._rung.clear()
            await self._rung.wait()
        return self._news.popleft()
