"""What kind of message this is: request, notification or response, and nothing in between."""

from dataclasses import dataclass
from typing import TypeAlias

from broker.errors import ProtocolError
from broker.model import JsonObject, Side
from broker.protocol.frames import is_request_id
from broker.protocol.replies import RequestId


@dataclass(frozen=True, slots=True)
class Request:
    id: RequestId
    method: str
    params: JsonObject
    message: JsonObject

    @property
    def meta(self) -> JsonObject:
        return meta_of(self.params)


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: JsonObject
    message: JsonObject


@dataclass(frozen=True, slots=True)
class Response:
    """`id` is None only in an error about something its sender could not read."""

    id: RequestId | None
    message: JsonObject

    @property
    def result(self) -> JsonObject | None:
        found: JsonObject | None = self.message.get("result")
        return found


Envelope: TypeAlias = Request | Notification | Response


def read(who: Side, message: JsonObject) -> Envelope:
    """Look at the envelope and leave what is in it alone.

    Raises:
        ProtocolError: it is not exactly one of the three.
    """
    if message.get("jsonrpc") != "2.0":
        raise ProtocolError(who, 'sent a message without "jsonrpc": "2.0"')
    if "method" in message:
        return _asking(who, message)
    if ("result" in message) == ("error" in message):
        raise ProtocolError(who, "sent a message that is no request, notification or response")
    return _answering(who, message)


def meta_of(params: JsonObject) -> JsonObject:
    """`params._meta`, or nothing when there is none."""
    meta = params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def token_of(params: JsonObject) -> RequestId | None:
    """The progress token a request was given, if any."""
    token = meta_of(params).get("progressToken")
    return token if is_request_id(token) else None


def _asking(who: Side, message: JsonObject) -> Request | Notification:
    method, params = message["method"], message.get("params", {})
    if not isinstance(method, str) or "result" in message or "error" in message:
        raise ProtocolError(who, "sent a message that is no request, notification or response")
    if not isinstance(params, dict):
        raise ProtocolError(who, "sent params that are not an object")
    if not isinstance(params.get("_meta", {}), dict):
        raise ProtocolError(who, "sent a _meta that is not an object")
    if "id" not in message:
        return Notification(method, params, message)
    if not is_request_id(message["id"]):
        raise ProtocolError(who, "sent an id that is neither text nor a whole number")
    return Request(message["id"], method, params, message)


def _answering(who: Side, message: JsonObject) -> Response:
    identifier, fault = message.get("id"), message.get("error")
    if "error" in message:
        code = fault.get("code") if isinstance(fault, dict) else None
        if not isinstance(fault, dict) or isinstance(code, bool) or not isinstance(code, int):
            raise ProtocolError(who, "sent an error without a code")
        if not isinstance(fault.get("message"), str):
            raise ProtocolError(who, "sent an error without a message")
        if identifier is None:
            return Response(None, message)
    elif not isinstance(message["result"], dict):
        raise ProtocolError(who, "sent a result that is not an object")
    if not is_request_id(identifier):
        raise ProtocolError(who, "sent an id that is neither text nor a whole number")
    return Response(identifier, message)
