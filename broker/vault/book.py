"""Rows that nobody reads without the key: AES-256-GCM in SQLite, each bound to where it stands.

A row's kind, client, server, issuer and generation are authenticated with it, so a row that was moved, or whose number
was changed, is refused.  Generations only rise, across all rows and after a removal too: whoever replaces a row names
the generation it read, and of many tasks and processes that try, one succeeds.
"""

import contextlib
import json
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import ConfigError
from broker.files import private_folder

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_VALUE: Final = 256 * 1024  # the largest token answer seen had 8 KiB
MAX_WORD: Final = 2048  # characters of one part of a place; an issuer is an address
MAX_ROWS: Final = 10_000
BUSY_SECONDS: Final = 10.0  # another process writes; a write takes 2 ms
MAX_LEASE: Final = 300.0
Lease: TypeAlias = Literal["mine", "busy", "stale"]

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS seal (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counter (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), value INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0);
CREATE TABLE IF NOT EXISTS rows (
  kind TEXT NOT NULL, client TEXT NOT NULL, server TEXT NOT NULL, issuer TEXT NOT NULL, generation INTEGER NOT NULL,
  sealed BLOB NOT NULL, lease_owner TEXT NOT NULL DEFAULT '', lease_until REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, client, server)
);
"""


class VaultError(ConfigError):
    """A secret cannot be read or kept; nothing was given out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: what it is, and whose.  An empty part is a part like any other."""

    kind: str
    client: str = ""
    server: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What stood there.  `issuer` and `generation` are what the row was sealed with."""

    issuer: str
    generation: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Found:
    issuer: str
    generation: int
    sealed: bytes
    owner: str
    until: float


class Book:
    """The rows of one home, for every task and process that has its key.  Calls take a few milliseconds of disk."""

    def __init__(self, database: sqlite3.Connection, seal: str, key: bytes, clock: Callable[[], float] = time.time):
        """`seal` says how the key is kept: a book that was sealed anew by another process gives and takes nothing."""
        self._database = database
        self._seal = seal
        self._cipher = AESGCM(key)
        self._clock = clock
        self._turn = threading.RLock()

    def __repr__(self) -> str:
        return "<Book>"

    def load(self, place: Place) -> Row | None:
        """The row at a place.

        Raises:
            VaultError: it was not sealed with this key for this place.
        """
        with self._reading():
            found = self._found(place)
        if found is None:
            return None
        return Row(found.issuer, found.generation, self._opened(place, found.issuer, found.generation, found.sealed))

    def put(self, place: Place, value: bytes, *, issuer: str = "") -> int:
        """Write a row whatever was there; returns its generation.  A lease on what was there is over."""
        with self._writing():
            return self._write(place, issuer, value)

    def swap(self, place: Place, generation: int, value: bytes, *, issuer: str | None = None) -> int | None:
        """Replace exactly this generation, and end its lease; None if something else is there now, or nothing."""
        with self._writing():
            found = self._found(place)
            if found is None or found.generation != generation:
                return None
            return self._write(place, found.issuer if issuer is None else issuer, value)

    def add(self, place: Place, value: bytes, *, issuer: str = "") -> int | None:
        """Write a row where there is none; None if there is one."""
        with self._writing():
            return None if self._found(place) else self._write(place, issuer, value)

    def lease(self, place: Place, generation: int, owner: str, seconds: float) -> Lease:
        """Ask to be the one who replaces this generation.

        `mine` holds for `seconds`, then another may have it; `busy`: another has it; `stale`: read the row again.
        """
        assert owner and 0 < seconds <= MAX_LEASE
        with self._writing():
            found = self._found(place)
            if found is None or found.generation != generation:
                return "stale"
            now = self._clock()
            if (
                found.owner not in ("", owner) and now < found.until <= now + MAX_LEASE
            ):  # a clock may have been put back
                return "busy"
            self._lend(place, owner, now + seconds)
            return "mine"

    def release(self, place: Place, owner: str) -> None:
        """Give a lease back; one that is not this owner's stays."""
        with self._writing():
            found = self._found(place)
            if found is not None and found.owner == owner:
                self._lend(place, "", 0.0)

    def delete(self, place: Place, generation: int | None = None) -> bool:
        """Remove a row, or only this generation of it; False if it was not there."""
        with self._writing() as database:
            found = self._found(place)
            if found is None or generation not in (None, found.generation):
                return False
            database.execute("DELETE FROM rows WHERE kind = ? AND client = ? AND server = ?", _key(place))
            return True

    def places(self, kind: str) -> list[Place]:
        """Where rows of a kind stand, in order.  Nothing is decrypted."""
        with self._reading() as database:
            found = database.execute(
                "SELECT client, server FROM rows WHERE kind = ? ORDER BY client, server", (kind,)
            ).fetchall()
        return [Place(kind, client, server) for client, server in found]

    def reseal(self, seal: str, key: bytes) -> None:
        """Encrypt every row with another key and note how that one is kept, all at once or not at all."""
        with self._writing() as database:
            self._copy(database, Book(database, seal, key, self._clock))
        self._seal, self._cipher = seal, AESGCM(key)

    def copy_into(self, other: "Book") -> None:
        """Write every row into a book that has none yet."""
        with self._reading(), other._writing() as database:
            self._copy(database, other)

    def close(self) -> None:
        with self._turn:
            self._database.close()

    def _copy(self, into: sqlite3.Connection, other: "Book") -> None:
        rows = self._database.execute("SELECT kind, client, server, issuer, generation, sealed FROM rows").fetchall()
        for kind, client, server, issuer, generation, sealed in rows:
            place = Place(kind, client, server)
            value = self._opened(place, issuer, generation, sealed)
            into.execute(
                "INSERT OR REPLACE INTO rows (kind, client, server, issuer, generation, sealed) VALUES (?,?,?,?,?,?)",
                (kind, client, server, issuer, generation, other._sealed(place, issuer, generation, value)),
            )
        highest = self._database.execute("SELECT value FROM counter").fetchone()[0]
        into.execute("UPDATE counter SET value = max(value, ?)", (highest,))
        into.execute("INSERT OR REPLACE INTO seal VALUES (1, ?)", (other._seal,))

    def _found(self, place: Place) -> "_Found | None":
        found = self._database.execute(
            "SELECT issuer, generation, sealed, lease_owner, lease_until FROM rows"
            " WHERE kind = ? AND client = ? AND server = ?",
            _key(place),
        ).fetchone()
        return None if found is None else _Found(*found)

    def _lend(self, place: Place, owner: str, until: float) -> None:
        self._database.execute(
            "UPDATE rows SET lease_owner = ?, lease_until = ? WHERE kind = ? AND client = ? AND server = ?",
            (owner, until, *_key(place)),
        )

    def _write(self, place: Place, issuer: str, value: bytes) -> int:
        database, words = self._database, (*_key(place), issuer)
        if len(value) > MAX_VALUE or any(len(word) > MAX_WORD for word in words):
            raise VaultError(f"what should be kept as {place.kind} is larger than {MAX_VALUE // 1024} KiB")
        generation = int(database.execute("UPDATE counter SET value = value + 1 RETURNING value").fetchone()[0])
        database.execute(
            "INSERT OR REPLACE INTO rows (kind, client, server, issuer, generation, sealed) VALUES (?,?,?,?,?,?)",
            (*words, generation, self._sealed(place, issuer, generation, value)),
        )
        if database.execute("SELECT count(*) FROM rows").fetchone()[0] > MAX_ROWS:
            raise VaultError(f"the vault holds {MAX_ROWS} rows already", hint="remove secrets that are not needed")
        return generation

    def _sealed(self, place: Place, issuer: str, generation: int, value: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, _bound(place, issuer, generation))

    def _opened(self, place: Place, issuer: str, generation: int, sealed: bytes) -> bytes:
        try:
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest, _bound(place, issuer, generation))
        except (InvalidTag, ValueError, TypeError) as cause:
            raise VaultError(
                f"a row of the vault ({place.kind}) was changed or moved by somebody else, and is not used",
                hint="remove it and enter it again",
            ) from cause

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, told():
            self._check_seal()
            yield self._database

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._turn, told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._check_seal()
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    def _check_seal(self) -> None:
        found = self._database.execute("SELECT text FROM seal").fetchone()
        if found is None or found[0] != self._seal:
            raise VaultError("the vault was sealed anew by another process", hint="bulkhead down, then bulkhead up")


def open_database(path: Path | None) -> sqlite3.Connection:
    """The file of a book, owner-only from its first byte; without a path, memory.

    Raises:
        VaultError: it is not the user's own file, or no database.
    """
    if path is not None:
        private_folder(path.parent)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o600)
            facts = os.fstat(descriptor)
            os.close(descriptor)
        except OSError as cause:
            raise VaultError(f"the vault {path} cannot be opened: {cause.strerror}") from cause
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise VaultError(f"the vault {path} can be read by others, or is not yours", hint=f"chmod 600 {path}")
    with told():
        database = sqlite3.connect(
            path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "trusted_schema = OFF"):
                database.execute(f"PRAGMA {pragma}")
            database.executescript(_TABLES)
        except BaseException:
            database.close()
            raise
    return database


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What SQLite cannot do, in our words.  Its own say nothing of what was stored."""
    try:
        yield
    except sqlite3.Error as cause:
        raise VaultError(f"the vault cannot be used: {cause}", hint="look at the disk and the vault's file") from cause


def _key(place: Place) -> tuple[str, str, str]:
    return place.kind, place.client, place.server


def _bound(place: Place, issuer: str, generation: int) -> bytes:
    return json.dumps(["bulkhead row 1", *_key(place), issuer, generation]).encode()
