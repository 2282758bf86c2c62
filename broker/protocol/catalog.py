"""Everything a server advertises: its digest, and what differs between two of them.

A catalog is what the user agreed to see.  Unknown fields are kept, hashed and compared like known ones: a change in
any byte of a definition is a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from broker.model import Era, JsonObject

ViewKey: TypeAlias = Literal["legacy/full", "legacy/empty", "modern/full", "modern/empty"]
"""Era, and whether the client declared full or no capabilities: a server may advertise different things to each."""


@dataclass(frozen=True, slots=True)
class View:
    """What one kind of client is shown.

    `opening` is the whole result of `initialize` or `server/discover`; `refusal` is the JSON-RPC error object instead,
    where the server does not speak that era.  Lists are complete (all pages), in the server's order.
    """

    era: Era
    opening: JsonObject | None = None
    refusal: JsonObject | None = None
    tools: tuple[JsonObject, ...] = ()
    prompts: tuple[JsonObject, ...] = ()
    resources: tuple[JsonObject, ...] = ()
    templates: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """All views of one server."""

    views: Mapping[ViewKey, View] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between the agreed catalog and the live one."""

    kind: Literal["added", "changed", "missing"]
    what: Literal["tool", "prompt", "resource", "template", "instructions", "capabilities", "identity"]
    name: str
    fields: tuple[str, ...] = ()
