"""Tool definitions from a file: lines of `{"server", "tool"}`, or one `tools/list` result.

Every line is read with a bound, and a broken one is named by its number.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from broker.errors import TrustError
from broker.model import JsonObject

MAX_LINE: Final = 4 * 1024 * 1024
MAX_RESULT: Final = 64 * 1024 * 1024  # a `tools/list` result stands on one line, or on many
MAX_DEFINITIONS: Final = 1_000_000
LINES: Final = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as its server advertises it.  `server` is empty where the file does not say it."""

    id: str
    server: str
    tool: JsonObject


def read_definitions(path: Path) -> Iterator[Definition]:
    """Every definition of the file, in its order.

    Raises:
        TrustError: it cannot be read, or is neither of the two forms; the line is named.
    """
    name = path.name
    try:
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            stream = cast(IO[bytes], file)
            yield from _lines(stream, name) if name.endswith(LINES) else _result(stream, name)
    except FileNotFoundError:
        raise TrustError(f"there is no file {path}", hint="name a file, or a registered server") from None
    except (OSError, EOFError) as cause:
        raise TrustError(f"{path} cannot be read: {cause}", hint="name another file") from cause


def _lines(file: IO[bytes], name: str) -> Iterator[Definition]:
    for number in range(1, MAX_DEFINITIONS + 2):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            raise TrustError(f"{name}, line {number} is longer than {MAX_LINE} bytes")
        if line.strip():
            yield _row(_json(line, f"{name}, line {number}"), f"{name}, line {number}", str(number))
    raise TrustError(f"{name} holds more than {MAX_DEFINITIONS} definitions", hint="split it")


def _row(row: object, where: str, number: str) -> Definition:
    if not isinstance(row, dict):
        raise TrustError(f"{where} is not an object")
    tool = row.get("tool", row)
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise TrustError(f"{where} holds no tool with a name", hint='a line is {"server": "...", "tool": {...}}')
    return Definition(str(row.get("id", number)), str(row.get("server", "")), tool)


def _result(file: IO[bytes], name: str) -> Iterator[Definition]:
    data = file.read(MAX_RESULT + 1)
    if len(data) > MAX_RESULT:
        raise TrustError(f"{name} is larger than {MAX_RESULT} bytes")
    document = _json(data, name)
    for _ in range(2):  # a whole answer holds the result
        if isinstance(document, dict) and "result" in document:
            document = document["result"]
    tools = document.get("tools") if isinstance(document, dict) else document
    if not isinstance(tools, list):
        raise TrustError(f"{name} holds no list of tools", hint='a tools/list result is {"tools": [...]}')
    for place, tool in enumerate(tools):
        yield _row(tool, f"{name}, tool {place + 1}", str(place + 1))


def _json(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise TrustError(f"{where} is not JSON") from None
