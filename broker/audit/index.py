"""A SQLite index over the segments, for searching.  Proof is the chain; the index is only a faster way to read it.

It is filled from the segments behind the writer's back, by whoever asks, never on the way of a message.  It may be
deleted at any time; the next question builds it again.  It holds where each entry stands and its words in clear, every
word once, so that a text is looked for among the words and not in every line.  Blocking: call it from a worker thread.
"""

import contextlib
import json
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from broker.audit.filling import COLUMNS, SCHEMA, catch_up
from broker.audit.segments import segment_name
from broker.errors import AuditError
from broker.model import JsonObject

NAME: Final = "index.sqlite3"
MAX_LIMIT: Final = 1000
_COMMON: Final = 0.2  # of all entries; what so many hold is met sooner on the way through all of them than looked up


@dataclass(frozen=True, slots=True)
class Wanted:
    """What entries are searched for: everything given must hold.

    `since` and `until` are seconds since the epoch; `text` stands in any column but the body, in any case of ASCII
    letters; `story` is the name of a request.
    """

    client: str = ""
    server: str = ""
    session: str = ""
    tool: str = ""
    kind: str = ""
    rule: str = ""
    verdict: str = ""
    story: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None
    after: int = 0


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
        return self.page(Wanted(after=after), limit)

    def page(self, wanted: Wanted, limit: int = MAX_LIMIT) -> list[JsonObject]:
        """The first entries that match, oldest first: ask again with `after` the last number seen."""
        return self._ask(wanted, "ASC", limit)

    def show(self, seq: int) -> JsonObject | None:
        """Entry number `seq`."""
        found = self.page(Wanted(after=seq - 1), 1)
        return found[0] if found and found[0]["seq"] == seq else None

    def search(
        self, *, client: str = "", server: str = "", session: str = "", tool: str = "", kind: str = "", rule: str = "",
        verdict: str = "", story: str = "", text: str = "", since: float | None = None, until: float | None = None,
        limit: int = 100,
    ) -> list[JsonObject]:  # fmt: skip
        """The last `limit` entries for which everything given holds (see `Wanted`), oldest first."""
        return self.last(Wanted(client, server, session, tool, kind, rule, verdict, story, text, since, until), limit)

    def last(self, wanted: Wanted, limit: int = MAX_LIMIT) -> list[JsonObject]:
        """The last entries that match, oldest first."""
        return self._ask(wanted, "DESC", limit)[::-1]

    def forget(self) -> None:
        """The segments were changed in their middle: build the index anew when it is next needed."""
        with self._lock:
            self._delete()

    def _ask(self, wanted: Wanted, order: str, limit: int) -> list[JsonObject]:
        with self._lock:
            try:
                return self._try(wanted, order, limit)
            except (sqlite3.DatabaseError, _Stale):  # damaged, or older than the segments, which hold all it holds
                self._delete()
            try:
                return self._try(wanted, order, limit)
            except (sqlite3.Error, _Stale) as cause:
                raise AuditError(f"the audit index cannot be built: {cause}", hint=f"delete {self._path}") from cause

    def _try(self, wanted: Wanted, order: str, limit: int) -> list[JsonObject]:
        database = self._connected()
        catch_up(database, self._folder)
        conditions, values = _conditions(database, wanted)
        where = " AND ".join(conditions) or "1"
        # Made of constant pieces; every value is a parameter.
        query = f"SELECT seq, segment, place, length FROM entry WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
        rows = database.execute(query, [*values, max(0, min(limit, MAX_LIMIT))]).fetchall()
        return self._entries(rows)

    def _entries(self, rows: list[tuple[int, int, int, int]]) -> list[JsonObject]:
        found: list[JsonObject] = []
        with contextlib.ExitStack() as files:
            opened = {}
            for seq, segment, place, length in rows:
                try:
                    if segment not in opened:
                        opened[segment] = files.enter_context((self._folder / segment_name(segment)).open("rb"))
                    opened[segment].seek(place)
                    entry = json.loads(opened[segment].read(length))
                except (FileNotFoundError, ValueError) as cause:
                    raise _Stale("the segments were changed") from cause
                if not isinstance(entry, dict) or entry.get("seq") != seq:
                    raise _Stale("the segments were changed")
                found.append(entry)
        return found

    def _connected(self) -> sqlite3.Connection:
        if self._database is not None and not self._path.exists():
            self._drop_connection()
        if self._database is None:
            try:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            except OSError as cause:
                raise AuditError(f"{self._path} cannot be made: {cause.strerror}") from cause
            self._database = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
            self._database.executescript(SCHEMA)
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


class _Stale(Exception):
    """The index speaks of entries that do not stand there."""


def _conditions(database: sqlite3.Connection, wanted: Wanted) -> tuple[list[str], list[int | str]]:
    """What must hold, in SQL, with its values."""
    equal = {
        "client": wanted.client, "server": wanted.server, "session": wanted.session, "kind": wanted.kind,
        "rule": wanted.rule, "verdict": wanted.verdict, "target": wanted.tool,
        "method": "tools/call" if wanted.tool else "",
    }  # fmt: skip
    conditions: list[str] = []
    values: list[int | str] = []
    for column, text in equal.items():
        if text:
            conditions.append(f"{column} = ?")
            values.append(_word(database, text))
    for condition, moment in (("time >= ?", wanted.since), ("time <= ?", wanted.until)):
        if moment is not None:
            conditions.append(condition)
            values.append(round(moment * 1_000_000))
    if wanted.after:
        conditions.append("seq > ?")
        values.append(wanted.after)
    if wanted.story:
        conditions.append("seq IN (SELECT seq FROM story WHERE name = ?)")
        values.append(wanted.story)
    if wanted.text:
        conditions.append(_within(database, wanted.text))
    return conditions, values


def _within(database: sqlite3.Connection, text: str) -> str:
    """That a text stands in some column: which words hold it, and then which entries hold one of them."""
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    database.execute("DELETE FROM temp.hit")
    database.execute("INSERT INTO temp.hit SELECT id FROM word WHERE text LIKE ? ESCAPE '\\'", [f"%{text}%"])
    words = "FROM word WHERE id IN (SELECT id FROM temp.hit)"
    (uses,) = database.execute(f"SELECT coalesce(sum(uses), 0) {words}").fetchone()
    masks = {row[0] for row in database.execute(f"SELECT DISTINCT columns {words}")}
    (entries,) = database.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()
    mark = "+" if uses > entries * _COMMON else ""  # a plus sign keeps SQLite from using the index of a column
    found = [column for bit, column in enumerate(COLUMNS) if any(mask >> bit & 1 for mask in masks)]
    within = " OR ".join(f"{mark}{column} IN temp.hit" for column in found)
    return f"({within})" if within else "0"


def _word(database: sqlite3.Connection, text: str) -> int:
    row = database.execute("SELECT id FROM word WHERE text = ?", [text]).fetchone()
    return int(row[0]) if row else -1
