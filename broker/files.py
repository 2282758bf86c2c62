"""Reading with a bound and writing whole.

A document of ours is replaced atomically and is owner-only from its first byte; a reader never sees half of it.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from broker.errors import ConfigError

MAX_DOCUMENT = 16 * 1024 * 1024  # far above any client's configuration seen in the field; a bound, not a wish


def read_bounded(path: Path, limit: int = MAX_DOCUMENT) -> bytes:
    """Return the whole file.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is no regular file, is larger than `limit` bytes, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO in its place must not hang us
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise ConfigError(f"{path} cannot be read: {cause.strerror}") from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError(f"{path} is not a regular file")
    try:
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
    except OSError as cause:
        raise ConfigError(f"{path} cannot be read: {cause.strerror}") from cause
    if len(data) > limit:
        raise ConfigError(f"{path} is larger than {limit} bytes")
    return data


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` with `data`, atomically and synced; owner-only unless `mode` says otherwise.

    Raises:
        ConfigError: the folder cannot be made or the disk does not take it; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        private_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as cause:
        hint = "check free space and permissions"
        raise ConfigError(f"{path} cannot be written: {cause.strerror}", hint=hint) from cause


def private_folder(path: Path) -> Path:
    """Make `path` and its missing parents; the folders made here are owner-only."""
    if not path.is_dir():
        private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    return path


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
