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


def digest(catalog: Catalog) -> str:
    """SHA-256 (hex) of the canonical text: the same whatever the order of keys or views."""
    raise NotImplementedError


def diff(agreed: View, live: View) -> tuple[Change, ...]:
    """What `live` has that was not agreed to, and what it lacks, naming the fields that differ."""
    raise NotImplementedError


def held(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """The changes a person must agree to: additions and changes.  What is missing is not drift, nor is a resource."""
    raise NotImplementedError


def endorsed(agreed: View, drift: tuple[Change, ...]) -> View:
    """What a client may be shown: the agreed view without the items that `drift` names."""
    raise NotImplementedError


def to_json(catalog: Catalog) -> str:
    """The catalog as a document that `from_json` reads back, byte for byte the same for equal catalogs."""
    raise NotImplementedError


def from_json(text: str) -> Catalog:
    """Raises `ConfigError` for anything `to_json` could not have written."""
    raise NotImplementedError
