"""What a body that was posted says, and the error it deserves if it says nothing.  Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import ProtocolError
from broker.model import Era, JsonObject
from broker.protocol import replies
from broker.protocol.envelope import Envelope, Request, read
from broker.protocol.frames import NotStrict, strict_json
from broker.protocol.http_values import VERSION, Headers, contradiction
from broker.protocol.methods import method_for
from broker.protocol.opening import declaration, extensions
from broker.protocol.versions import LEGACY_VERSIONS, MODERN_VERSIONS, VERSION_KEY

HEADER_MISMATCH: Final = -32020
MAX_BATCH: Final = 64  # as many calls as agents make at once, several times over
BATCHES: Final = "2025-03-26"
"""The one revision that had them."""

STATUS: Final[Mapping[int, int]] = MappingProxyType(
    {
        replies.PARSE_ERROR: 400,
        replies.INVALID_REQUEST: 400,
        replies.INVALID_PARAMS: 400,
        replies.METHOD_NOT_FOUND: 404,
        replies.UNSUPPORTED_VERSION: 400,
        HEADER_MISMATCH: 400,
        -32021: 400,  # a client capability is missing
    }
)
"""The status under which the modern era sends an error; any other code goes under 200."""


class BodyFault(Exception):
    """A body that is no message.  `reply` is the JSON-RPC error its sender deserves."""

    def __init__(self, code: int, what: str, request: replies.RequestId | None = None) -> None:
        super().__init__(what)
        self.reply = replies.error(request, code, what)


def envelopes_of(body: bytes) -> tuple[list[Envelope], bool]:
    """The messages of a body, and whether they came as a batch.

    Raises:
        BodyFault: it is not strict JSON, or not made of messages.
    """
    try:
        value = strict_json(body)
    except ValueError as cause:
        why = str(cause) if isinstance(cause, NotStrict) else "it is not JSON in UTF-8"
        raise BodyFault(replies.PARSE_ERROR, f"the body is no message: {why}") from cause
    batch = isinstance(value, list)
    messages = value if isinstance(value, list) else [value]
    if not messages or len(messages) > MAX_BATCH or not all(isinstance(each, dict) for each in messages):
        raise BodyFault(replies.INVALID_REQUEST, "the body is no message")
    try:
        return [read("client", message) for message in messages], batch
    except ProtocolError as cause:
        raise BodyFault(replies.INVALID_REQUEST, str(cause)) from cause


def era_of(envelopes: list[Envelope], headers: Headers) -> Era:
    """The era a post belongs to: what its header or its own `_meta` says is not legacy is modern, or wants to be."""
    said = [value for name, value in headers if name == VERSION]
    if any(isinstance(each, Request) and VERSION_KEY in each.meta for each in envelopes):
        return "modern"
    return "legacy" if all(value in LEGACY_VERSIONS for value in said) else "modern"


def check_modern(request: Request, headers: Headers, schema: object = None) -> None:
    """Headers and body of a modern request say the same.

    Raises:
        BodyFault: they do not, or there is no such method.
    """
    lines = list(headers)
    extended = bool(extensions(declaration("modern", request)))
    if method_for(request.method, "request", "client", "modern", extended=extended) is None:
        if all(value == request.method for name, value in lines if name == "mcp-method"):
            text = f"{replies.quoted(request.method)} is no method of this era"
            raise BodyFault(replies.METHOD_NOT_FOUND, text, request.id)
        raise BodyFault(HEADER_MISMATCH, "mcp-method is not the method of the body", request.id)
    version = request.meta.get(VERSION_KEY)
    if version is None:
        said = [value for name, value in lines if name == VERSION]
        if said and said[0] not in MODERN_VERSIONS:
            data: JsonObject = {"supported": [*MODERN_VERSIONS, *reversed(LEGACY_VERSIONS)], "requested": said[0][:64]}
            fault = BodyFault(replies.UNSUPPORTED_VERSION, "this protocol version is not spoken here", request.id)
            fault.reply["error"]["data"] = data
            raise fault
        raise BodyFault(replies.INVALID_PARAMS, f"params._meta lacks {VERSION_KEY}", request.id)
    if problem := contradiction(request.message, lines, version, schema):
        raise BodyFault(HEADER_MISMATCH, problem, request.id)


def status_of(message: JsonObject) -> int:
    """The HTTP status of a modern answer."""
    error = message.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return STATUS.get(code, 200) if isinstance(code, int) else 200
