"""Programs of this machine by their bytes: their hash, who may change them, and the runtime they bring along.

A program that somebody else may rewrite is refused: its hash would be true for a moment only.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from broker.errors import TrustError
from broker.trust.tree import sha256_of

SYSTEM = Path("/usr")
"""What every sandbox sees read-only anyway."""

_STICKY_OPEN = stat.S_ISVTX


def fingerprint(path: Path, *, executable: bool) -> str:
    """SHA-256 (hex) of a program or script that only its owner and root can change.

    Raises:
        TrustError: it is missing, no plain file, not executable where it must be, or somebody else may write it.
    """
    try:
        real = path.resolve(strict=True)
        sha256, status = sha256_of(path)
    except (OSError, RuntimeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "its links go round in a circle"
        raise TrustError(f"{path} cannot be read: {reason}", hint="check that it is there and readable") from cause
    if executable and not status.st_mode & 0o111:
        raise TrustError(f"{path} is not executable", hint=f"chmod u+x {path}")
    if open_to_others(status):
        raise TrustError(f"{real} can be changed by other users", hint=f"chmod go-w {real}")
    check_parents(real, path.name)
    return sha256


def check_parents(real: Path, name: str) -> None:
    """Refuse a place whose name somebody else can give to another file or folder.

    Raises:
        TrustError: a folder above it can be changed by other users.
    """
    for folder in real.parents:
        found = folder.stat()
        if open_to_others(found) and not found.st_mode & _STICKY_OPEN:
            raise TrustError(f"{folder}, which holds {name}, can be changed by other users",
                             hint=f"chmod go-w {folder}")  # fmt: skip


def in_system(path: Path) -> bool:
    return path.is_relative_to(SYSTEM)


def runtime_prefix(path: Path, claimed: Path | None, homes: Iterable[str]) -> Path | None:
    """The folder a runtime needs beside its program, if it lies outside the system and is no one's whole home."""
    if claimed is None or in_system(path):
        return None
    prefix = claimed.resolve()
    wide = any(Path(home).resolve().is_relative_to(prefix) for home in homes if home)
    if wide or in_system(prefix) or len(prefix.parts) < 2 or not prefix.is_dir():
        return None
    return prefix


def open_to_others(status: os.stat_result) -> bool:
    """Group-writable is fine for root's group and for a private group, which has the number of its only member."""
    if status.st_uid not in {0, os.getuid()} or status.st_mode & 0o002:
        return True
    return bool(status.st_mode & 0o020) and status.st_gid not in {0, os.getuid()}
