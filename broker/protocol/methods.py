"""Everything we know about MCP methods, in one table.  A method that is not here is refused.

Covers 2024-11-05 to 2025-11-25 (legacy) and 2026-07-28 (modern, with its tasks extension).  Where client and server
both declare another extension, a method that is not here may be one of it: then it is judged like any call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.model import Era, JsonObject, Side
from broker.protocol.versions import RESERVED_META

Kind: TypeAlias = Literal["request", "notification"]

_CLIENT: Final[frozenset[Side]] = frozenset({"client"})
_SERVER: Final[frozenset[Side]] = frozenset({"server"})
_EITHER: Final[frozenset[Side]] = frozenset({"client", "server"})
_NOBODY: Final[frozenset[Side]] = frozenset()
_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params"})


@dataclass(frozen=True, slots=True)
class Method:
    kind: Kind
    legacy: frozenset[Side]
    """Which sides may send it in the legacy era."""

    modern: frozenset[Side]
    """Which sides may send it in the modern era."""

    target: str = ""
    """The parameter that names what it is about; empty when the method itself is."""

    judged: bool = False
    """False for housekeeping that grants nothing beyond what was judged before."""

    pinned: bool = False
    """Answered by us from the agreed catalog or our own state: no server needs to run."""

    fields: frozenset[str] = frozenset()
    """The parameters it has, each of them one value, where it is not judged: these may say what they like."""

    input: bool = False
    """A modern server asks it inside an `input_required` result; such an entry is judged like the request."""


def _request(
    legacy: frozenset[Side],
    modern: frozenset[Side],
    *,
    target: str = "",
    judged: bool = False,
    pinned: bool = False,
    fields: tuple[str, ...] = (),
    asked: bool = False,
) -> Method:
    return Method("request", legacy, modern, target, judged, pinned, frozenset(fields), asked)


def _notification(legacy: frozenset[Side], modern: frozenset[Side], *fields: str) -> Method:
    return Method("notification", legacy, modern, fields=frozenset(fields))


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "initialize": _request(_CLIENT, _NOBODY, pinned=True),
        "server/discover": _request(_NOBODY, _CLIENT, pinned=True),
        "ping": _request(_EITHER, _NOBODY, pinned=True),
        "logging/setLevel": _request(_CLIENT, _NOBODY, pinned=True),
        "subscriptions/listen": _request(_NOBODY, _CLIENT, pinned=True),
        "tools/list": _request(_CLIENT, _CLIENT, pinned=True),
        "prompts/list": _request(_CLIENT, _CLIENT, pinned=True),
        "resources/list": _request(_CLIENT, _CLIENT, pinned=True),
        "resources/templates/list": _request(_CLIENT, _CLIENT, pinned=True),
        "tools/call": _request(_CLIENT, _CLIENT, target="name", judged=True),
        "prompts/get": _request(_CLIENT, _CLIENT, target="name", judged=True),
        "resources/read": _request(_CLIENT, _CLIENT, target="uri", judged=True),
        "resources/subscribe": _request(_CLIENT, _NOBODY, target="uri", judged=True),
        "resources/unsubscribe": _request(_CLIENT, _NOBODY, target="uri", fields=("uri",)),
        "completion/complete": _request(_CLIENT, _CLIENT, target="ref", judged=True),
        "sampling/createMessage": _request(_SERVER, _NOBODY, judged=True, asked=True),
        "elicitation/create": _request(_SERVER, _NOBODY, judged=True, asked=True),
        "roots/list": _request(_SERVER, _NOBODY, judged=True, asked=True),
        # Tasks act on a call that was judged when it was made; a link's server holds no other link's tasks.  What an
        # update brings to the server is new, and judged.
        "tasks/get": _request(_EITHER, _CLIENT, target="taskId", fields=("taskId",)),
        "tasks/result": _request(_EITHER, _NOBODY, target="taskId", fields=("taskId",)),
        "tasks/list": _request(_EITHER, _NOBODY, fields=("cursor",)),
        "tasks/cancel": _request(_EITHER, _CLIENT, target="taskId", fields=("taskId",)),
        "tasks/update": _request(_NOBODY, _CLIENT, target="taskId", judged=True),
        "notifications/initialized": _notification(_CLIENT, _NOBODY),
        "notifications/cancelled": _notification(_EITHER, _EITHER, "requestId", "reason"),
        "notifications/progress": _notification(_EITHER, _SERVER, "progressToken", "progress", "total", "message"),
        "notifications/message": _notification(_SERVER, _SERVER),
        "notifications/roots/list_changed": _notification(_CLIENT, _NOBODY),
        "notifications/tools/list_changed": _notification(_SERVER, _SERVER),
        "notifications/prompts/list_changed": _notification(_SERVER, _SERVER),
        "notifications/resources/list_changed": _notification(_SERVER, _SERVER),
        "notifications/resources/updated": _notification(_SERVER, _SERVER),
        "notifications/subscriptions/acknowledged": _notification(_NOBODY, _SERVER),
        "notifications/elicitation/complete": _notification(_SERVER, _NOBODY),
        "notifications/tasks/status": _notification(
            _EITHER, _SERVER, "taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttl", "pollInterval"
        ),
        "notifications/tasks": _notification(_NOBODY, _SERVER),
    }
)

_OF_EXTENSIONS: Final[Mapping[Kind, Method]] = MappingProxyType(
    {
        "request": _request(_EITHER, _CLIENT, judged=True),
        "notification": Method("notification", _EITHER, _EITHER, judged=True),
    }
)
"""A method of an extension we know nothing of: what it is about is the method itself."""


def method_for(name: str, kind: Kind, sender: Side, era: Era, *, extended: bool = False) -> Method | None:
    """The row of the table, or None when this side may not send this in this era.

    `extended` says that both sides declared an extension whose methods are not in the table.
    """
    method = METHODS.get(name, _OF_EXTENSIONS[kind] if extended else None)
    if method is None or method.kind != kind:
        return None
    return method if sender in (method.legacy if era == "legacy" else method.modern) else None


def has_strange_words(method: Method, message: JsonObject) -> bool:
    """Whether a message says more than its row of the table knows; then even a method nobody judges is judged.

    A field that no revision gives a meaning could carry anything past the policy.
    """
    params = message.get("params", {})
    if message.keys() - _ENVELOPE or params.get("_meta", {}).keys() - RESERVED_META:
        return True
    said = {name: value for name, value in params.items() if name != "_meta"}
    return bool(said.keys() - method.fields) or any(isinstance(value, dict | list) for value in said.values())


def target_of(name: str, method: Method, params: JsonObject) -> str | None:
    """What a message is about; None when it does not say so in the way its method demands."""
    if not method.target:
        return name
    value = params.get(method.target)
    if method.target == "ref" and isinstance(value, dict):  # a prompt by its name, a template by its URI
        value = value.get("name", value.get("uri"))
    return value if isinstance(value, str) else None
