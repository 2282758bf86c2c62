"""JSON text as a tree.

The grammar is JSON's own; comments and trailing commas only where the client reads them too.  A name given twice is
refused: we would edit one of them and the client might read the other.
"""

import json
import re
from typing import Final

from broker.clients.tree import MAX_DEPTH, Array, Document, Malformed, Member, Node, Object, Scalar, place

_BLANK: Final = re.compile(r"[ \t\r\n]*+")
_COMMENT: Final = re.compile(r"//[^\r\n]*+|/\*.*?\*/", re.DOTALL)
_STRING: Final = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_WORD: Final = re.compile(r"[a-z]++")
_WORDS: Final = {"true": True, "false": False, "null": None}
_SMALL_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")  # exact in every client: JavaScript's own limit is 2**53


def parse(text: str, *, comments: bool) -> Document:
    """Read the whole text; `comments` allows comments and trailing commas.

    Raises:
        Malformed: with line, column and what was expected there.
    """
    return _Reader(text, comments).document()


class _Reader:
    def __init__(self, text: str, lenient: bool) -> None:
        self._text = text
        self._lenient = lenient
        self._comments: list[tuple[int, int]] = []

    def document(self) -> Document:
        start = 1 if self._text.startswith("\ufeff") else 0
        root = self._value(self._skip(start), 0)
        end = self._skip(root.end)
        if end < len(self._text):
            raise self._error(end, "expected the end of the file")
        return Document(self._text, root, tuple(self._comments))

    def _skip(self, at: int) -> int:
        """Past white space and, where allowed, comments."""
        while True:
            blank = _BLANK.match(self._text, at)
            at = blank.end() if blank else at
            if not self._text.startswith("/", at):
                return at
            comment = _COMMENT.match(self._text, at)
            if comment is None:
                raise self._error(at, "expected a value, or the comment does not end")
            if not self._lenient:
                raise self._error(at, "this client's file may not hold comments")
            self._comments.append(comment.span())
            at = comment.end()

    def _value(self, at: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(at, f"nested deeper than {MAX_DEPTH} levels")
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, depth)
            case "[":
                return self._array(at, depth)
            case '"':
                value, end = self._string(at)
                return Scalar(at, end, value)
            case _:
                return self._number_or_word(at)

    def _object(self, start: int, depth: int) -> Object:
        members: list[Member] = []
        keys: set[str] = set()
        at = self._skip(start + 1)
        while not self._text.startswith("}", at):
            key, end = self._string(at)
            if key in keys:
                raise self._error(at, f"the name {json.dumps(key)} is given twice")
            keys.add(key)
            colon = self._skip(end)
            if not self._text.startswith(":", colon):
                raise self._error(colon, "expected a colon")
            value = self._value(self._skip(colon + 1), depth + 1)
            members.append(Member(key, at, end, value))
            at = self._next(value.end, "}")
        return Object(start, at + 1, tuple(members))

    def _array(self, start: int, depth: int) -> Array:
        items: list[Node] = []
        at = self._skip(start + 1)
        while not self._text.startswith("]", at):
            items.append(self._value(at, depth + 1))
            at = self._next(items[-1].end, "]")
        return Array(start, at + 1, tuple(items))

    def _next(self, at: int, closing: str) -> int:
        """From the end of one item to the start of the next, or to the closing bracket."""
        at = self._skip(at)
        if self._text.startswith(closing, at):
            return at
        if not self._text.startswith(",", at):
            raise self._error(at, f"expected a comma or {closing}")
        at = self._skip(at + 1)
        if self._text.startswith(closing, at) and not self._lenient:
            raise self._error(at, "this client's file may not hold trailing commas")
        return at

    def _string(self, at: int) -> tuple[str, int]:
        found = _STRING.match(self._text, at)
        if found is None:
            raise self._error(at, "expected a string in double quotes, on one line")
        value: str = json.loads(found.group())
        return value, found.end()

    def _number_or_word(self, at: int) -> Scalar:
        number = _NUMBER.match(self._text, at)
        if number is not None:
            written = number.group()
            value = int(written) if _SMALL_INTEGER.fullmatch(written) else float(written)
            return Scalar(at, number.end(), value)
        word = _WORD.match(self._text, at)
        if word is None or word.group() not in _WORDS:
            raise self._error(at, "expected a value")
        return Scalar(at, word.end(), _WORDS[word.group()])

    def _error(self, at: int, what: str) -> Malformed:
        return Malformed(f"{place(self._text, at)}: {what}")
