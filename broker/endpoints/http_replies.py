"""The answers of the HTTP front, as bytes."""

from collections.abc import AsyncGenerator
from typing import Final

from broker.endpoints.http_server import Reply, Streamed
from broker.errors import BulkheadError
from broker.model import JsonObject
from broker.protocol import replies
from broker.protocol.frames import encode

JSON: Final = ("content-type", "application/json")
EVENTS: Final = (("content-type", "text/event-stream"), ("x-accel-buffering", "no"))

PING_SECONDS: Final = 15.0  # a stream that says nothing for longer is cut by some proxies and clients
GRACE_SECONDS: Final = 0.5  # an answer that comes so soon needs no stream


def said(status: int, message: JsonObject, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """One message."""
    return Reply(status, encode(message), (JSON, *headers))


def refused(status: int, why: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """No, and why, as a client can show it."""
    return said(status, replies.error(None, replies.INVALID_REQUEST, why), headers)


def not_opened(problem: BulkheadError, request: replies.RequestId | None) -> Reply:
    """The link was refused."""
    hint = f"; try: {problem.hint}" if problem.hint else ""
    return said(403, replies.error(request, replies.REFUSED, f"refused by Bulkhead: {problem}{hint}"))


def streamed(chunks: AsyncGenerator[bytes, None], headers: tuple[tuple[str, str], ...] = ()) -> Streamed:
    return Streamed(chunks, (*EVENTS, *headers))
