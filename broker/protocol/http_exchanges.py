"""The requests of one modern HTTP client on one link: each came alone, and each gets back what belongs to it.

Requests by HTTP know nothing of each other, so two may carry one id or one progress token.  On the link each gets an id
and a token of ours; what comes back gets its own again.  Pure.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject
from broker.protocol.envelope import Request
from broker.protocol.replies import RequestId, notification
from broker.protocol.versions import SUBSCRIPTION_KEY

MAX_EXCHANGES: Final = 256  # what a conversation lets a client have open
MAX_WAITING: Final = 8 * 1024 * 1024  # bytes for one response that its client has not taken
_LISTEN: Final = "subscriptions/listen"


@dataclass(slots=True)
class Exchange:
    """One request and what waits for its response."""

    own: str
    id: RequestId
    method: str
    token: RequestId | None
    queue: deque[JsonObject] = field(default_factory=deque)
    size: int = 0
    over: bool = False


class Exchanges:
    """All open requests of one link."""

    def __init__(self) -> None:
        self._open: dict[str, Exchange] = {}
        self._numbers = 0

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= MAX_EXCHANGES

    def begin(self, request: Request) -> tuple[Exchange, JsonObject]:
        """The exchange and the message as it goes on the link."""
        self._numbers += 1
        own = f"http-{self._numbers}"
        message, meta = {**request.message, "id": own}, request.meta
        token = meta.get("progressToken")
        if isinstance(token, str | int):
            message["params"] = {**request.params, "_meta": {**meta, "progressToken": own}}
        exchange = Exchange(own, request.id, request.method, token if isinstance(token, str | int) else None)
        self._open[own] = exchange
        return exchange, message

    def put(self, message: JsonObject, size: int) -> Exchange | None:
        """Queue a message of the server with the client's own ids in it; None if nobody waits for it."""
        exchange = self._meant(message)
        if exchange is None:
            return None
        exchange.queue.append(_restored(message, exchange))
        exchange.size += size
        if "method" not in message or message["method"] == "notifications/cancelled":
            exchange.over = True
            self._open.pop(exchange.own, None)
        return exchange

    def abandon(self, exchange: Exchange) -> JsonObject | None:
        """Its client is gone: what to tell the server, if it still works on it."""
        if self._open.pop(exchange.own, None) is None:
            return None
        return notification("notifications/cancelled", {"requestId": exchange.own, "reason": "the client hung up"})

    def _meant(self, message: JsonObject) -> Exchange | None:
        method, params = message.get("method"), message.get("params") or {}
        if method is None:
            return self._open.get(str(message.get("id")))
        if "id" in message:
            return None  # this era has no requests of a server
        if method == "notifications/progress":
            return self._open.get(str(params.get("progressToken")))
        if method == "notifications/cancelled":
            return self._open.get(str(params.get("requestId")))
        meta = params.get("_meta")
        if isinstance(meta, dict) and SUBSCRIPTION_KEY in meta:
            return self._open.get(str(meta[SUBSCRIPTION_KEY]))
        calls = [exchange for exchange in self._open.values() if exchange.method != _LISTEN]
        return calls[-1] if calls else None


def _restored(message: JsonObject, exchange: Exchange) -> JsonObject:
    fresh = dict(message)
    if fresh.get("id") == exchange.own:
        fresh["id"] = exchange.id
    for part in ("params", "result"):
        body = fresh.get(part)
        if isinstance(body, dict):
            fresh[part] = _body_restored(body, exchange)
    return fresh


def _body_restored(body: JsonObject, exchange: Exchange) -> JsonObject:
    body = dict(body)
    if exchange.token is not None and body.get("progressToken") == exchange.own:
        body["progressToken"] = exchange.token
    if body.get("requestId") == exchange.own:
        body["requestId"] = exchange.id
    meta = body.get("_meta")
    if isinstance(meta, dict) and meta.get(SUBSCRIPTION_KEY) == exchange.own:
        body["_meta"] = {**meta, SUBSCRIPTION_KEY: exchange.id}
    return body
