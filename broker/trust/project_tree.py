"""What is in a local project's folder: its list and hash, computed where it lies, and what changed since.

Everything that is not on the stated lists of what is left out counts.  What is left out is not shown to the server
either, or, for Python's caches, not read by it: nothing that was not hashed can run.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.errors import TrustError
from broker.pin import LaunchRequest
from broker.trust.programs import check_parents, in_system, open_to_others
from broker.trust.tree import FILE, FOLDER, MAX_DEPTH, Entry, Listing, digest, is_text

MAX_FILES = 100_000  # files, folders and links; a large node_modules has 40,000
MAX_BYTES = 2 * 1024 * 1024 * 1024  # hashed at every start, about a second a gigabyte
MAX_NAMED = 12  # changed files named in one sentence; the count says the rest

LEFT_OUT: Final = (
    ".git", ".hg", ".svn", ".jj", ".idea", ".vscode", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox",
    ".hypothesis", "node_modules/.cache",
)  # fmt: skip
"""Folders directly in a project that are neither hashed nor shown to its server."""
LEFT_OUT_OF_UV: Final = (*LEFT_OUT, ".venv")
"""The packages of a uv project are in the store; its own environment is not used."""
ANYWHERE: Final = frozenset({"__pycache__", ".DS_Store"})
"""Left out wherever they are; Python is told to read no cache from the project."""


def left_out(request: LaunchRequest) -> tuple[str, ...]:
    """What of a project's folder is neither hashed nor shown."""
    return LEFT_OUT_OF_UV if request.runner == "uv run" else LEFT_OUT


@dataclass(slots=True)
class _Survey:
    root: Path
    left_out: frozenset[str]
    entries: list[Entry] = field(default_factory=list)
    size: int = 0

    def add(self, entry: Entry, size: int = 0) -> None:
        self.entries.append(entry)
        self.size += size
        if len(self.entries) > MAX_FILES or self.size > MAX_BYTES:
            raise TrustError(
                f"{self.root} holds more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB, too much for every start",
                hint="keep the server in a folder of its own",
            )


def survey(root: Path, left_out: tuple[str, ...]) -> Listing:
    """Read the whole folder through descriptors; no link is followed.

    Raises:
        TrustError: it is not there, holds what is no file, folder or link, or somebody else can change it.
    """
    check_parents(root, root.name)
    found = _Survey(root, frozenset(left_out))
    try:
        descriptor = os.open(root, FOLDER)
    except OSError as cause:
        raise TrustError(f"{root} is no folder that can be read: {cause.strerror}", hint="check the path") from cause
    try:
        _closed(root, os.fstat(descriptor))
        _folder(found, descriptor, "", 0)
    finally:
        os.close(descriptor)
    return Listing(tuple(sorted(found.entries, key=lambda entry: entry.path.encode())), found.size)


def check_links(root: Path, listing: Listing, left_out: tuple[str, ...], allowed: tuple[Path, ...]) -> None:
    """Refuse links that lead to what is not pinned; the system and the pinned interpreter may be linked to.

    Raises:
        TrustError: the first such link, and where it leads.
    """
    real = root.resolve()
    hidden = [real / name for name in left_out]
    for entry in listing.entries:
        if entry.kind != "l":
            continue
        target = Path(os.path.realpath(root / entry.path))
        inside = target.is_relative_to(real) and not any(target.is_relative_to(each) for each in hidden)
        if not inside and not in_system(target) and not any(target.is_relative_to(each) for each in allowed):
            raise TrustError(
                f"{entry.path} is a link to {target}, which is not in the project and would not be pinned",
                hint="copy it into the project, or add the server with --dev",
            )


def changes(before: Listing, now: Listing) -> list[str]:
    """What a person reads: every file that was changed, added or is missing, by its path."""
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in now.entries}
    found = []
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            found.append(f"{_shown(path)} was added")
        elif path not in new:
            found.append(f"{_shown(path)} is missing")
        elif old[path] != new[path]:
            found.append(f"{_shown(path)} was changed")
    return found


def sentence(changed: list[str]) -> str:
    """The first changes, and how many more there are."""
    more = len(changed) - MAX_NAMED
    return ", ".join(changed[:MAX_NAMED]) + (f", and {more} more" if more > 0 else "")


def present(root: Path, left_out: tuple[str, ...]) -> Iterator[Path]:
    """The folders on the list that are there now: what has to be covered when the project is shown."""
    return (root / name for name in left_out if (root / name).is_dir() and not (root / name).is_symlink())


def _folder(found: _Survey, descriptor: int, inside: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TrustError(f"{inside} in {found.root} is nested too deeply")
    for name in sorted(os.listdir(descriptor)):
        path = inside + name
        if "\n" in path or not is_text(path):
            raise TrustError(f"the file name {path!a} in {found.root} cannot be listed", hint="rename it")
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if name in ANYWHERE or (path in found.left_out and stat.S_ISDIR(status.st_mode)):
            continue
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=descriptor)
            if "\n" in target or not is_text(target):
                raise TrustError(f"where the link {path} in {found.root} leads cannot be listed", hint="remove it")
            found.add(Entry("l", False, path, target))
        elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
            _entry(found, descriptor, name, path, stat.S_ISDIR(status.st_mode), depth)
        else:
            raise TrustError(f"{path} in {found.root} is no file, folder or link", hint="remove it")


def _entry(found: _Survey, parent: int, name: str, path: str, is_folder: bool, depth: int) -> None:
    try:
        child = os.open(name, FOLDER if is_folder else FILE, dir_fd=parent)
    except OSError as cause:
        raise TrustError(f"{path} in {found.root} cannot be read: {cause.strerror}", hint="check its mode") from cause
    try:
        status = os.fstat(child)
        _closed(found.root / path, status)
        if is_folder:
            found.add(Entry("d", False, path))
            _folder(found, child, f"{path}/", depth + 1)
            return
        if not stat.S_ISREG(status.st_mode):
            raise TrustError(f"{path} in {found.root} was replaced while it was read", hint="try again")
        found.add(Entry("f", bool(status.st_mode & 0o111), path, digest(child, status.st_size).hex()), status.st_size)
    finally:
        os.close(child)


def _closed(path: Path, status: os.stat_result) -> None:
    if open_to_others(status):
        raise TrustError(f"{path} can be changed by other users", hint=f"chmod go-w {path}")


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)[1:-1]
