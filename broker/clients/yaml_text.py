"""YAML text as a tree.

PyYAML says what the text means and where every value stands.  Anchors, aliases, tags and merge keys are refused: with
them one line of the file is part of several entries, and an edit would change what nobody looked at.
"""

import bisect
import re
from typing import Any, Final

import yaml

from broker.clients.tree import MAX_DEPTH, Array, Document, Malformed, Member, Node, Object, Scalar

MAX_TEXT: Final = 256 * 1024  # characters; PyYAML reads about 100 KB a second, and real files have a few KB
_BLANK: Final = " \t\r\n"
_COMMENT: Final = re.compile(r"(?:(?<=[ \t\n])|^)#[^\r\n]*+", re.MULTILINE)


def parse(text: str) -> Document:
    """Read the whole text.

    Raises:
        Malformed: it is not one YAML document, is too long, or uses what is refused here.
    """
    if len(text) > MAX_TEXT:
        raise Malformed(f"it is longer than {MAX_TEXT} characters")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise Malformed("line 1, column 1: expected a value")
        reader = _Reader(text, loader)
        return Document(text, reader.node(root, 0), reader.comments())
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Malformed(f"{where}{cause.problem or 'not YAML'}") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise Malformed("it is not YAML Bulkhead can read") from cause


class _Loader(yaml.SafeLoader):
    """Refuses what makes one line part of several entries."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _at(event, "anchors, aliases and tags are not edited")
        return super().compose_node(parent, index)


class _Reader:
    def __init__(self, text: str, loader: yaml.SafeLoader) -> None:
        self._text = text
        self._loader = loader
        self._scalars: list[tuple[int, int]] = []

    def node(self, node: yaml.Node, depth: int) -> Node:
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, yaml.ScalarNode):
            self._scalars.append((start, end))
        if depth > MAX_DEPTH:
            raise _at(node, f"nested deeper than {MAX_DEPTH} levels")
        match node:
            case yaml.MappingNode():
                return self._object(node, start, end, depth)
            case yaml.SequenceNode():
                items = tuple(self.node(item, depth + 1) for item in node.value)
                return Array(start, end if node.flow_style or not items else items[-1].end, items)
            case _:
                end = start + len(self._text[start:end].rstrip(_BLANK))  # a block scalar's mark is behind its line end
                return Scalar(start, end, self._value(node))

    def _object(self, node: yaml.MappingNode, start: int, end: int, depth: int) -> Object:
        members: list[Member] = []
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str) or key.tag == "tag:yaml.org,2002:merge":
                raise _at(key, "expected a plain name")
            if any(member.key == name for member in members):
                raise _at(key, "this name is given twice")
            self._scalars.append((key.start_mark.index, key.end_mark.index))
            members.append(Member(name, key.start_mark.index, key.end_mark.index, self.node(value, depth + 1)))
        if node.flow_style or not members:
            return Object(start, end, tuple(members))
        return Object(start, members[-1].value.end, tuple(members), "block")

    def comments(self) -> tuple[tuple[int, int], ...]:
        """What begins like a comment, and not inside a value."""
        ends = dict(sorted(self._scalars))
        starts = list(ends)
        found: list[tuple[int, int]] = []
        for comment in _COMMENT.finditer(self._text):
            before = bisect.bisect_right(starts, comment.start()) - 1
            if before < 0 or ends[starts[before]] <= comment.start():
                found.append(comment.span())
        return tuple(found)

    def _value(self, node: yaml.Node) -> str | int | float | bool | None:
        value: Any = self._loader.construct_object(node)
        return value if value is None or isinstance(value, str | int | float | bool) else str(node.value)


def _at(node: yaml.Node | yaml.Event, what: str) -> Malformed:
    mark = node.start_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return Malformed(f"{where}{what}")
