"""Recorded sessions from a file: one object a line, with the calls and what came back; or an exported audit log.

Every line is read with a bound, and a broken or cut one is named by its number.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Final, cast

from broker.errors import PolicyError
from broker.model import JsonObject, ServerName
from broker.recorded import recorded
from broker.replay import Event

MAX_LINE: Final = 64 * 1024 * 1024  # a long session with its results
MAX_TRACES: Final = 1_000_000
MAX_LOG: Final = 512 * 1024 * 1024  # of an exported log, which is read whole: its sessions lie side by side
COLUMNS: Final = frozenset({
    "seq", "time", "kind", "side", "client", "server", "session", "link", "request", "method", "target", "verdict",
    "rule", "reason", "evidence", "digest", "body",
})  # fmt: skip
FORM: Final = 'a line is {"id": "...", "events": [{"server": "...", "tool": "...", "args": {...}, "result": "..."}]}'


@dataclass(frozen=True, slots=True)
class Trace:
    """One session.  `attack` and `marked`: whether it was attacked, and which calls were the attacker's.

    `receipts` is what was on record of it, where it comes from an export of Bulkhead's own.
    """

    id: str
    events: tuple[Event, ...]
    attack: bool | None = None
    marked: frozenset[int] = frozenset()
    receipts: tuple[JsonObject, ...] = ()


def read_traces(path: Path) -> Iterator[Trace]:
    """Every trace of the file, in its order: a line each, or the sessions of an exported audit log.

    Raises:
        PolicyError: the file cannot be read, or a line is no trace; the line is named.
    """
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        return
    every = chain((first,), rows)
    if _is_receipt(first.value):
        yield from _sessions(every)
    else:
        yield from (_trace(row) for row in every)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the file, and where it stands."""

    value: object
    where: str
    number: int
    size: int


def _rows(path: Path) -> Iterator[_Row]:
    name, number = path.name, 0
    try:
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            stream = cast(IO[bytes], file)
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                where = f"{name}, line {number}"
                if len(line) > MAX_LINE or number > MAX_TRACES:
                    what = f"is longer than {MAX_LINE} bytes" if len(line) > MAX_LINE else "is one too many"
                    raise PolicyError(f"{where} {what}", hint="split the file")
                if line.strip():
                    yield _Row(_parsed(line, where), where, number, len(line))
    except FileNotFoundError:
        raise PolicyError(f"there is no file {path}", hint="name a file of recorded sessions") from None
    except (OSError, EOFError, zlib.error) as cause:
        what = str(cause)[:1].lower() + str(cause)[1:200]
        raise PolicyError(f"{name}, line {number + 1} cannot be read: {what}", hint="name a whole file") from cause


def _parsed(line: bytes, where: str) -> object:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        cut = "" if line.endswith(b"\n") else "; the file ends in the middle of it"
        raise PolicyError(f"{where} is not JSON{cut}", hint=FORM) from None
    return found


def _trace(row: _Row) -> Trace:
    value = row.value if isinstance(row.value, dict) else {}
    events = value.get("events")
    if not isinstance(events, list):
        raise PolicyError(f"{row.where} holds no list of events", hint=FORM)
    attacked = {"attack": True, "benign": False}.get(str(value.get("label")))
    marked = frozenset(at for at, event in enumerate(events) if isinstance(event, dict) and event.get("attacker"))
    read = tuple(_event(event, f"{row.where}, event {at}") for at, event in enumerate(events))
    return Trace(str(value.get("id", row.number)), read, attacked, marked)


def _is_receipt(value: object) -> bool:
    return isinstance(value, dict) and value.keys() >= COLUMNS


def _sessions(rows: Iterable[_Row]) -> Iterator[Trace]:
    """Every session of an exported log in which something was called."""
    entries: list[JsonObject] = []
    sessions: dict[str, None] = {}
    size = 0
    for row in rows:
        size += row.size
        if not _is_receipt(row.value) or size > MAX_LOG:
            what = "is no receipt" if size <= MAX_LOG else f"is beyond {MAX_LOG} bytes"
            raise PolicyError(f"{row.where} {what}", hint="bulkhead audit export --bodies --session ID")
        entry = cast(JsonObject, row.value)
        said = entry["kind"] in ("decision", "result") and isinstance(entry["body"], dict) and "size" in entry["body"]
        if said and "digest" in entry["body"]:
            raise PolicyError(f"{row.where}: what was said is sealed", hint="bulkhead audit export --bodies")
        entries.append(entry)
        sessions.setdefault(entry["session"] or "", None)
    for session in sessions:
        own = tuple(entry for entry in entries if entry["session"] in (session, "", None) or _is_end(entry))
        events = tuple(one.event for one in recorded(entry for entry in own if entry["session"] == session))
        if session and events:
            yield Trace(session[:12], events, receipts=own)


def _is_end(entry: JsonObject) -> bool:
    return entry["method"] in ("session.end", "session.new")


def _event(event: object, where: str) -> Event:
    if not isinstance(event, dict) or not isinstance(event.get("server"), str):
        raise PolicyError(f"{where} names no server", hint=FORM)
    arguments: JsonObject = event["args"] if isinstance(event.get("args"), dict) else {"arguments": event.get("args")}
    result = event.get("result")
    text = result if isinstance(result, str) else "" if result is None else json.dumps(result)
    return Event(ServerName(event["server"]), str(event.get("tool") or ""), arguments, text)
