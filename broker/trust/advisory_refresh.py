"""Refreshing the database of advisories: built beside the old one by another process, then put in its place at once.

A refresh that fails leaves the old database and its date as they were.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import TrustError
from broker.files import private_folder
from broker.trust.advisories import Advisories
from broker.trust.run import Command, Run, run_command, tool_environment
from broker.trust.tree import remove_tree

BUILDING: Final = 1800.0  # seconds; download and a quarter of a million records
_WORK: Final = "refresh"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`changed` is False when the source still had what we have; `unreadable` records were left out."""

    changed: bool
    taken: int
    unreadable: int


async def refresh(
    advisories: Advisories, source: str, environment: Mapping[str, str], *, run: Run = run_command
) -> Refreshed:
    """Take in what `source`, a file or an address, holds.

    Raises:
        TrustError: it cannot be had, is no archive of advisories, or another refresh goes on; the old ones stay.
    """
    folder = advisories.file.parent
    with _alone(folder) as work:
        new = work / "new.db"
        argv = (sys.executable, "-I", "-m", "broker.trust.advisory_intake", "--source", source,
                "--old", str(advisories.file), "--new", str(new))  # fmt: skip
        env = tool_environment(environment, work)
        finished = await run(Command(argv, work, work, env, timeout=BUILDING))
        said = _said(finished.stdout)
        if finished.code != 0 or "problem" in said:
            problem = str(said.get("problem", "the advisories could not be taken in"))
            raise TrustError(problem[:400], hint=str(said.get("hint", ""))[:200])
        await anyio.to_thread.run_sync(_swap, new, advisories.file)
    return Refreshed(bool(said.get("changed")), int(said.get("taken", 0)), int(said.get("unreadable", 0)))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """A folder to work in, for one refresh at a time across processes; what a crashed one left is swept."""
    try:
        private_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as cause:
        raise TrustError(f"{folder} cannot be used: {cause.strerror}") from cause
    work = folder / _WORK
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise TrustError("advisories are being refreshed already", hint="bulkhead advisories status") from cause
        remove_tree(work)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            remove_tree(work)
    finally:
        os.close(descriptor)


def _swap(new: Path, file: Path) -> None:
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.replace(file)


def _said(output: bytes) -> dict[str, int]:
    try:
        said = json.loads(output)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
