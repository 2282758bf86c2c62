"""The new text of one server entry: our launch line in the place of its own, everything else as it was written.

Values that stay are copied as text, never read and written again, so numbers, escapes and comments inside them keep
their form.  The layout follows the entry's own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.clients.jsonc import Object
from broker.model import ClientName

LAUNCH_KEYS: Final = ("command", "args", "env")


@dataclass(frozen=True, slots=True)
class ShimEntry:
    """What a client launches in the server's place."""

    command: str
    args: tuple[str, ...]


def fast_form(python: str, shim: str, client: ClientName, home: str) -> Callable[[str], ShimEntry]:
    """The launch line that starts in milliseconds, for each server name."""
    return lambda name: ShimEntry(python, ("-I", "-S", "-E", shim, name, "--client", client, "--home", home))


@dataclass(frozen=True, slots=True)
class Layout:
    """How an entry is written: between its members, after a colon, around a nested list."""

    newline: str
    outer: str
    inner: str
    space: str

    @classmethod
    def of(cls, text: str, node: Object) -> "Layout":
        if not node.members:
            return cls("", "", "", " ")
        first = node.members[0]
        head = text[node.start + 1 : first.start]
        space = "" if first.value.start == first.end + 1 else " "
        if "\n" not in head:
            return cls("", "", "", space)
        newline = "\r\n" if "\r\n" in head else "\n"
        return cls(newline, _indent(text, node.start), _indent(text, first.start), space)

    def written(self, members: Mapping[str, str]) -> str:
        """An object of keys and values that are text already."""
        rows = [f"{json.dumps(key, ensure_ascii=False)}:{self.space}{value}" for key, value in members.items()]
        if not self.newline:
            return "{" + f",{self.space}".join(rows) + "}"
        edge = self.newline + self.inner
        return "{" + edge + f",{edge}".join(rows) + self.newline + self.outer + "}"

    def list_of(self, texts: tuple[str, ...], *, wide: bool) -> str:
        """A list of texts, one a line when `wide` and the entry itself has lines."""
        rows = [json.dumps(text, ensure_ascii=False) for text in texts]
        if not wide or not self.newline:
            return "[" + f",{self.space}".join(rows) + "]"
        step = self.inner.removeprefix(self.outer) or "  "
        edge = self.newline + self.inner + step
        return "[" + edge + f",{edge}".join(rows) + self.newline + self.inner + "]"


def moved_entry(text: str, node: Object, shim: ShimEntry) -> str:
    """The entry `node` of `text` with its launch line replaced and its environment gone."""
    layout = Layout.of(text, node)
    args = node.get("args")
    wide = args is not None and "\n" in text[args.start : args.end]
    launch = {
        "command": json.dumps(shim.command, ensure_ascii=False),
        "args": layout.list_of(shim.args, wide=wide),
    }
    kept = {member.key: text[member.value.start : member.value.end] for member in node.members}
    members: dict[str, str] = {}
    for key, value in kept.items():
        if key == "command":
            members |= launch
        elif key not in LAUNCH_KEYS:
            members[key] = value
    return layout.written(members)


def _indent(text: str, at: int) -> str:
    """The white space that begins the line of `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]
