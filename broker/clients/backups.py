"""The sealed copies an import leaves behind, each with a note of what it is a copy of.

A backup exists before the client's file changes and goes only when the undo is written: whatever ends a process in
between, the original is there.  The note holds digests, never a value.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.clients.merge import Moved
from broker.clients.sealing import is_sealed, sealed, unsealed
from broker.errors import ConfigError
from broker.files import private_folder, read_bounded, sha256_hex, write_private
from broker.model import ClientName

VERSION: Final = 1
MAX_NOTE: Final = 1 << 20
_NOTE: Final = ".json"
_COPY: Final = ".before"


@dataclass(frozen=True, slots=True)
class Backup:
    """One import of one file: `before` and `after` are SHA-256 (hex) of the file's bytes then."""

    number: int
    client: ClientName
    path: Path
    before: str
    after: str
    moved: tuple[Moved, ...]


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one import or undo at a time.

    Raises:
        ConfigError: another one is at work.
    """
    private_folder(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise ConfigError("another import or undo is at work", hint="wait for it to end and try again") from cause
        yield
    finally:
        os.close(descriptor)


def keep(
    folder: Path, client: ClientName, path: Path, before: bytes, after: bytes, moved: tuple[Moved, ...],
    public: bytes = b"",
) -> Backup:  # fmt: skip
    """Store the copy, then its note: a copy without a note is no backup yet, a note without a copy cannot be.

    The copy is sealed to `public`, and with it those that were made before there was one.  Without it, it lies in the
    clear, for its owner alone.
    """
    if public:
        _seal_older(folder, public)
    number = max((one.number for one in all_backups(folder)), default=0) + 1
    backup = Backup(number, client, path, sha256_hex(before), sha256_hex(after), moved)
    note = {
        "version": VERSION,
        "client": client,
        "path": str(path),
        "before": backup.before,
        "after": backup.after,
        "entries": [{"where": list(one.where), "server": one.server, "digest": one.digest} for one in moved],
    }
    write_private(copy_of(folder, backup), sealed(before, public, _about(backup)) if public else before)
    write_private(_note_of(folder, backup), json.dumps(note, indent=1).encode())
    return backup


def all_backups(folder: Path) -> list[Backup]:
    """Every backup there is, oldest first.

    Raises:
        ConfigError: a note cannot be read.
    """
    if not folder.is_dir():
        return []
    notes = [path for path in folder.iterdir() if path.suffix == _NOTE]
    return sorted((_read(path) for path in notes), key=lambda one: one.number)


def original_of(folder: Path, backup: Backup, key: Callable[[], bytes]) -> bytes:
    """The file as it was before that import.  `key` gives what opens a sealed copy.

    Raises:
        ConfigError: the copy is gone, is not the one that was made, or cannot be opened now.
    """
    path = copy_of(folder, backup)
    try:
        data = read_bounded(path)
    except FileNotFoundError as cause:
        raise ConfigError(f"the backup {path} is gone") from cause
    if is_sealed(data):
        try:
            data = unsealed(data, key(), _about(backup))
        except ConfigError as cause:
            raise ConfigError(f"the backup {path} cannot be opened: {cause}", hint=cause.hint) from cause
    if sha256_hex(data) != backup.before:
        raise ConfigError(f"the backup {path} was changed since it was made", hint=f"compare it with {backup.path}")
    return data


def _seal_older(folder: Path, public: bytes) -> None:
    for backup in all_backups(folder):
        path = copy_of(folder, backup)
        with contextlib.suppress(FileNotFoundError):
            data = read_bounded(path)
            if not is_sealed(data):
                write_private(path, sealed(data, public, _about(backup)))


def _about(backup: Backup) -> bytes:
    return "\0".join((str(backup.number), backup.client, str(backup.path), backup.before)).encode(
        "utf-8", "surrogateescape"
    )


def forget(folder: Path, backup: Backup) -> None:
    """Remove a backup that is no longer needed: it may hold secrets.  The note goes first."""
    _note_of(folder, backup).unlink(missing_ok=True)
    copy_of(folder, backup).unlink(missing_ok=True)


def copy_of(folder: Path, backup: Backup) -> Path:
    return folder / f"{backup.number:06d}-{backup.client}{_COPY}"


def _note_of(folder: Path, backup: Backup) -> Path:
    return folder / f"{backup.number:06d}-{backup.client}{_NOTE}"


def _read(path: Path) -> Backup:
    try:
        note: dict[str, Any] = json.loads(read_bounded(path, MAX_NOTE))
        if note["version"] != VERSION:
            raise ValueError("another version")
        moved = tuple(Moved(tuple(one["where"]), one["server"], one["digest"]) for one in note["entries"])
        number = int(path.name.partition("-")[0])
        client = ClientName(note["client"])
        return Backup(number, client, Path(note["path"]), note["before"], note["after"], moved)
    except (ValueError, KeyError, TypeError, RecursionError, FileNotFoundError) as cause:
        copy = path.with_suffix(_COPY)
        hint = f"put {copy} back by hand, then remove both"
        raise ConfigError(f"{path} is not a note this version of Bulkhead wrote", hint=hint) from cause
