"""The new text of one server entry: our launch line in the place of its own, everything else as it was written.

Values that stay are copied as text, never read and written again, so numbers, escapes and comments inside them keep
their form.  The layout follows the entry's own.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.clients.families import Family
from broker.clients.tree import Edit, Member, Node, Object, edited
from broker.model import ClientName


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
    """How an entry inside braces is written: between its members, after a colon, around a nested list."""

    newline: str
    outer: str
    inner: str
    space: str
    mark: str = ":"
    edge: str = ""

    @classmethod
    def of(cls, text: str, node: Object) -> "Layout":
        if node.style == "inline":
            return cls("", "", "", " ", " =", " ")
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
        rows = [f"{key}{self.mark}{self.space}{value}" for key, value in members.items()]
        if not self.newline:
            return "{" + self.edge + f",{self.space}".join(rows) + self.edge + "}"
        edge = self.newline + self.inner
        return "{" + edge + f",{edge}".join(rows) + self.newline + self.outer + "}"

    def list_of(self, texts: Sequence[str], *, wide: bool) -> str:
        """A list of texts, one a line when `wide` and the entry itself has lines."""
        rows = [quoted(text) for text in texts]
        if not wide or not self.newline:
            return "[" + f",{self.space}".join(rows) + "]"
        step = self.inner.removeprefix(self.outer) or "  "
        edge = self.newline + self.inner + step
        return "[" + edge + f",{edge}".join(rows) + self.newline + self.inner + "]"


def moved_entry(text: str, node: Object, shim: ShimEntry, family: Family) -> str:
    """The entry `node` of `text` with its launch line replaced and its environment gone.

    Of a server that runs elsewhere the address and the headers are replaced, and the type is that of a program.
    """
    keys = family.keys
    spot = next((key for key in (keys.command, *keys.urls) if node.get(key) is not None), keys.command)
    elsewhere = spot != keys.command
    kind = {"type": quoted(family.kind)} if elsewhere and node.get("type") is not None else {}
    if node.style in ("block", "table"):
        line = {keys.command: quoted(shim.command), keys.args: listed(shim.args), **kind}
        return edited_lines(text, node, line, drop=keys.headers if elsewhere else keys.env, spot=spot)
    layout = Layout.of(text, node)
    args = node.get(keys.args or keys.command)
    wide = args is not None and "\n" in text[args.start : args.end]
    line = {keys.command: quoted(shim.command), keys.args: layout.list_of(shim.args, wide=wide)}
    if not keys.args:
        line = {keys.command: layout.list_of((shim.command, *shim.args), wide=wide)}
    members: dict[str, str] = {}
    for member in node.members:
        if member.key == spot:
            members |= {named(node, key): value for key, value in line.items()}
        elif member.key in kind:
            members[text[member.start : member.end]] = kind[member.key]
        elif member.key not in (keys.elsewhere if elsewhere else keys.all):
            members[text[member.start : member.end]] = text[member.value.start : member.value.end]
    return layout.written(members)


def edited_lines(text: str, node: Object, values: Mapping[str, str], *, drop: str = "", spot: str = "") -> str:
    """An entry of lines with some values put in and one member taken out.

    A value the entry has no member for is put under the line of the one before it; the first must be there, or `spot`,
    which it then replaces.
    """
    mark = ": " if node.style == "block" else " = "
    edits: list[Edit] = []
    gone = list(_without(text, node, drop))
    ahead: Member | None = None
    for key, value in values.items():
        names = (key,) if ahead is not None else (key, spot)
        member = next((one for one in node.members if one.key in names), None)
        if member is not None and _apart(member.value):  # a table of its own cannot be given a value on one line
            gone += _without(text, node, key)
            member = None
        if member is None and ahead is not None:
            last = edits.pop()
            edits.append(Edit(last.start, last.end, last.text + _line_under(text, ahead) + key + mark + value))
        elif member is not None:
            start, name = (member.end, "") if member.key == key else (member.start, key)
            edits.append(Edit(start, member.value.end, name + mark + value))
            ahead = member
    inside = (Edit(one.start - node.start, one.end - node.start, one.text) for one in (*edits, *gone))
    return edited(text[node.start : node.end], inside)


def named(node: Object, key: str) -> str:
    """A key as an object of this style writes it."""
    return key if node.style in ("inline", "table", "block") else quoted(key)


def quoted(text: str) -> str:
    """A text in double quotes that JSON, YAML and TOML read alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(texts: Sequence[str]) -> str:
    """A list on one line that JSON, YAML and TOML read alike."""
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def _without(text: str, node: Object, key: str) -> Iterator[Edit]:
    """Take a member out of an entry of lines.  In YAML it may stand behind a dash, so there it is emptied instead."""
    member = next((one for one in node.members if one.key == key), None)
    if member is None:
        return
    value = member.value
    if node.style == "block":
        yield Edit(member.end, value.end, ": {}")
        return
    start = value.start if _apart(value) else member.start
    start = text.rfind("\n", 0, start) + 1
    end = text.find("\n", value.end)
    if end < 0 or end >= node.end:  # the entry's last line: the line end before it goes instead
        yield Edit(node.start + len(text[node.start : start].rstrip()), node.end, "")
    else:
        yield Edit(start, end + 1, "")


def _apart(value: Node) -> bool:
    return isinstance(value, Object) and value.style == "table"


def _line_under(text: str, member: Member) -> str:
    """A line end and the member's own column."""
    start = text.rfind("\n", 0, member.start) + 1
    newline = "\r\n" if "\r\n" in text[: member.start] else "\n"
    before = text[start : member.start]
    return newline + (" " * len(before) if before.strip(" \t") else before)


def _indent(text: str, at: int) -> str:
    """The white space that begins the line of `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]
