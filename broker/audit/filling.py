"""Filling the index from the segments: what of an entry can be searched, and how far it has come.

Every text stands once, as a word with a number, the columns it stands in (as bits) and how often; an entry is a row of
numbers.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.audit.receipt import GENESIS
from broker.audit.segments import first_seq, lines, segments

COLUMNS: Final = (
    "client", "server", "session", "link", "pin", "tier", "kind", "method", "target", "request", "verdict", "rule",
    "reason", "evidence",
)  # fmt: skip
_BATCH: Final = 5000  # entries a transaction
_KNOWN: Final = 100_000  # words kept at hand
SCHEMA: Final = f"""
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS word (
  id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, columns INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS entry (
  seq INTEGER PRIMARY KEY, time INTEGER, segment INTEGER, place INTEGER, length INTEGER,
  {", ".join(f"{column} INTEGER" for column in COLUMNS)}
);
{"".join(f"CREATE INDEX IF NOT EXISTS by_{column} ON entry ({column});" for column in COLUMNS)}
CREATE INDEX IF NOT EXISTS by_time ON entry (time);
CREATE TABLE IF NOT EXISTS story (name TEXT, seq INTEGER, PRIMARY KEY (name, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), segment TEXT, end INTEGER, hash TEXT);
CREATE TEMP TABLE hit (id INTEGER PRIMARY KEY);
PRAGMA user_version = 2;
"""
_INSERT: Final = f"INSERT OR REPLACE INTO entry VALUES ({', '.join('?' * (5 + len(COLUMNS)))})"  # noqa: S608 - constant pieces


@dataclass(frozen=True, slots=True)
class _Position:
    """How far the segments are indexed."""

    segment: str = ""
    end: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry: where it stands, and its words."""

    seq: int
    time: int
    segment: int
    place: int
    length: int
    hash: str
    words: tuple[str, ...]
    stories: tuple[str, ...]


def catch_up(database: sqlite3.Connection, folder: Path) -> None:
    """Index what was appended since the last time."""
    row = database.execute("SELECT segment, end, hash FROM position").fetchone()
    position = _Position(*row) if row else _Position()
    if not _still_there(folder, position):
        with database:
            for table in ("entry", "story", "word"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - one of three constants
        position = _Position()
    words = _Words(database)
    for batch, reached in _batches(folder, position):
        with database:
            rows = []
            stories = []
            for found in batch:
                numbers = [words.used(text, 1 << bit) if text else 0 for bit, text in enumerate(found.words)]
                rows.append((found.seq, found.time, found.segment, found.place, found.length, *numbers))
                stories += [(name, found.seq) for name in found.stories]
            database.executemany(_INSERT, rows)
            database.executemany("INSERT OR IGNORE INTO story VALUES (?, ?)", stories)
            words.save()
            place = (reached.segment, reached.end, reached.hash)
            database.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?)", place)


def microseconds(time: str) -> int:
    """The time of an entry since the epoch.

    Raises:
        ValueError: it is no time.
    """
    return round(datetime.fromisoformat(time).timestamp() * 1_000_000)


class _Words:
    """The numbers of texts."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._known: dict[str, int] = {}
        self._uses: dict[int, tuple[int, int]] = {}

    def used(self, text: str, bit: int) -> int:
        """The number of `text`, which stands in the column of `bit`."""
        number = self._number(text)
        columns, uses = self._uses.get(number, (0, 0))
        self._uses[number] = (columns | bit, uses + 1)
        return number

    def save(self) -> None:
        """Write down what was counted since the last time."""
        rows = [(columns, uses, number) for number, (columns, uses) in self._uses.items()]
        self._database.executemany("UPDATE word SET columns = columns | ?, uses = uses + ? WHERE id = ?", rows)
        self._uses.clear()

    def _number(self, text: str) -> int:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._database.execute("INSERT OR IGNORE INTO word (text) VALUES (?)", [text])
            (known,) = self._database.execute("SELECT id FROM word WHERE text = ?", [text]).fetchone()
            self._known[text] = known
        return known


def _still_there(folder: Path, position: _Position) -> bool:
    """Whether the segments still hold what was indexed last; they do not after a new chain was begun."""
    if not position.segment:
        return True
    ending = f',"hash":"{position.hash}"}}\n'.encode("ascii")
    try:
        with (folder / position.segment).open("rb") as file:
            file.seek(max(0, position.end - len(ending)))
            return file.read(len(ending)) == ending
    except FileNotFoundError:
        return False


def _batches(folder: Path, position: _Position) -> Iterator[tuple[list[_Found], _Position]]:
    batch: list[_Found] = []
    for file in segments(folder):
        if file.name < position.segment:
            continue
        end = position.end if file.name == position.segment else 0
        for line in lines(file, end):
            if not line.endswith(b"\n"):
                break  # being written right now
            place, end = end, end + len(line)
            if (found := _found(line, first_seq(file.name), place)) is None:
                continue  # not an entry of ours; `verify` names it
            batch.append(found)
            position = _Position(file.name, end, found.hash)
            if len(batch) == _BATCH:
                yield batch, position
                batch = []
    if batch:
        yield batch, position


def _found(line: bytes, segment: int, place: int) -> _Found | None:
    try:
        entry = json.loads(line)
        seq, hash, time = entry["seq"], entry["hash"], microseconds(entry["time"])
        texts = [entry.get(column) for column in COLUMNS]
        stories = tuple(map(_text, entry.get("stories") or ()))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(seq, int) or not 0 < seq < 2**63 or not isinstance(hash, str):
        return None
    return _Found(seq, time, segment, place, len(line), hash, tuple(map(_text, texts)), stories)


def _text(value: object) -> str:
    """A column as a word; lone surrogates, which no database takes, are replaced."""
    if isinstance(value, list):
        value = "\n".join(map(str, value))
    return "" if value is None else str(value).encode("utf-8", "replace").decode("utf-8")
