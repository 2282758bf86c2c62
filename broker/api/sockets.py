"""Two sockets, two powers: `connect.sock` may only open links, `control.sock` may answer questions and change policy.

Both lie in a folder only the user can enter, and every peer's uid is checked all the same.
"""

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path

from broker.errors import ConfigError, DaemonUnreachable
from broker.files import private_folder

BACKLOG = 128


def listen(path: Path) -> socket.socket:
    """Listen on a socket file, replacing a stale one.  The caller holds the home's lock, so any old file is stale.

    Raises:
        ConfigError: the folder is not the user's own, or the socket cannot be made there.
    """
    require_own_folder(path.parent)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        listener.listen(BACKLOG)
    except OSError as cause:
        raise ConfigError(f"{path} cannot be listened on: {cause.strerror}") from cause
    listener.setblocking(False)
    return listener


def is_answered(path: Path) -> bool:
    """Whether somebody listens on this socket file now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full: somebody listens, and has much to do
        except OSError:
            return False
        return True


def require_own_folder(folder: Path) -> None:
    """Make the folder, and refuse one that another user owns or may enter.

    Raises:
        ConfigError: it is a link, another user's, or open to others.
    """
    private_folder(folder)
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ConfigError(f"{folder} is not a folder of yours alone", hint=f"remove it, or: chmod 700 {folder}")


class AlreadyRunning(DaemonUnreachable):
    """Another daemon holds this home."""


def take_lock(lock: Path) -> int:
    """Take the home's lock, and return the descriptor that holds it.

    A daemon leaves it open: the kernel drops the lock with the process, so whoever gets it next finds nobody, and a
    killed daemon leaves none behind.

    Raises:
        AlreadyRunning: somebody else holds it.
    """
    private_folder(lock.parent)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        os.close(descriptor)
        raise AlreadyRunning("a daemon already runs for this home", hint="look at it with: bulkhead status") from cause
    return descriptor


def is_running(lock: Path) -> bool:
    """Whether a daemon's process is there: from before its sockets are until after its last server is gone."""
    try:
        os.close(take_lock(lock))
    except AlreadyRunning:
        return True
    return False
