"""Everything a server advertises: its digest, and what differs between two of them.

A catalog is what the user agreed to see.  Unknown fields are kept, hashed and compared like known ones: a change in
any byte of a definition is a change.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from broker.errors import ConfigError
from broker.model import Era, JsonObject
from broker.protocol.frames import MAX_DEPTH, strict_json

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


ItemKind: TypeAlias = Literal["tool", "prompt", "resource", "template"]
ListName: TypeAlias = Literal["tools", "prompts", "resources", "templates"]

LISTS: Final[Mapping[ListName, tuple[ItemKind, str]]] = MappingProxyType(
    {
        "tools": ("tool", "name"),
        "prompts": ("prompt", "name"),
        "resources": ("resource", "uri"),
        "templates": ("template", "uriTemplate"),
    }
)
"""Each list of a view: what its items are, and the field that names one."""

SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"

_FORMAT: Final = 1
_VOLATILE: Final = frozenset({"instructions", "capabilities", "protocolVersion", "_meta", "ttlMs", "cacheScope"})
"""Fields of an opening that `identity` does not compare: two have changes of their own, the rest varies per request."""


def canonical(value: Any) -> str:
    """The one text of a JSON value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def digest(catalog: Catalog) -> str:
    """SHA-256 (hex) of the canonical text: the same whatever the order of keys or views."""
    return hashlib.sha256(canonical(_document(catalog)).encode("utf-8")).hexdigest()


def items(view: View, name: ListName) -> tuple[JsonObject, ...]:
    found: tuple[JsonObject, ...] = getattr(view, name)
    return found


def diff(agreed: View, live: View) -> tuple[Change, ...]:
    """What `live` has that was not agreed to, and what it lacks, naming the fields that differ."""
    changes = _opening_changes(agreed, live)
    for name, (what, key) in LISTS.items():
        before = {item[key]: item for item in items(agreed, name)}
        after = {item[key]: item for item in items(live, name)}
        for label, item in after.items():
            if label not in before:
                changes.append(Change("added", what, label))
            elif fields := _differing(before[label], item):
                changes.append(Change("changed", what, label, fields))
        changes.extend(Change("missing", what, label) for label in before if label not in after)
    return tuple(changes)


def held(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """The changes a person must agree to.

    What is missing is not among them: a server may show a client less than was agreed to.  Nor are resources, which
    follow the user's data and are counted as reads instead.
    """
    return tuple(change for change in changes if change.kind != "missing" and change.what != "resource")


def endorsed(agreed: View, drift: tuple[Change, ...]) -> View:
    """What a client may be shown: the agreed view without the items that `drift` names."""
    gone = {(change.what, change.name) for change in drift}
    kept: dict[str, Any] = {
        name: tuple(item for item in items(agreed, name) if (what, item[key]) not in gone)
        for name, (what, key) in LISTS.items()
    }
    return replace(agreed, **kept)


def settled(agreed: View, sibling: View, live: View) -> View:
    """`agreed`, with each item that `live` shows exactly as `sibling` does taken from there.

    Both views were agreed to; which one a client in between their capabilities is shown is the server's choice, item
    by item.
    """
    kept: dict[str, Any] = {}
    for name, (_, key) in LISTS.items():
        other = {item[key]: canonical(item) for item in items(sibling, name)}
        shown = {item[key]: item for item in items(live, name) if other.get(item[key]) == canonical(item)}
        mine = {item[key]: item for item in items(agreed, name)}
        kept[name] = tuple({**mine, **shown}.values())
    return replace(agreed, **kept)


def fault_of(what: ItemKind, key: str, item: object) -> str:
    """What is wrong with one advertised item; empty when nothing is."""
    if not isinstance(item, dict):
        return f"a {what} that is not an object"
    if not isinstance(item.get(key), str) or not item[key]:
        return f"a {what} without a {key}"
    if what == "tool" and not isinstance(item.get("inputSchema"), dict):
        return f"a {what} without an inputSchema"
    return ""


def to_json(catalog: Catalog) -> str:
    """The catalog as a document that `from_json` reads back; definitions keep the order of their keys."""
    return json.dumps(_document(catalog), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def from_json(text: str) -> Catalog:
    """Read what `to_json` wrote.

    Raises:
        ConfigError: it is anything `to_json` could not have written.
    """
    try:
        document = strict_json(
            text.encode("utf-8"), MAX_DEPTH + 8
        )  # definitions stand deeper here than in their message
    except ValueError as cause:
        raise _unreadable("it is not strict JSON") from cause
    if not isinstance(document, dict) or document.keys() != {"format", "views"} or document["format"] != _FORMAT:
        raise _unreadable(f"it is not a catalog of format {_FORMAT}")
    if not isinstance(document["views"], dict):
        raise _unreadable("its views are not an object")
    views: dict[ViewKey, View] = {}
    for key in get_args(ViewKey):
        if key in document["views"]:
            views[key] = _view_from(key, document["views"][key])
    if views.keys() != document["views"].keys():
        raise _unreadable("it has a view nobody knows")
    return Catalog(views)


def _document(catalog: Catalog) -> JsonObject:
    views = {key: _view_document(catalog.views[key]) for key in get_args(ViewKey) if key in catalog.views}
    return {"format": _FORMAT, "views": views}


def _view_document(view: View) -> JsonObject:
    head = {"refusal": view.refusal} if view.opening is None else {"opening": view.opening}
    return {**head, **{name: list(items(view, name)) for name in LISTS}}


def _view_from(key: ViewKey, found: object) -> View:
    if not isinstance(found, dict) or found.keys() - {"opening", "refusal"} != LISTS.keys():
        raise _unreadable(f"its view {key} is not complete")
    heads = [name for name in ("opening", "refusal") if isinstance(found.get(name), dict)]
    if len(found) != len(LISTS) + 1 or len(heads) != 1:
        raise _unreadable(f"its view {key} has no opening, or two")
    lists: dict[str, Any] = {}
    for name, (what, field_name) in LISTS.items():
        if not isinstance(found[name], list):
            raise _unreadable(f"its view {key} has {name} that are no list")
        if fault := next(filter(None, (fault_of(what, field_name, item) for item in found[name])), ""):
            raise _unreadable(f"its view {key} has {fault}")
        lists[name] = tuple(found[name])
    era: Era = "legacy" if key.startswith("legacy") else "modern"
    return View(era, opening=found.get("opening"), refusal=found.get("refusal"), **lists)


def _unreadable(why: str) -> ConfigError:
    return ConfigError(f"the pinned catalog cannot be read: {why}", hint="pin the server again: bulkhead pin NAME")


def _opening_changes(agreed: View, live: View) -> list[Change]:
    if agreed.opening is None or live.opening is None:
        if (agreed.opening is None) == (live.opening is None):
            return []
        return [Change("added" if agreed.opening is None else "missing", "identity", "")]
    before, after = agreed.opening, live.opening
    changes = []
    if before.get("instructions") != after.get("instructions"):
        kind = _kind(before.get("instructions"), after.get("instructions"))
        changes.append(Change(kind, "instructions", "", ("instructions",)))
    if fields := _differing(before.get("capabilities", {}), after.get("capabilities", {})):
        new = tuple(name for name in fields if name in after.get("capabilities", {}))
        lost = tuple(name for name in fields if name not in new)
        changes.extend([Change("changed", "capabilities", "", new)] if new else [])
        changes.extend([Change("missing", "capabilities", "", lost)] if lost else [])
    if fields := _differing(_identity(before), _identity(after)):
        changes.append(Change("changed", "identity", "", fields))
    return changes


def _kind(before: object, after: object) -> Literal["added", "changed", "missing"]:
    if not after:
        return "missing"
    return "changed" if before else "added"


def _identity(opening: JsonObject) -> JsonObject:
    meta = opening.get("_meta")
    shown = {name: value for name, value in opening.items() if name not in _VOLATILE}
    if isinstance(meta, dict) and SERVER_INFO in meta:
        shown["serverInfo"] = meta[SERVER_INFO]
    return shown


def _differing(before: JsonObject, after: JsonObject) -> tuple[str, ...]:
    """Compared as text, because Python takes 1, 1.0 and True for equal."""
    return tuple(
        name
        for name in sorted(before.keys() | after.keys())
        if (name in before) != (name in after) or canonical(before[name]) != canonical(after[name])
    )
