"""Requests about signing in: one at a time, to the judged address of the place that was judged, and to no other.

Nothing is followed, unpacked or remembered, and every size and wait is ours.  What went wrong is said in our words.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx2

from broker.auth.places import Place
from broker.auth.problems import AuthError
from broker.auth.requests import Form
from broker.endpoints.http_proxy import NotLetThrough
from broker.endpoints.http_reach import Guard, Origin, Unreachable
from broker.model import JsonObject
from broker.protocol.frames import strict_json

MAX_ANSWER: Final = 128 * 1024  # the largest metadata seen has 6 KiB
WHOLE_SECONDS: Final = 15.0
STEP_SECONDS: Final = 8.0
HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "bulkhead"}


@dataclass(frozen=True, slots=True)
class Said:
    """A whole answer.  `value` is None where the body is no JSON object."""

    status: int
    value: JsonObject | None = None
    challenges: tuple[str, ...] = ()


class Wire:
    """Asks.  `dial` makes the way to one origin."""

    def __init__(self, dial: Callable[[Origin], httpx2.AsyncBaseTransport] = Guard) -> None:
        self._dial = dial

    async def get(self, place: Place) -> Said:
        return await self._ask("GET", place, {}, None)

    async def post(self, place: Place, form: Form, headers: Mapping[str, str]) -> Said:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", place, {**kind, **headers}, urlencode(form).encode())

    async def post_json(self, place: Place, body: bytes, headers: Mapping[str, str] = {}) -> Said:
        return await self._ask("POST", place, {"content-type": "application/json", **headers}, body)

    async def _ask(self, method: str, place: Place, headers: Mapping[str, str], content: bytes | None) -> Said:
        """One request and its answer.

        Raises:
            AuthError: there is none, or it is larger or packed in another way than anybody needs.
        """
        transport = self._dial(Origin(place.scheme, place.host, place.port))
        client = httpx2.AsyncClient(transport=transport, timeout=STEP_SECONDS, trust_env=False, follow_redirects=False)
        try:
            async with asyncio.timeout(WHOLE_SECONDS), client:
                request = client.build_request(method, place.url, headers={**HEADERS, **headers}, content=content)
                response = await client.send(request, stream=True)
                body = await _read(response)
        except NotLetThrough as cause:
            raise AuthError("proxy", cause.about) from cause
        except Unreachable as cause:
            raise AuthError("address" if "is at" in str(cause) else "unavailable", place.host) from cause
        except (httpx2.HTTPError, TimeoutError, OSError) as cause:
            raise AuthError("unavailable", f"{place.host}: {type(cause).__name__}") from cause
        return Said(response.status_code, _object(body), tuple(response.headers.get_list("www-authenticate")))


async def _read(response: httpx2.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise AuthError("too_large")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER:
            raise AuthError("too_large")
    return bytes(body)


def _object(body: bytes) -> JsonObject | None:
    try:
        value = strict_json(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
