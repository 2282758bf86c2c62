"""TOML that people write, read strictly: what is wrong in it, and in which line.

`tomllib` keeps no positions, so the text is searched for the place of a wrong value.
"""

import re
import tomllib
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from broker.errors import PolicyError

Document = TypeVar("Document", bound=BaseModel)

_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


def read_document(kind: type[Document], data: bytes, source: str, hint: str) -> tuple[Document, str]:
    """The document and its text.  `source` names the file in errors, `hint` says what to do about them.

    Raises:
        PolicyError: it is not TOML, has an unknown or missing key or a wrong value; the line is named.
    """
    try:
        text = data.decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as cause:
        line = data[: cause.start].count(b"\n") + 1
        raise PolicyError(f"{source}, line {line}: this is not UTF-8 text", hint=hint) from cause
    except tomllib.TOMLDecodeError as cause:
        raise PolicyError(f"{source}, {_syntax(str(cause), text)}", hint=hint) from cause
    except RecursionError as cause:
        raise PolicyError(f"{source} is not TOML: it is nested too deeply", hint=hint) from cause
    try:
        return kind.model_validate(table), text
    except ValidationError as cause:
        raise PolicyError(_first_problem(cause, text, source), hint=hint) from None


def _syntax(said: str, text: str) -> str:
    found = _AT_LINE.search(said)
    line = int(found.group(1)) if found else len(text.splitlines()) or 1
    said = said.removesuffix(" (at end of document)")
    return f"line {line} is not TOML: {said[: found.start()] if found else said}"


def _first_problem(error: ValidationError, text: str, source: str) -> str:
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt key is missing and unknown at once; the unknown one is where to look.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    where, message = first["loc"], first["msg"]
    key = ".".join(f"{part}[{where[at + 1]}]" if at + 1 < len(where) and isinstance(where[at + 1], int) else str(part)
                   for at, part in enumerate(where) if isinstance(part, str))  # fmt: skip
    kind = {"extra_forbidden": f"unknown key {key!r}", "missing": f"the key {key!r} is missing"}
    said = kind.get(first["type"], f"{key!r} is not acceptable: {message[:1].lower()}{message[1:]}")
    return f"{source}, line {line_of(text, where)}: {said}"


def line_of(text: str, where: tuple[str | int, ...]) -> int:
    """The line of `where`, or of the table it is in."""
    lines = text.splitlines() or [""]
    first, last = 0, len(lines)
    if len(where) > 1 and isinstance(where[1], int):
        heading = re.compile(rf"\s*\[\[\s*{re.escape(str(where[0]))}\s*\]\]")
        starts = [number for number, line in enumerate(lines) if heading.match(line)]
        if where[1] < len(starts):
            first = starts[where[1]]
            last = starts[where[1] + 1] if where[1] + 1 < len(starts) else len(lines)
    name = next((part for part in reversed(where) if isinstance(part, str)), "")
    key = re.compile(rf"""\s*(?:\[+\s*)?["']?{re.escape(name)}["']?\s*[=\].]""")
    for number in range(first, last):
        if key.match(lines[number]):
            return number + 1
    return first + 1
