"""What the daemon looks at every few seconds whether anybody watches or not, and how alerts are passed on.

A look that fails is told in the log and tried again; it never ends the daemon.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from broker.alarms.book import Alarms, Alert
from broker.alarms.telling import tell
from broker.alarms.vitals import STEP, Vitals
from broker.clients.watch import Application, ClientWatch
from broker.notices import Notice, Send
from broker.resting import Unused, stopping
from broker.telemetry.numbers import resident

OF_MEMORY: Final = 2  # the part of the machine's memory that all servers may take before some are stopped
EVERY: Final = 3  # steps between two looks at clients' files
NOTICE_SECONDS: Final = 600.0  # an alert has a meaning for as long
_log = logging.getLogger(__name__)


class Carrier(Protocol):
    """A link, as far as its server is looked at."""

    @property
    def pid(self) -> int: ...
    def unused(self, now: float) -> Unused | None: ...
    def rest(self, reason: str) -> None: ...


class Links(Protocol):
    """Whoever has all links (`broker.sessions.Sessions`)."""

    def links(self) -> Iterable[Carrier]: ...


async def rounds(vitals: Vitals, sessions: Links, clients: ClientWatch) -> None:
    """Sample, stop servers that nobody uses, and look at clients' files.  Runs until it is cancelled."""
    budget = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // OF_MEMORY
    before: set[str] | None = None
    turn = 0
    while True:
        if turn % EVERY == 0:
            before = await _look(vitals.alarms, clients, before)
        turn += 1
        servers = sum(vitals.memory.of(link.pid) for link in sessions.links())
        vitals.sample(time.time(), resident(), servers)
        let_rest(sessions, asyncio.get_running_loop().time(), servers, budget)
        await asyncio.sleep(STEP)


def let_rest(sessions: Links, now: float, together: int, budget: int) -> None:
    """Stop the servers that may be, and of which `resting` says that it is time."""
    found = [(link, one) for link in sessions.links() if (one := link.unused(now)) is not None]
    reasons = stopping([one for _, one in found], together, budget)
    for link, one in found:
        if reason := reasons.get(one.link):
            link.rest(reason)


async def _look(alarms: Alarms, clients: ClientWatch, before: set[str] | None) -> set[str] | None:
    try:
        seen = await asyncio.to_thread(clients.look)
    except OSError as problem:
        _log.warning("the files of clients could not be looked at: %s", problem.strerror)
        return before
    back = {key: one for one in seen if one.came_back for key in (f"{one.client} {one.path} {one.past}",)}
    for key, one in back.items():
        if before is None or key not in before:
            alarms.sound("bypass", "", bypass_words(one), one.client)
    return set(back)


def bypass_words(one: Application) -> str:
    number = len(one.past)
    return f"{one.client} goes past Bulkhead again with {number} {'entry' if number == 1 else 'entries'}"


def issuer_words(server: str, host: str) -> str:
    return f"{server} names another authorization server than before: {host}"


async def pass_on(alarms: Alarms, attended: Callable[[], bool], send: Send) -> None:
    """Alerts as notices on the desktop, and to the webhook of `alerts.toml`."""
    await tell(alarms, attended, lambda alert: send(notice_of_alert(alert)), _hook)


def notice_of_alert(alert: Alert) -> Notice:
    return Notice("Bulkhead noticed something", f"{alert.text}; run: bulkhead", NOTICE_SECONDS)


def _hook(url: str) -> Callable[[Alert], Awaitable[bool]]:
    from broker.alarms.webhook import Webhook  # loads HTTP, which is needed only where somebody wants to hear

    return Webhook(url)
