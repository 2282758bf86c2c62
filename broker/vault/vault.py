"""The vault of one home: tokens, API keys and keys of our own, sealed under one key, or in memory only.  Never plain.

Where there is neither a keychain nor a passphrase, the vault forgets everything when the daemon ends, and says so.  A
vault that was sealed and does not open stays closed: whoever asks it for something gets the reason.
"""

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import BulkheadError
from broker.files import read_bounded
from broker.vault.backends import Keychain, KeychainProblem, find_keychain
from broker.vault.book import KEY_BYTES, Book, Place, VaultError, open_database, told
from broker.vault.seal import (
    MAX_PASSPHRASE,
    Seal,
    account_of,
    open_from_keychain,
    open_from_passphrase,
    seal_to_keychain,
    seal_to_passphrase,
)

FILE: Final = "vault.db"
CREDENTIAL: Final = "bulkhead-passphrase"
KEY_KIND: Final = "key"
MEMORY: Final = "memory"


class VaultClosed(VaultError):
    """The vault is sealed and was not opened; nothing in it can be had now."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a vault stands: `where` its key is, and the `problem` that keeps it closed.

    `memory` is where nothing lasts; `why` says what would have been better and is not there.
    """

    where: str
    problem: str = ""
    hint: str = ""
    why: str = ""

    @property
    def is_open(self) -> bool:
        return not self.problem

    @property
    def text(self) -> str:
        """In a few words, for a person."""
        if self.problem:
            return f"closed: {self.problem}"
        return f"{self.where} only: {self.why}" if self.why else self.where

    @property
    def lasts(self) -> bool:
        return self.is_open and self.where != MEMORY


class Vault:
    """The one owner of the book.  What asks a keychain or a passphrase blocks: call it in a thread."""

    def __init__(self, folder: Path, home: Path, find: Callable[[], Keychain] = find_keychain) -> None:
        self._find = find
        self._path = folder / FILE
        self._home = home
        self._book: Book | None = None
        self._seal: Seal | None = None
        self._turn = threading.RLock()
        self.standing = Standing("", "the vault was not opened yet")

    def __repr__(self) -> str:
        return f"<Vault {self.standing.where}>"

    @property
    def book(self) -> Book:
        """The rows.

        Raises:
            VaultClosed: it is sealed; the sentence says by what.
        """
        if self._book is None:
            raise VaultClosed(self.standing.problem, hint=self.standing.hint)
        return self._book

    def open(self, passphrase: str = "") -> Standing:
        """Open the vault, or make it on first use.  Idempotent; says how it stands and never raises for a closed one.

        Blocks for a few keychain calls, or for the half second a passphrase takes.
        """
        with self._turn:
            if self._book is None:
                try:
                    self._open(passphrase)
                except BulkheadError as problem:
                    self.standing = Standing(self.standing.where, str(problem), problem.hint)
            return self.standing

    def unlock(self, passphrase: str = "") -> Standing:
        """Try again to open a closed vault.

        Raises:
            VaultError, KeychainProblem: why it stays closed.
        """
        with self._turn:
            if self._book is None:
                self._open(passphrase)
            return self.standing

    def rotate(self, passphrase: str = "") -> Standing:
        """Seal everything anew: under a new key in the keychain, or under `passphrase` where one is given.

        Raises:
            VaultClosed, KeychainProblem, VaultError: it is as it was before.
        """
        with self._turn:
            book, old = self.book, self._seal
            key = secrets.token_bytes(KEY_BYTES)
            if passphrase:
                seal, where = seal_to_passphrase(passphrase, key), "passphrase"
            else:
                keychain = self._find()
                seal, where = seal_to_keychain(keychain, self._home, key), keychain.name
            if old is None:
                lasting = Book(self._fresh(seal), seal.text, key)
                book.copy_into(lasting)
                self._book = lasting
            else:
                book.reseal(seal.text, key)
            self._seal, self.standing = seal, Standing(where)
            if old is not None and old.how == "keychain":
                self._forget(old)
            return self.standing

    def key(self, name: str) -> bytes:
        """Our own key of this name, 32 random bytes, made on first use.  It lasts as long as the vault does.

        Raises:
            VaultClosed, VaultError: it cannot be had now.
        """
        place = Place(KEY_KIND, server=name)
        row = self.book.load(place)
        if row is None:
            self.book.add(place, secrets.token_bytes(KEY_BYTES))  # of several that make it at once, one does
            row = self.book.load(place)
        if row is None or len(row.value) != KEY_BYTES:
            raise VaultError(f"the vault holds no key {name}")
        return row.value

    def close(self) -> None:
        with self._turn:
            if self._book is not None:
                self._book.close()
            self._book = None
            self.standing = Standing(self.standing.where, "the vault is closed: the daemon ends")

    def _open(self, passphrase: str) -> None:
        if self._path.exists():
            database = open_database(self._path)
            try:
                with told():
                    found = database.execute("SELECT text FROM seal").fetchone()
                if found is not None:
                    self._unseal(database, Seal.of(found[0]), passphrase)
                    return
            except BaseException:
                database.close()
                raise
            database.close()  # somebody died between making the file and sealing it: it holds nothing
        key = secrets.token_bytes(KEY_BYTES)
        if passphrase:
            seal, where = seal_to_passphrase(passphrase, key), "passphrase"
        else:
            try:
                keychain = self._find()
                seal, where = seal_to_keychain(keychain, self._home, key), keychain.name
            except KeychainProblem as problem:
                self._book, self._seal, self.standing = _in_memory(key), None, Standing(MEMORY, why=str(problem))
                return
        self._book, self._seal, self.standing = Book(self._fresh(seal), seal.text, key), seal, Standing(where)

    def _unseal(self, database: sqlite3.Connection, seal: Seal, passphrase: str) -> None:
        if seal.how == "passphrase":
            self.standing = Standing("passphrase", "the vault is sealed", "bulkhead vault unlock")
            if not passphrase:
                raise VaultClosed("the vault is sealed under a passphrase", hint="bulkhead vault unlock")
            key, where = open_from_passphrase(seal, passphrase), "passphrase"
        else:
            self.standing = Standing("keychain", "the vault is sealed", "bulkhead vault unlock")
            keychain = self._find()
            key, where = open_from_keychain(seal, keychain, self._home), keychain.name
        self._book, self._seal, self.standing = Book(database, seal.text, key), seal, Standing(where)

    def _fresh(self, seal: Seal) -> sqlite3.Connection:
        """A file with this seal and no rows.  Two that make it at once: one does, the other is told."""
        database = open_database(self._path)
        try:
            with told():
                made = database.execute("INSERT OR IGNORE INTO seal VALUES (1, ?)", (seal.text,)).rowcount
            if not made:
                raise VaultError("another process made the vault just now", hint="try again")
        except BaseException:
            database.close()
            if seal.how == "keychain":
                self._forget(seal)
            raise
        return database

    def _forget(self, seal: Seal) -> None:
        """Remove a key that opens nothing any more; one that stays behind does no harm."""
        try:
            keychain = self._find()
            keychain.remove(account_of(self._home, seal.key_id))
        except KeychainProblem:
            return


def looked_at(folder: Path, home: Path, find: Callable[[], Keychain] = find_keychain) -> Standing:
    """How the vault of a home would open, found out without opening or changing it.

    `where` is empty for one that was never sealed.
    """
    path = folder / FILE
    if not path.exists():
        return Standing("")
    try:
        with told(), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            found = database.execute("SELECT text FROM seal").fetchone()
        if found is None:
            return Standing("")
        seal = Seal.of(found[0])
        if seal.how == "passphrase":
            return Standing("passphrase")
        keychain = find()
        open_from_keychain(seal, keychain, home)
    except BulkheadError as problem:
        return Standing("keychain", str(problem), problem.hint)
    return Standing(keychain.name)


def passphrase_given(environment: Mapping[str, str]) -> str:
    """The passphrase a service manager hands over in a folder of credentials; empty if it hands over none.

    Raises:
        ConfigError: there is one that cannot be read.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        return ""
    try:
        return read_bounded(Path(folder) / CREDENTIAL, 4 * MAX_PASSPHRASE).decode("utf-8", "replace").rstrip("\n")
    except FileNotFoundError:
        return ""


def _in_memory(key: bytes) -> Book:
    database = open_database(None)
    database.execute("INSERT INTO seal VALUES (1, 'memory')")
    return Book(database, "memory", key)
