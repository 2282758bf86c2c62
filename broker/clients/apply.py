"""Write a plan into a client's file, and take it back.  Neither needs the daemon; taking back needs an open vault.

The file is replaced whole and only while it still holds what we read; links stay links, the mode stays the mode.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from broker.clients.backups import Backup, all_backups, copy_of, forget, keep, only_one, original_of
from broker.clients.entries import read_entries
from broker.clients.families import family_of
from broker.clients.found import read_through_links
from broker.clients.merge import Moved, put_back, value_digest
from broker.clients.notation import name_of, read
from broker.clients.plan import ImportPlan
from broker.clients.tree import Malformed, node_at, printable
from broker.errors import ConfigError
from broker.files import sha256_hex
from broker.model import ClientName

How: TypeAlias = Literal["restored", "merged", "unchanged", "failed"]
"""`restored`: byte for byte what it was.  `merged`: our entries are back among later edits.  `unchanged`: it was so
already.  `failed`: nothing was written, and the backup is kept."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one file.  `servers` are those its entries went to; `notes` are sentences for a person."""

    path: Path
    how: How
    servers: tuple[str, ...]
    notes: tuple[str, ...] = ()


def apply(plan: ImportPlan, backup_folder: Path, public: bytes = b"") -> Backup | None:
    """Back the file up, sealed to `public`, and write the plan; None when the plan changes nothing.

    Raises:
        ConfigError: the file changed since it was read, is not the user's own, or cannot be written.
    """
    if not plan.replacements:
        return None
    found = plan.found
    before, after = found.text.encode(), plan.after.encode()
    with only_one(backup_folder):
        target, data = _current(found.path)
        if target != found.target or data != before:
            raise _changed(found.path)
        backup = keep(backup_folder, found.client, found.path, before, after, _moved(plan), public)
        try:
            swap(target, after, expected=before)
        except ConfigError:
            if _current(found.path)[1] != after:  # else it was written, and only the folder could not be synced
                forget(backup_folder, backup)
            raise
    return backup


def undo(client: ClientName, backup_folder: Path, key: Callable[[], bytes]) -> tuple[Undone, ...]:
    """Take back every import of `client`, one answer a file.  `key` opens sealed copies, and is asked only for those.

    Raises:
        ConfigError: there is nothing to undo, or the backups cannot be read.
    """
    with only_one(backup_folder):
        files: dict[Path, list[Backup]] = {}
        for backup in reversed(all_backups(backup_folder)):
            if backup.client == client:
                files.setdefault(backup.path, []).append(backup)
        if not files:
            hint = "`bulkhead clients` shows which entries go through Bulkhead"
            raise ConfigError(f"there is nothing to undo for {client}", hint=hint)
        return tuple(_undo_file(path, backups, backup_folder, key) for path, backups in files.items())


def imported_clients(backup_folder: Path) -> tuple[ClientName, ...]:
    """The clients that have something to undo."""
    return tuple(dict.fromkeys(backup.client for backup in all_backups(backup_folder)))


def swap(target: Path, data: bytes, *, expected: bytes) -> None:
    """Replace `target` atomically while it holds `expected`, keeping its mode.

    Raises:
        ConfigError: it holds something else, has another owner or a second name, or the disk does not take it.
    """
    temporary = target.with_name(f".{target.name}.bulkhead-{secrets.token_hex(6)}")
    try:
        facts = target.stat()
        if facts.st_uid != os.geteuid():
            raise ConfigError(f"{target} belongs to another user", hint="run Bulkhead as that user")
        if facts.st_nlink > 1:  # the other name would keep the old contents
            raise ConfigError(f"{target} has a second name (a hard link)", hint="make it a file of its own first")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), stat.S_IMODE(facts.st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if _current(target)[1] != expected:
                raise _changed(target)
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(target.parent)
    except OSError as cause:
        hint = "check free space and permissions"
        raise ConfigError(f"{target} cannot be written: {cause.strerror}", hint=hint) from cause


def _undo_file(path: Path, backups: Sequence[Backup], folder: Path, key: Callable[[], bytes]) -> Undone:
    """Take back the imports of one file, the newest first, and write once."""
    servers = tuple(dict.fromkeys(one.server for backup in backups for one in backup.moved))
    try:
        target, current = _current(path)
        data = current
        notes: list[str] = []
        for backup in backups:
            data, said = _taken_back(data, backup, original_of(folder, backup, key))
            notes += said
        if data != current:
            swap(target, data, expected=current)
    except ConfigError as cause:
        kept = f"the file as it was stays in {copy_of(folder, backups[-1])}"
        return Undone(path, "failed", servers, (str(cause), *([cause.hint] if cause.hint else []), kept))
    how: How = "unchanged" if data == current else "merged"
    if sha256_hex(data) == backups[-1].before and data != current:
        how = "restored"
    for backup in backups:
        forget(folder, backup)
    return Undone(path, how, servers, (*notes, *_still_ours(data, path, backups[-1].client)))


def _taken_back(data: bytes, backup: Backup, original: bytes) -> tuple[bytes, Sequence[str]]:
    digest = sha256_hex(data)
    if digest == backup.after or digest == backup.before:
        return original, ()
    try:
        family = family_of(backup.client)
        text, notes = put_back(data.decode(), original.decode(), backup.moved, backup.path, family)
    except (Malformed, UnicodeDecodeError) as cause:
        raise ConfigError(
            f"{backup.path} is no longer {name_of(backup.path)} its client can read, {cause}", hint="mend it first"
        ) from cause
    return text.encode(), notes


def _still_ours(data: bytes, path: Path, client: ClientName) -> list[str]:
    """Entries that go through Bulkhead although no import put them there."""
    family = family_of(client)
    try:
        entries = read_entries(read(data.decode(), path, comments=family.comments), family, "")
    except (Malformed, UnicodeDecodeError):  # restored byte for byte to what it was: not ours to judge
        return []
    return [
        f"{printable(one.name)} still goes through Bulkhead: no import put it there"
        for one in entries
        if one.fate == "bulkhead"
    ]


def _moved(plan: ImportPlan) -> tuple[Moved, ...]:
    document = read(plan.after, plan.found.path, comments=plan.found.family.comments)
    return tuple(
        Moved(one.entry.where, one.server, value_digest(node))
        for one in plan.replacements
        if (node := node_at(document.root, one.entry.where)) is not None
    )


def _current(path: Path) -> tuple[Path, bytes]:
    try:
        return read_through_links(path)
    except FileNotFoundError as cause:
        raise ConfigError(f"{path} is gone") from cause


def _changed(path: Path) -> ConfigError:
    return ConfigError(f"{path} changed while Bulkhead was at work", hint="nothing was written; run it again")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
