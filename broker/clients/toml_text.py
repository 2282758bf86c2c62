"""TOML text as a tree.

`tomllib` says what the text means; this module says where it stands.  Both must agree on the whole text, so a form this
reader does not know is a file left alone, never a wrong edit.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from broker.clients.tree import MAX_DEPTH, Array, Document, Malformed, Member, Node, Object, Scalar, plain

_BLANK: Final = re.compile(r"[ \t\r\n]*+")
_COMMENT: Final = re.compile(r"#[^\r\n]*+")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'""")
_TEXT: Final = re.compile(
    r""""{3}(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}|'{3}(?:[^']|'{1,2}(?!'))*+'{3,5}|"(?:[^"\\\r\n]|\\.)*+"|'[^'\r\n]*+\'"""
)
_WORD: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ tT][0-9:.+Zz-]++|[^\s,\]}#]++")


@dataclass(slots=True)
class _Table:
    """A table while it is read.  `sections` are the headers it or a table below it was written under."""

    form: Literal["implied", "table", "inline"]
    members: dict[str, tuple[int, int, "_Table | list[_Table] | Node"]] = field(default_factory=dict)
    sections: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Section:
    """The text from one header to the end of its last statement.  The first one has no header."""

    start: int
    end: int


def parse(text: str) -> Document:
    """Read the whole text.

    Raises:
        Malformed: it is not TOML, or is written in a form Bulkhead does not edit.
    """
    try:
        meaning = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise Malformed(str(cause).lower() or "nested too deep") from cause
    try:
        document = _Reader(text).document()
        agreed = plain(document.root) == _plain(meaning)
    except (_Lost, RecursionError) as cause:
        raise Malformed("it is written in a form Bulkhead does not edit") from cause
    if not agreed:
        raise Malformed("it is written in a form Bulkhead does not edit")
    return document


class _Lost(Exception):
    """The reader does not know where it is."""


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._comments: list[tuple[int, int]] = []
        self._sections = [_Section(0, 0)]

    def document(self) -> Document:
        root = _Table("table")
        here = root
        at = self._skip(0)
        while at < len(self._text):
            if self._text.startswith("[", at):
                here, at = self._header(root, at)
            else:
                at = self._statement(here, at)
            self._sections[-1].end = at
            at = self._skip(at)
        members = tuple(self._members(root))
        return Document(self._text, Object(0, len(self._text), members, "fixed"), tuple(self._comments))

    def _header(self, root: _Table, start: int) -> tuple[_Table, int]:
        """The table a header opens, and the end of the header."""
        brackets = 2 if self._text.startswith("[[", start) else 1
        path, at = self._path(self._skip(start + brackets))
        at = self._expect("]" * brackets, at)
        number = len(self._sections)
        self._sections.append(_Section(start, at))
        table = root
        for step, (key, key_start, key_end) in enumerate(path):
            last = step == len(path) - 1
            known = table.members.get(key)
            value = known[2] if known else None
            if value is None:
                value = [] if last and brackets == 2 else _Table("implied")
                table.members[key] = key_start, key_end, value
            if isinstance(value, list):
                if last:
                    value.append(_Table("table"))
                value = value[-1]
            if not isinstance(value, _Table):
                raise _Lost
            value.sections.append(number)
            table = value
        if table.form == "implied":
            table.form = "table"
        return table, at

    def _statement(self, table: _Table, at: int) -> int:
        """Read `path = value` into `table`; the end of the value."""
        path, at = self._path(at)
        value, end = self._value(self._skip(self._expect("=", at)), 0)
        for key, start, stop in path[:-1]:
            known = table.members.setdefault(key, (start, stop, _Table("implied")))[2]
            if not isinstance(known, _Table):
                raise _Lost
            table = known
        key, start, stop = path[-1]
        table.members[key] = start, stop, value
        return end

    def _path(self, at: int) -> tuple[list[tuple[str, int, int]], int]:
        """A key with its dots, and where it ends."""
        path: list[tuple[str, int, int]] = []
        while True:
            found = _KEY.match(self._text, at)
            if found is None:
                raise _Lost
            written = found.group()
            key = next(iter(tomllib.loads(f"{written} = 0")))
            path.append((key, found.start(), found.end()))
            at = self._skip(found.end())
            if not self._text.startswith(".", at):
                return path, at
            at = self._skip(at + 1)

    def _value(self, at: int, depth: int) -> tuple[Node, int]:
        if depth > MAX_DEPTH:
            raise _Lost
        if self._text.startswith("[", at):
            return self._array(at, depth)
        if self._text.startswith("{", at):
            return self._inline(at, depth)
        found = _TEXT.match(self._text, at) or _WORD.match(self._text, at)
        if found is None:
            raise _Lost
        value = _plain(tomllib.loads(f"v = {found.group()}")["v"])
        return Scalar(at, found.end(), value), found.end()

    def _array(self, start: int, depth: int) -> tuple[Array, int]:
        items: list[Node] = []
        at = self._skip(start + 1)
        while not self._text.startswith("]", at):
            item, at = self._value(at, depth + 1)
            items.append(item)
            at = self._comma(at, "]")
        return Array(start, at + 1, tuple(items)), at + 1

    def _inline(self, start: int, depth: int) -> tuple[Object, int]:
        table = _Table("inline")
        at = self._skip(start + 1)
        while not self._text.startswith("}", at):
            path, at = self._path(at)
            value, at = self._value(self._skip(self._expect("=", at)), depth + 1)
            if len(path) > 1:
                raise _Lost  # dotted keys inside an inline table: nobody writes a server so
            key, key_start, key_end = path[0]
            table.members[key] = key_start, key_end, value
            at = self._comma(at, "}")
        return Object(start, at + 1, tuple(self._members(table)), "inline"), at + 1

    def _comma(self, at: int, closing: str) -> int:
        at = self._skip(at)
        return at if self._text.startswith(closing, at) else self._skip(self._expect(",", at))

    def _members(self, table: _Table) -> Iterator[Member]:
        for key, (start, end, value) in table.members.items():
            if isinstance(value, _Table):
                yield Member(key, start, end, self._object(value))
            elif isinstance(value, list):
                items = tuple(self._object(item) for item in value)
                yield Member(key, start, end, Array(items[0].start, items[-1].end, items))
            else:
                yield Member(key, start, end, value)

    def _object(self, table: _Table) -> Object:
        members = tuple(self._members(table))
        sections = sorted(set(table.sections))
        whole = table.form == "table" and sections == list(range(sections[0], sections[0] + len(sections)))
        if whole:
            start, end = self._sections[sections[0]].start, self._sections[sections[-1]].end
            return Object(start, end, members, "table")
        start = min((member.start for member in members), default=0)
        end = max((member.value.end for member in members), default=0)
        return Object(start, end, members, "fixed")

    def _skip(self, at: int) -> int:
        """Past white space, line ends and comments."""
        while True:
            blank = _BLANK.match(self._text, at)
            at = blank.end() if blank else at
            comment = _COMMENT.match(self._text, at)
            if comment is None:
                return at
            self._comments.append(comment.span())
            at = comment.end()

    def _expect(self, mark: str, at: int) -> int:
        if not self._text.startswith(mark, at):
            raise _Lost
        return at + len(mark)


def _plain(value: Any) -> Any:
    """A value of `tomllib` without dates: a tree has none, and nothing here needs one."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
