"""Recorded sessions from a file: one object a line, with the calls and what came back.

Every line is read with a bound, and a broken or cut one is named by its number.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from broker.errors import PolicyError
from broker.model import JsonObject, ServerName
from broker.replay import Event

MAX_LINE: Final = 64 * 1024 * 1024  # a long session with its results
MAX_TRACES: Final = 1_000_000
FORM: Final = 'a line is {"id": "...", "events": [{"server": "...", "tool": "...", "args": {...}, "result": "..."}]}'


@dataclass(frozen=True, slots=True)
class Trace:
    """One session.  `attack` and `marked`: whether it was attacked, and which calls were the attacker's."""

    id: str
    events: tuple[Event, ...]
    attack: bool | None
    marked: frozenset[int]


def read_traces(path: Path) -> Iterator[Trace]:
    """Every trace of the file, in its order.

    Raises:
        PolicyError: the file cannot be read, or a line is no trace; the line is named.
    """
    name, number = path.name, 0
    try:
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            stream = cast(IO[bytes], file)
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE or number > MAX_TRACES:
                    what = f"is longer than {MAX_LINE} bytes" if len(line) > MAX_LINE else "is one too many"
                    raise PolicyError(f"{name}, line {number} {what}", hint="split the file")
                if line.strip():
                    yield _trace(line, f"{name}, line {number}", str(number))
    except FileNotFoundError:
        raise PolicyError(f"there is no file {path}", hint="name a file of recorded sessions") from None
    except (OSError, EOFError, zlib.error) as cause:
        what = str(cause)[:1].lower() + str(cause)[1:200]
        raise PolicyError(f"{name}, line {number + 1} cannot be read: {what}", hint="name a whole file") from cause


def _trace(line: bytes, where: str, number: str) -> Trace:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        cut = "" if line.endswith(b"\n") else "; the file ends in the middle of it"
        raise PolicyError(f"{where} is not JSON{cut}", hint=FORM) from None
    events = row.get("events") if isinstance(row, dict) else None
    if not isinstance(events, list):
        raise PolicyError(f"{where} holds no list of events", hint=FORM)
    attacked = {"attack": True, "benign": False}.get(str(row.get("label")))
    marked = frozenset(at for at, event in enumerate(events) if isinstance(event, dict) and event.get("attacker"))
    read = tuple(_event(event, f"{where}, event {at}") for at, event in enumerate(events))
    return Trace(str(row.get("id", number)), read, attacked, marked)


def _event(event: object, where: str) -> Event:
    if not isinstance(event, dict) or not isinstance(event.get("server"), str):
        raise PolicyError(f"{where} names no server", hint=FORM)
    arguments: JsonObject = event["args"] if isinstance(event.get("args"), dict) else {"arguments": event.get("args")}
    result = event.get("result")
    text = result if isinstance(result, str) else "" if result is None else json.dumps(result)
    return Event(ServerName(event["server"]), str(event.get("tool") or ""), arguments, text)
