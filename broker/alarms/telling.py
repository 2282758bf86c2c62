"""Passes each alert on, one after the other: to the desktop when nobody watches, and to the webhook.

Both are a comfort: an alert stands on the screen whether anybody took it elsewhere or not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from broker.alarms.book import Alarms, Alert
from broker.errors import BulkheadError

_log = logging.getLogger(__name__)


async def tell(
    alarms: Alarms,
    attended: Callable[[], bool],
    show: Callable[[Alert], None],
    hook: "Callable[[str], Callable[[Alert], Awaitable[bool]]]",
) -> None:
    """Runs until it is cancelled.  `show` blocks and may raise OSError; `hook` makes a webhook of an address."""
    while True:
        alert = await alarms.next()
        rules = alarms.rules.current
        if rules.desktop and not attended():
            try:
                await asyncio.to_thread(show, alert)
            except OSError as cause:
                _log.info("no desktop takes notices: %s", type(cause).__name__)
        if rules.webhook:
            try:
                await hook(rules.webhook)(alert)
            except BulkheadError as problem:
                _log.warning("the webhook cannot be asked: %s", problem)
