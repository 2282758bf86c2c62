"""A SQLite index over the segments, for searching.  Proof is the chain; the index is only a faster way to read it.

It is filled from the segments behind the writer's back, by whoever asks, never on the way of a message.  It may be
deleted at any time; the next question builds it again.  Blocking: call it from a worker thread.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from broker.audit.receipt import GENESIS
from broker.audit.segments import lines, segments
from broker.errors import AuditError
from broker.model import JsonObject

NAME: Final = "index.sqlite3"
MAX_LIMIT: Final = 1000
_BATCH: Final = 500  # entries a transaction
_COLUMNS: Final = ("client", "server", "session", "kind", "rule", "method", "target")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
  seq INTEGER PRIMARY KEY, time TEXT NOT NULL, hash TEXT NOT NULL, line TEXT NOT NULL,
  client TEXT, server TEXT, session TEXT, kind TEXT, rule TEXT, method TEXT, target TEXT
);
CREATE INDEX IF NOT EXISTS by_time ON entry (time);
CREATE INDEX IF NOT EXISTS by_session ON entry (session, seq);
CREATE INDEX IF NOT EXISTS by_server ON entry (server, seq);
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), segment TEXT, end INTEGER, hash TEXT);
PRAGMA user_version = 1;
"""
_INSERT: Final = "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Position:
    """How far the segments are indexed."""

    segment: str = ""
    end: int = 0
    hash: str = GENESIS


class Index:
    """Searches one audit folder.  Safe to call from several threads; they wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._drop_connection()

    def tail(self, n: int = 20) -> list[JsonObject]:
        """The last `n` entries, oldest first."""
        return self.search(limit=n)

    def follow(self, after: int, limit: int = 100) -> list[JsonObject]:
        """The entries with a number above `after`, oldest first: ask again with the last number seen."""
        rows = self._ask("SELECT line FROM entry WHERE seq > ? ORDER BY seq LIMIT ?", [after, _bounded(limit)])
        return [json.loads(line) for (line,) in rows]

    def show(self, seq: int) -> JsonObject | None:
        """Entry number `seq`."""
        rows = self._ask("SELECT line FROM entry WHERE seq = ?", [seq])
        return json.loads(rows[0][0]) if rows else None

    def search(
        self, *, client: str = "", server: str = "", session: str = "", tool: str = "", kind: str = "", rule: str = "",
        since: float | None = None, text: str = "", limit: int = 100,
    ) -> list[JsonObject]:  # fmt: skip
        """The last `limit` entries for which everything given holds, oldest first.

        `since` is seconds since the epoch; `text` stands anywhere in the entry, in any case of ASCII letters.
        """
        wanted: dict[str, str | int | float] = {}
        equal = {"client": client, "server": server, "session": session, "kind": kind, "rule": rule}
        for column, value in equal.items():
            if value:
                wanted[f"{column} = ?"] = value
        if tool:
            wanted["method = 'tools/call' AND target = ?"] = tool
        if since is not None:
            wanted["time >= ?"] = datetime.fromtimestamp(since, UTC).isoformat(timespec="microseconds")[:26]
        if text:
            within = json.dumps(text)[1:-1]  # the line is ASCII JSON, so that is how the text looks in it
            for character in "\\%_":
                within = within.replace(character, "\\" + character)
            wanted["line LIKE ? ESCAPE '\\'"] = f"%{within}%"
        where = " AND ".join(wanted) or "1"
        # `where` is made of the constant pieces above; every value is a parameter.
        query = f"SELECT line FROM entry WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608
        rows = self._ask(query, [*wanted.values(), _bounded(limit)])
        return [json.loads(line) for (line,) in reversed(rows)]

    def _ask(self, query: str, values: list[str | int | float]) -> list[tuple[str]]:
        with self._lock:
            try:
                return self._try(query, values)
            except sqlite3.DatabaseError:  # damaged, or deleted under us: it holds nothing that the segments lack
                self._delete()
            try:
                return self._try(query, values)
            except sqlite3.Error as cause:
                raise AuditError(f"the audit index cannot be built: {cause}", hint=f"delete {self._path}") from cause

    def _try(self, query: str, values: list[str | int | float]) -> list[tuple[str]]:
        database = self._connected()
        self._catch_up(database)
        return database.execute(query, values).fetchall()

    def _connected(self) -> sqlite3.Connection:
        if self._database is not None and not self._path.exists():
            self._drop_connection()
        if self._database is None:
            try:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            except OSError as cause:
                raise AuditError(f"{self._path} cannot be made: {cause.strerror}") from cause
            self._database = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
            self._database.executescript(_SCHEMA)
        return self._database

    def _drop_connection(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _delete(self) -> None:
        self._drop_connection()
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(NAME + suffix).unlink()

    def _catch_up(self, database: sqlite3.Connection) -> None:
        """Index what was appended since the last time."""
        row = database.execute("SELECT segment, end, hash FROM position").fetchone()
        position = _Position(*row) if row else _Position()
        if not self._still_there(position):
            database.execute("DELETE FROM entry")
            position = _Position()
        for batch, reached in self._batches(position):
            with database:
                database.executemany(_INSERT, batch)
                place = (reached.segment, reached.end, reached.hash)
                database.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?)", place)

    def _still_there(self, position: _Position) -> bool:
        """Whether the segments still hold what was indexed last; they do not after a new chain was begun."""
        if not position.segment:
            return True
        ending = f',"hash":"{position.hash}"}}\n'.encode("ascii")
        try:
            with (self._folder / position.segment).open("rb") as file:
                file.seek(max(0, position.end - len(ending)))
                return file.read(len(ending)) == ending
        except FileNotFoundError:
            return False

    def _batches(self, position: _Position) -> Iterator[tuple[list[tuple[object, ...]], _Position]]:
        for file in segments(self._folder):
            if file.name < position.segment:
                continue
            end = position.end if file.name == position.segment else 0
            batch: list[tuple[object, ...]] = []
            for line in lines(file, end):
                if not line.endswith(b"\n"):
                    break  # being written right now
                end += len(line)
                if (row := _row(line)) is None:
                    continue  # not an entry of ours; `verify` names it
                batch.append(row)
                position = _Position(file.name, end, str(row[2]))
                if len(batch) == _BATCH:
                    yield batch, position
                    batch = []
            if batch:
                yield batch, position


def _row(line: bytes) -> tuple[object, ...] | None:
    try:
        entry = json.loads(line)
        values = [entry[column] for column in ("seq", "time", "hash")]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    columns = [entry.get(column) for column in _COLUMNS]
    if not isinstance(values[0], int) or not 0 < values[0] < 2**63:
        return None
    if not all(value is None or isinstance(value, str) for value in columns):
        return None
    return (*values, line.decode("ascii", "replace").rstrip("\n"), *columns)


def _bounded(limit: int) -> int:
    return max(0, min(limit, MAX_LIMIT))
