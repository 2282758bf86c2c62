"""What servers keep between runs: one owner-only folder each, one writer at a time, bound as their home.

It is never code: nothing in it is pinned or started by us, and it goes with its server.
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.files import private_folder
from broker.model import ServerName
from broker.sandbox.watch import disk_use

WAIT: Final = 10.0  # a link that ends needs up to the waits of its stop; a client asks again after that
STEP: Final = 0.1
SHARED: Final = "server"
"""The name of the folder that all links of a server use, one after another."""
LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """One folder of state: whose, which, how much."""

    server: str
    key: str
    size: int
    in_use: bool


class Taken:
    """The right to write one folder, until `release`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    def release(self) -> None:
        """Idempotent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


class StateRooms:
    """The owner of all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def take(self, server: ServerName, key: str = SHARED, *, wait: float = WAIT) -> Taken:
        """The folder of `server`, made if it is new; waits a while for another link to let go of it.

        Raises:
            SandboxError: another link still has it, or it cannot be made.
        """
        try:
            room = await asyncio.to_thread(private_folder, self._folder / server)
            lock = os.open(room / f"{key}{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as cause:
            raise SandboxError(f"the state of {server} cannot be kept: {cause.strerror}") from cause
        try:
            deadline = asyncio.get_running_loop().time() + wait
            while not _locked(lock):
                if asyncio.get_running_loop().time() >= deadline:
                    raise SandboxError(
                        f"the state of {server} is in use by another link, and has one writer at a time",
                        hint=f"close the other client of {server}, or: bulkhead state use {server} session",
                    )
                await asyncio.sleep(STEP)
            private_folder(room / key)
        except BaseException as cause:
            os.close(lock)
            if isinstance(cause, OSError):
                raise SandboxError(f"the state of {server} cannot be kept: {cause.strerror}") from cause
            raise
        return Taken(room / key, lock)

    def list(self) -> list[Kept]:
        """All that is kept."""
        return [
            Kept(room.name, lock.name.removesuffix(LOCK), disk_use(lock.with_suffix("")), _is_locked(lock))
            for room in _folders(self._folder)
            for lock in sorted(room.glob(f"*{LOCK}"))
        ]

    async def remove(self, server: ServerName, *, wait: float = WAIT) -> None:
        """Clear it as soon as the links that end let go of it.

        Raises:
            SandboxError: one of them still has it after `wait` seconds.
        """
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            try:
                await asyncio.to_thread(self.clear, server)
                return
            except SandboxError:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(STEP)

    def clear(self, server: str) -> int:
        """Remove what `server` kept; answers how many folders that were.

        Raises:
            SandboxError: a link uses one of them.
        """
        room = self._folder / server
        locks = sorted(room.glob(f"*{LOCK}"))
        held: list[int] = []
        try:
            for lock in locks:
                held.append(os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
                if not _locked(held[-1]):
                    raise SandboxError(
                        f"the state of {server} is in use by a link", hint="end it first: bulkhead sessions"
                    )
            if room.is_dir():
                shutil.rmtree(room)
        except OSError as cause:
            raise SandboxError(f"the state of {server} cannot be removed: {cause.strerror}") from cause
        finally:
            for descriptor in held:
                os.close(descriptor)
        return len(locks)


def give(folder: Path, uid: int) -> None:
    """Let `uid` own all in `folder`: started as root, each run of a server is another user.

    The folder itself is ours until the sandbox is built, which has to enter it, and is given away in there.
    """
    os.chown(folder, os.getuid(), os.getgid(), follow_symlinks=False)
    for path, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            os.chown(os.path.join(path, name), uid, uid, follow_symlinks=False)


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # removed while we look
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)
