"""A configuration text as a tree that knows where every value stands, so that one value can be replaced and nothing
else moves.

Every notation a client's file is written in (`jsonc`, `toml_text`, `yaml_text`) reads into this one tree.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from broker.errors import ConfigError

MAX_DEPTH: Final = 200  # Python's own stack ends near 1000 frames; no client nests deeper than about 10

Style: TypeAlias = Literal["flow", "block", "inline", "table", "fixed"]
"""How an object is written: `flow` is JSON's `{"key": value}`, `block` YAML's indented lines, `inline` and `table` are
TOML's two forms.  A `fixed` one is written in a form that is read but not edited."""


class Malformed(ConfigError):
    """The text is not what the client itself could read.  `str()` begins with the line and column."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number, true, false or null, with its span in the text."""

    start: int
    end: int
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Array:
    start: int
    end: int
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Member:
    """`"key": value`.  `start` and `end` are the key's own span, quotes included."""

    key: str
    start: int
    end: int
    value: "Node"


@dataclass(frozen=True, slots=True)
class Object:
    """The members in the order of the text; `end` is behind the last of them, without what only follows it."""

    start: int
    end: int
    members: tuple[Member, ...]
    style: Style = "flow"

    def get(self, key: str) -> "Node | None":
        return next((member.value for member in self.members if member.key == key), None)


Node: TypeAlias = Scalar | Array | Object


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text.  `comments` are the spans of its comments."""

    text: str
    root: Node
    comments: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in the place of `start` to `end`."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits whose spans do not overlap; every other character stays where it is."""
    pieces: list[str] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        if edit.start < done:
            raise ValueError("edits overlap")
        pieces += (text[done : edit.start], edit.text)
        done = edit.end
    pieces.append(text[done:])
    return "".join(pieces)


def node_at(root: Node, where: Sequence[str]) -> Node | None:
    """The value at a path of object keys; None where there is none.  An item of a list is found by its `name`."""
    node: Node | None = root
    for key in where:
        match node:
            case Object():
                node = node.get(key)
            case Array():
                node = named_item(node, key)
            case _:
                return None
    return node


def named_item(items: Array, name: str) -> Object | None:
    """The one object of a list whose `name` is `name`; None where there is none or more than one."""
    found = [item for item in items.items if isinstance(item, Object) and item_name(item) == name]
    return found[0] if len(found) == 1 else None


def item_name(item: Object) -> str | None:
    """What an item of a list of servers is called."""
    name = item.get("name")
    return name.value if isinstance(name, Scalar) and isinstance(name.value, str) else None


def plain(node: Node) -> Any:
    """The value as ordinary Python data."""
    match node:
        case Scalar():
            return node.value
        case Array():
            return [plain(item) for item in node.items]
        case Object():
            return {member.key: plain(member.value) for member in node.members}


def place(text: str, at: int) -> str:
    """Where a person finds the character at `at`."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"line {line}, column {column}"


def printable(text: str) -> str:
    """Text of a file for one line of a screen: what would move the eye or the cursor is escaped as JSON would."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
