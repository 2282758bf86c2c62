"""What is mounted into a sandbox: opened here without following a link, and passed as descriptors with bwrap's options.

However a path changes between a person's yes and the launch, only what was opened is shown; what the server's own user
could not read is an error with a name.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import Mount, SandboxSpec
from broker.sandbox.commands import Identity
from broker.sandbox.kernel import open_without_links
from broker.sandbox.protect import guards_of
from broker.sandbox.roots import seen_at

MAX_DESCRIPTORS: Final = 240  # one message carries 253 (SCM_MAX_FD); the supervisor adds one


class Options:
    """Options and the descriptors they name, collected side by side."""

    def __init__(self, server: str, given: tuple[int, ...]) -> None:
        self._server = server
        self._made: set[Path] = set()
        self.words: list[str] = []
        self.descriptors = list(given)

    def add(self, *words: str) -> None:
        self.words += words

    def add_parents(self, target: Path) -> None:
        """Make the folders above `target`: left to itself, bwrap makes them so that only root may enter."""
        for folder in reversed(target.parents[:-1]):
            if folder not in self._made:
                self._made.add(folder)
                self.add("--dir", str(folder))

    def place(self, descriptor: int) -> str:
        """Take `descriptor` over; answer the number it will have."""
        self.descriptors.append(descriptor)
        if len(self.descriptors) > MAX_DESCRIPTORS:
            raise SandboxError(
                f"{self._server} needs more than {MAX_DESCRIPTORS} mounts", hint="grant fewer or smaller folders"
            )
        return str(len(self.descriptors) - 1)


def add_mounts(options: Options, spec: SandboxSpec, identity: Identity) -> tuple[str, ...]:
    """Code and grants, outer first, then the guards inside the writable ones; answer what a person should know."""
    for mount in spec.mounts:
        options.add_parents(mount.target)
        descriptor = opened(spec, mount)
        number = options.place(descriptor)
        if not mount.writable and not permitted(os.fstat(descriptor), identity, 0o4):
            raise SandboxError(
                f"{mount.source} is not readable for {spec.server}, which runs as user {identity.uid}",
                hint=f"started as root, Bulkhead gives every server its own user: chmod -R o+rX {mount.source}",
            )
        options.add("--bind-fd" if mount.writable else "--ro-bind-fd", number, str(mount.target))
    guarded = guards_of([replace(each, target=each.source) if each.writable else each for each in spec.mounts])
    numbers: list[str] = []
    try:
        for guard in guarded.guards:
            numbers.append(options.place(guard.descriptor))
    except BaseException:
        for guard in guarded.guards[len(numbers) + 1 :]:  # `place` has taken over the one it refused
            os.close(guard.descriptor)
        raise
    for guard, number in zip(guarded.guards, numbers, strict=True):
        options.add("--bind-fd" if guard.pin else "--ro-bind-fd", number, str(seen_at(spec, guard.path)))
    return (*guarded.warnings, *unwritable(spec, identity))


def opened(spec: SandboxSpec, mount: Mount) -> int:
    try:
        return open_without_links(mount.source)
    except FileNotFoundError as cause:
        raise SandboxError(
            f"{mount.source}, which {spec.server} was granted or runs from, does not exist",
            hint="restore it, or change the grant",
        ) from cause
    except OSError as cause:
        raise SandboxError(
            f"{mount.source} cannot be shown to {spec.server}: {cause.strerror}",
            hint="a folder that was replaced by a link after it was granted is refused; grant the real path",
        ) from cause


def permitted(status: os.stat_result, identity: Identity, bits: int) -> bool:
    """Whether the server's user has `bits` (4 read, 2 write, 1 search) on what was opened.

    An ordinary user's server is that user, who may do whatever opening it allowed.
    """
    if identity.setpriv is None:
        return True
    if stat.S_ISDIR(status.st_mode):
        bits |= 0o1
    of_others = status.st_mode >> (6 if status.st_uid == identity.uid else 0)
    return of_others & bits == bits


def unwritable(spec: SandboxSpec, identity: Identity) -> tuple[str, ...]:
    """Writable grants that the server's own user cannot write to (only when started as root)."""
    if identity.setpriv is None:
        return ()
    return tuple(
        f"{mount.target} is not writable for the server, which runs as user {identity.uid}: its owner must allow that"
        for mount in spec.mounts
        if mount.writable and not permitted(os.stat(mount.source), identity, 0o2)
    )
