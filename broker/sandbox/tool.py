"""One run of a tool in a box of its own, to its end: what it wrote comes back plain, and nothing of it stays alive.

What a tool leaves in its work folder is the broker's to read afterwards, so links and special files are taken out of
it: none of them leads a reader anywhere.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import Fact, SandboxSpec
from broker.sandbox.commands import Identity
from broker.sandbox.launcher import Launcher
from broker.sandbox.process import Instance, Streams

MAX_DEPTH: Final = 256  # folders; the deepest path Linux takes at once has 2048
BLOCK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a tool ended and what it said.  Its words come from outside: search them, never show them whole."""

    code: int
    stdout: bytes
    stderr: bytes


async def run_tool(
    launcher: Launcher, spec: SandboxSpec, record: Callable[[Fact], None], *, work: Path, seconds: float, limit: int
) -> Ended:
    """Run `spec` at most `seconds` long; `limit` bounds each of its two outputs.

    As root the work folder belongs to the box's own user meanwhile.

    Raises:
        MachineError: this machine cannot build a sandbox.
        SandboxError: it could not be built, took too long, or the tool said too much.
    """
    identity = launcher.identity()
    if identity.setpriv is not None:
        await asyncio.to_thread(_give, work, spec.cwd, identity)
    try:
        instance = await launcher.spawn(spec, record, identity)
        return await _to_its_end(instance, spec.server, seconds, limit)
    finally:
        await asyncio.shield(asyncio.to_thread(_take_back, work))


async def _to_its_end(instance: Instance, name: str, seconds: float, limit: int) -> Ended:
    streams = instance.take_streams()
    os.close(streams.stdin)
    try:
        async with asyncio.timeout(seconds):
            async with asyncio.TaskGroup() as tasks:
                output = tasks.create_task(_read(streams.stdout, limit, instance.kill))
                errors = tasks.create_task(_read(streams.stderr, limit, instance.kill))
            code = await instance.wait()
        if len(output.result()) > limit or len(errors.result()) > limit:
            raise SandboxError(f"{name} wrote more than {limit} bytes")
        return Ended(code, output.result(), errors.result())
    except TimeoutError as cause:
        hint = "check the connection, then try again"
        raise SandboxError(f"{name} did not finish within {seconds:.0f} seconds", hint=hint) from cause
    finally:
        _close(streams)
        instance.kill()
        await instance.stop()


async def _read(descriptor: int, limit: int, kill: Callable[[], None]) -> bytes:
    """All of it; whoever writes more than `limit` is killed."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        while len(data) <= limit:
            await ready.wait()
            try:
                part = os.read(descriptor, BLOCK)
            except BlockingIOError:
                ready.clear()
                continue
            if not part:
                break
            data += part
        if len(data) > limit:
            kill()
    finally:
        loop.remove_reader(descriptor)
    return bytes(data)


def _close(streams: Streams) -> None:
    os.close(streams.stdout)
    os.close(streams.stderr)


def _give(folder: Path, cwd: Path, identity: Identity) -> None:
    for path, _ in _below(folder):
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    for way in (folder, cwd, *cwd.parents):  # bwrap itself goes there, with no power over what is another user's
        if way.is_relative_to(folder):
            way.chmod(0o711)


def _take_back(folder: Path) -> None:
    """Everything is ours again, and only files and folders are left.  Nobody else is alive in there."""
    uid, gid = os.getuid(), os.getgid()
    for path, status in _below(folder):
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            os.unlink(path)
        elif (status.st_uid, status.st_gid) != (uid, gid) and uid == 0:
            os.chown(path, uid, gid, follow_symlinks=False)


def _below(folder: Path) -> list[tuple[str, os.stat_result]]:
    """The folder itself and everything in it, links not followed."""
    found = [(str(folder), os.stat(folder, follow_symlinks=False))]
    waiting = [(str(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise SandboxError("the tool nested its folders too deeply")
        with os.scandir(path) as scan:
            for entry in scan:
                status = entry.stat(follow_symlinks=False)
                found.append((entry.path, status))
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((entry.path, depth + 1))
    return found
