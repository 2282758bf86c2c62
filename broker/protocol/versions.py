"""Protocol versions and what the two eras write on every message."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.model import Era, JsonObject

LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Oldest first; their names sort by age."""

MODERN_VERSIONS: Final = ("2026-07-28",)

BATCH_VERSION: Final = "2025-03-26"
"""The one revision in which several messages may come as one."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
RELATED_TASK_KEY: Final = "io.modelcontextprotocol/related-task"

TASKS: Final = "io.modelcontextprotocol/tasks"
APPS: Final = "io.modelcontextprotocol/ui"

RESERVED_META: Final = frozenset(
    {VERSION_KEY, CLIENT_INFO_KEY, CLIENT_CAPABILITIES_KEY, SUBSCRIPTION_KEY, LOG_LEVEL_KEY,
     RELATED_TASK_KEY, "progressToken", "traceparent", "tracestate"}
)  # fmt: skip
"""Keys of `_meta` that the protocol itself gives a meaning; `baggage` is not among them, because it says anything."""

OWN_PREFIX: Final = "bulkhead/"
"""Ids of requests we make of a server ourselves; a client may not use it, so that the two never mix."""

BRIDGE_PREFIX: Final = "bulkhead-"
"""Ids a bridge between the eras makes up, on its client's side; no client of a bridge may use it either."""

Capabilities: TypeAlias = Literal["full", "empty"]

FULL: Final[Mapping[Era, JsonObject]] = MappingProxyType(
    {
        "legacy": {
            "roots": {"listChanged": True},
            "sampling": {"context": {}, "tools": {}},
            "elicitation": {"form": {}, "url": {}},
            "tasks": {
                "list": {},
                "cancel": {},
                "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}},
            },
        },
        "modern": {
            "roots": {},
            "sampling": {"context": {}, "tools": {}},
            "elicitation": {"form": {}, "url": {}},
            "extensions": {
                TASKS: {},
                APPS: {"mimeTypes": ["text/html;profile=mcp-app"]},
            },
        },
    }
)
"""Everything a client can declare: what a server shows only to some clients is seen once, when it is pinned."""


def negotiated(requested: object, agreed: str) -> str:
    """The version a legacy client is told when the server settled on `agreed` with a client that spoke them all.

    A server that speaks `agreed` has, by the rule of the handshake, nothing newer; that it also speaks what is older
    is what its software development kits do, and the live handshake shows whether it is so.
    """
    return requested if isinstance(requested, str) and requested in LEGACY_VERSIONS and requested < agreed else agreed
