"""What a message asks for, as policy sees it, and whether its arguments are what the agreed definition allows."""

import hashlib
from dataclasses import dataclass
from typing import Any

from broker.model import Call, ClientName, JsonObject, ServerName, SessionId, Side
from broker.protocol.catalog import canonical
from broker.protocol.envelope import meta_of
from broker.protocol.replies import quoted
from broker.protocol.versions import RESERVED_META

_ARGUMENTS_OF = frozenset({"tools/call", "prompts/get"})


@dataclass(frozen=True, slots=True)
class Names:
    """Whose conversation this is."""

    client: ClientName
    server: ServerName
    session: SessionId

    def call(self, origin: Side, method: str, target: str, params: JsonObject) -> Call:
        """The call a request makes.

        `arguments` is what the called thing receives: the `arguments` of a tool or prompt, else the whole params.
        """
        arguments, extra = _parts(params) if method in _ARGUMENTS_OF else (params, {})
        asked = digest(method, params)
        return Call(self.client, self.server, self.session, origin, method, target, arguments, asked, extra)


def _parts(params: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The arguments, and what else is said that the protocol itself does not need."""
    extra = {name: value for name, value in params.items() if name not in ("name", "arguments", "_meta")}
    meta = {name: value for name, value in meta_of(params).items() if name not in RESERVED_META}
    return params.get("arguments", {}), {**extra, "_meta": meta} if meta else extra


def digest(method: str, params: JsonObject) -> str:
    """SHA-256 (hex) of what is asked for; `_meta` (progress tokens, traces, identity) does not change it."""
    asked = {name: value for name, value in params.items() if name != "_meta"}
    return hashlib.sha256(canonical({"method": method, "params": asked}).encode("utf-8")).hexdigest()


def argument_fault(tool: JsonObject, arguments: Any) -> str:
    """What the agreed schema says against these arguments; empty when nothing.

    Looks at the names on the top level only: which are demanded, and which are not allowed.  What the values may be
    is the server's to check.  Names a pattern may allow are left to it too: matching a server's patterns would let it
    choose how long we take.
    """
    if not isinstance(arguments, dict):
        return "its arguments are not an object"
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        return ""
    demanded = schema.get("required")
    for name in demanded if isinstance(demanded, list) else ():
        if isinstance(name, str) and name not in arguments:
            return f"it lacks the argument {quoted(name)}"
    if schema.get("additionalProperties") is False and not schema.get("patternProperties"):
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        for name in arguments:
            if name not in known:
                return f"it has no argument {quoted(name)}"
    return ""
