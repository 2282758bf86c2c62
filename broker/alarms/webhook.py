"""One address that hears of alerts: https or this machine, dialled only where it was judged, and asked a few times.

It is sent what the screen shows and nothing else.  Its path may be a secret of the user: no log and no error has it.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import httpx2

from broker.alarms.book import Alert
from broker.endpoints.http_reach import Guard, Origin, Unreachable, origin_of

TRIES: Final = (2.0, 10.0, 0.0)  # seconds to wait after each try that failed; the last one gives up
WHOLE_SECONDS: Final = 15.0
_log = logging.getLogger(__name__)


class Webhook:
    """Sends.  `dial` makes the way to the one origin."""

    def __init__(
        self,
        url: str,
        dial: Callable[[Origin], httpx2.AsyncBaseTransport] = Guard,
        pauses: tuple[float, ...] = TRIES,
    ) -> None:
        """Raises `SandboxError` where the address is not one that may be asked."""
        self._url = url
        self._origin = origin_of(url)
        self._dial = dial
        self._pauses = pauses

    async def __call__(self, alert: Alert) -> bool:
        """Whether somebody took it."""
        problem = ""
        for pause in self._pauses:
            problem = await self._sent(alert)
            if not problem:
                return True
            await asyncio.sleep(pause)
        _log.warning("the webhook at %s did not take an alert: %s", self._origin, problem)
        return False

    async def _sent(self, alert: Alert) -> str:
        """Empty, or what went wrong."""
        body = json.dumps({"from": "bulkhead", **asdict(alert)}).encode()
        headers = {"content-type": "application/json", "user-agent": "bulkhead", "accept-encoding": "identity"}
        client = httpx2.AsyncClient(transport=self._dial(self._origin), trust_env=False, follow_redirects=False)
        try:
            async with asyncio.timeout(WHOLE_SECONDS), client:
                request = client.build_request("POST", self._url, headers=headers, content=body)
                response = await client.send(request, stream=True)  # what it answers is nothing to us
                await response.aclose()
        except Unreachable as cause:
            return str(cause)
        except (httpx2.HTTPError, TimeoutError, OSError) as cause:
            return type(cause).__name__
        return "" if response.is_success else f"it answered {response.status_code}"
