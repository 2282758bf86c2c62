"""The answers we write ourselves.  Our own words only: never a text a server wrote.

Error codes of our own stand outside JSON-RPC's reserved range, as the specification asks, and borrow HTTP's meanings.
"""

from typing import Final, TypeAlias

from broker.model import Decision, Era, JsonObject

RequestId: TypeAlias = str | int

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
UNSUPPORTED_VERSION: Final = -32022

REFUSED: Final = 403
BUSY: Final = 429
UNAVAILABLE: Final = 503

MAX_QUOTED: Final = 120  # characters of a peer's name for something that we repeat to it


def result(request: RequestId, body: JsonObject) -> JsonObject:
    return {"jsonrpc": "2.0", "id": request, "result": body}


def error(request: RequestId | None, code: int, message: str, data: JsonObject | None = None) -> JsonObject:
    body: JsonObject = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": request, "error": body}


def notification(method: str, params: JsonObject | None = None) -> JsonObject:
    message: JsonObject = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return message


def complete(era: Era, body: JsonObject) -> JsonObject:
    """`body` as a finished result: the modern era says so in the result itself."""
    return {"resultType": "complete", **body} if era == "modern" else body


def refusal(era: Era, method: str, request: RequestId, text: str) -> JsonObject:
    """No, in the form the asker's model gets to see: a tool error for a tool call, a JSON-RPC error for the rest."""
    if method != "tools/call":
        return error(request, REFUSED, text)
    return result(request, complete(era, {"content": [{"type": "text", "text": text}], "isError": True}))


def is_absence(failure: object) -> bool:
    """Whether an error says that nobody answered: a server elsewhere that could not be reached, say."""
    return isinstance(failure, dict) and failure.get("code") == UNAVAILABLE


def denied(decision: Decision, to_allow: str) -> str:
    return f"refused by Bulkhead ({decision.rule}): {decision.reason}; to allow: {to_allow}"


def quoted(name: str) -> str:
    """A peer's own word, fit for a sentence sent back to it: bounded, and without anything that does not print."""
    return ascii(name if len(name) <= MAX_QUOTED else name[:MAX_QUOTED] + "...")
