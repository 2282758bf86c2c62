"""Known malware and known vulnerabilities, asked without a network: a database of advisories on this machine.

No list of the user's servers leaves it: the whole database is fetched, never an answer about a package.  An advisory
is only ever added, replaced by a later word on the same id, or withdrawn by one; an older copy takes nothing away.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import TrustError
from broker.pin import PinnedArtifact
from broker.trust.osv import Affected, Ecosystem, Record, affects, ecosystems_of, known_as

FILE: Final = "advisories.db"
OLD_DAYS: Final = 30  # past it a person is told that nobody refreshed
_VERSION: Final = 1
_SCHEMA: Final = """
create table if not exists record (id text primary key, modified text, withdrawn int, malware int, summary text);
create table if not exists affected (ecosystem text, name text, id text, versions text, ranges text);
create index if not exists by_name on affected (ecosystem, name);
create index if not exists by_id on affected (id);
create table if not exists source (name text primary key, fetched real, etag text, sha256 text);
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """An advisory that means a pinned package."""

    package: str
    version: str
    id: str
    malware: bool
    summary: str

    def __str__(self) -> str:
        what = "known malware" if self.malware else "a known vulnerability"
        return f"{self.package} {self.version} has {what}: {self.id} {self.summary}".rstrip()


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the database holds: how many advisories, how many of them on malware, and how new they are.

    `fetched` is when it was last refreshed (seconds since the epoch), `newest` the latest change of an advisory.
    """

    records: int
    malware: int
    fetched: float
    newest: str
    sources: tuple[str, ...]


class Advisories:
    """The database of one home.  It is opened anew for every question, so a replaced file counts at once."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE

    @property
    def present(self) -> bool:
        return self.file.exists()

    @property
    def stamp(self) -> tuple[int, int]:
        """Another one for another database; (0, 0) without one."""
        try:
            found = self.file.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def check(self, artifact: PinnedArtifact) -> tuple[Hit, ...]:
        """Every advisory on a package of the closure, malware first.  Takes milliseconds; none without a database.

        Raises:
            TrustError: there is a database, and it cannot be read.
        """
        if not artifact.packages or not self.present:
            return ()
        packages = {
            (ecosystem, each.name, each.version)
            for each in artifact.packages
            for ecosystem in ecosystems_of(each.integrity)
        }
        with _reading(self.file) as database:
            hits = {hit for ecosystem, name, version in packages for hit in _hits(database, ecosystem, name, version)}
        return tuple(sorted(hits, key=lambda hit: (not hit.malware, hit.package, hit.id)))

    def refuse_malware(self, server: str, artifact: PinnedArtifact) -> None:
        """Stand between a pin and its start.

        Raises:
            TrustError: a package of the closure is known malware, by its name and the advisory's id.
        """
        for hit in self.check(artifact):
            if hit.malware:
                raise TrustError(
                    f"server {server!r} is not started: {hit}",
                    hint=f"look the advisory up; then: bulkhead remove {server}, or bulkhead pin {server} --update",
                )

    def holdings(self) -> Holdings | None:
        """What there is to ask; None without a database.

        Raises:
            TrustError: there is one, and it cannot be read.
        """
        if not self.present:
            return None
        with _reading(self.file) as database:
            count, malware, newest = database.execute(
                "select count(*), coalesce(sum(malware), 0), coalesce(max(modified), '') from record "
                "where not withdrawn"
            ).fetchone()
            sources = database.execute("select name, fetched from source order by name").fetchall()
        fetched = max((at for _, at in sources), default=0.0)
        return Holdings(count, malware, fetched, newest, tuple(name for name, _ in sources))


class Intake:
    """A database while it is written; nobody asks it before it has its name."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file)
        self._database.executescript(f"pragma journal_mode = off; pragma synchronous = off; {_SCHEMA}")
        self._database.execute(f"pragma user_version = {_VERSION}")

    def etag(self, source: str) -> str:
        """What the source called the copy we have; empty if we have none."""
        row = self._database.execute("select etag from source where name = ?", (source,)).fetchone()
        return str(row[0]) if row else ""

    def add(self, records: Iterable[Record]) -> int:
        """Take in what is newer than what we know; returns how many were."""
        taken = 0
        with self._database:
            for record in records:
                known = self._database.execute("select modified from record where id = ?", (record.id,)).fetchone()
                if known is not None and known[0] >= record.modified:
                    continue
                taken += 1
                self._database.execute("delete from affected where id = ?", (record.id,))
                self._database.execute(
                    "insert or replace into record values (?, ?, ?, ?, ?)",
                    (record.id, record.modified, record.withdrawn, record.malware, record.summary),
                )
                self._database.executemany(
                    "insert into affected values (?, ?, ?, ?, ?)",
                    [
                        (each.ecosystem, each.name, record.id, json.dumps(each.versions), json.dumps(each.ranges))
                        for each in record.affected
                        if not record.withdrawn
                    ],
                )
        return taken

    def note(self, source: str, fetched: float, etag: str, sha256: str) -> None:
        with self._database:
            self._database.execute("insert or replace into source values (?, ?, ?, ?)", (source, fetched, etag, sha256))

    def close(self) -> None:
        self._database.close()


def _hits(database: sqlite3.Connection, ecosystem: Ecosystem, name: str, version: str) -> Iterator[Hit]:
    rows = database.execute(
        "select id, malware, summary, versions, ranges from affected join record using (id) "
        "where ecosystem = ? and name = ? and not withdrawn",
        (ecosystem, known_as(ecosystem, name)),
    )
    for id, malware, summary, versions, ranges in rows:
        events = tuple(tuple((kind, at) for kind, at in each) for each in json.loads(ranges))
        if affects(Affected(ecosystem, name, tuple(json.loads(versions)), events), version):
            yield Hit(name, version, id, bool(malware), summary)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            if database.execute("pragma user_version").fetchone()[0] != _VERSION:
                raise sqlite3.DatabaseError("another version")
            yield database
        finally:
            database.close()
    except (sqlite3.Error, ValueError, TypeError) as cause:
        raise TrustError(
            f"the database of advisories at {os.fspath(file)} cannot be read",
            hint="remove it, then fetch it again: bulkhead advisories refresh",
        ) from cause
