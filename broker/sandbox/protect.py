"""What stays read-only inside a folder the server may write: files that run code when a person merely looks.

A file that exists is mounted over itself read-only, and every folder between it and the grant is mounted over itself
too, because a mount point cannot be renamed away.  Everything is opened here, without following a link, before the
sandbox exists; a link in such a place refuses the launch, since an earlier run of a server may have left it.
"""

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import Mount
from broker.sandbox.kernel import open_without_links

GUARDED: Final = (
    *(".gitmodules", ".envrc", ".mcp.json", ".vscode", ".idea", ".claude", ".cursor", ".husky"),
    *(".bashrc", ".bash_profile", ".profile", ".zshrc", ".zprofile"),
)
GUARDED_IN_GIT: Final = ("hooks", "config", "config.worktree", "commondir", "info/attributes", "modules", "worktrees")
"""What decides which programs git runs.  `commondir` moves all of it elsewhere, and may be created at any time: that is
why `.git` as a whole is read-only unless it was granted by name."""

MAX_DEPTH: Final = 3  # ~/projects/company/repository
MAX_FOLDERS: Final = 2000  # looked into per grant; a few milliseconds
UNSEARCHED: Final = frozenset({".git", "node_modules", ".venv"})
MAX_REPOSITORIES: Final = 16  # each costs up to a dozen descriptors, and one message carries 253


@dataclass(frozen=True, slots=True)
class Guard:
    """A path inside a writable grant, opened, to be mounted over itself.  A `pin` stays writable but not movable."""

    path: Path
    descriptor: int
    pin: bool


@dataclass(frozen=True, slots=True)
class Guards:
    """Every guard of one sandbox, outer first, and what a person should know about them."""

    guards: tuple[Guard, ...] = ()
    warnings: tuple[str, ...] = ()


def guards_of(mounts: Sequence[Mount]) -> Guards:
    """Open everything to be guarded in the writable ones of `mounts`.  The caller closes the descriptors.

    Raises:
        SandboxError: there is a symbolic link where one of the guarded names is.
    """
    granted = frozenset(mount.target for mount in mounts if mount.writable)
    found: dict[Path, Guard] = {}
    warnings: list[str] = []
    try:
        for grant in sorted(granted):
            elsewhere = [m.target for m in mounts if grant in m.target.parents]  # deeper mounts have rules of their own
            repositories, complete = _repositories(grant, elsewhere)
            if not complete:
                warnings.append(f"{grant} is too large to look for every repository in it: deep ones are not protected")
            for root in (grant, *repositories):
                for path, pin in _guarded(grant, root, granted):
                    if not any(path == other or other in path.parents for other in elsewhere if other.name != ".git"):
                        _open(found, path, pin)
    except BaseException:
        for guard in found.values():
            os.close(guard.descriptor)
        raise
    warnings += [
        f"{path} is read-only for the server; grant it for writing by name if the server is to commit"
        for path, guard in found.items()
        if path.name == ".git" and not guard.pin
    ]
    return Guards(tuple(sorted(found.values(), key=lambda guard: len(guard.path.parts))), tuple(warnings))


def _guarded(grant: Path, root: Path, granted: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """What to guard in one repository (or the grant itself), and whether it is only pinned."""
    for folder in (root, *root.parents):
        if grant in folder.parents:
            yield folder, True
    git = root if root.name == ".git" else root / ".git"
    if git != root:
        yield from ((root / name, False) for name in GUARDED)
        yield git, git in granted
    if git in granted:
        yield from ((git / name, False) for name in GUARDED_IN_GIT)


def _repositories(grant: Path, elsewhere: Sequence[Path]) -> tuple[list[Path], bool]:
    """Folders below `grant` that hold a `.git`, and whether the search was complete within its depth."""
    found: list[Path] = []
    level, looked = [grant], 0
    for depth in range(MAX_DEPTH + 1):
        deeper: list[Path] = []
        for folder in level:
            looked += 1
            if looked > MAX_FOLDERS or len(found) > MAX_REPOSITORIES:
                return found[:MAX_REPOSITORIES], False
            names = _folders(folder)
            if ".git" in names and folder != grant:
                found.append(folder)
            if depth < MAX_DEPTH:
                deeper += [folder / n for n in names if n not in UNSEARCHED and folder / n not in elsewhere]
        level = deeper
    return found[:MAX_REPOSITORIES], len(found) <= MAX_REPOSITORIES


def _folders(folder: Path) -> list[str]:
    """Names of the folders in `folder` (and of a `.git` file), at most `MAX_FOLDERS` of them."""
    try:
        with os.scandir(folder) as entries:
            names = (e.name for e in entries if e.is_dir(follow_symlinks=False) or e.name == ".git")
            return sorted(itertools.islice(names, MAX_FOLDERS))
    except OSError:  # a file, gone, or closed to us and therefore to the server
        return []


def _open(found: dict[Path, Guard], path: Path, pin: bool) -> None:
    if path in found:
        return
    try:
        found[path] = Guard(path, open_without_links(path), pin)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing there to guard; in a `.git` that is a file there is nothing below it
    except OSError as cause:
        if cause.errno != errno.ELOOP:
            raise SandboxError(f"{path} cannot be protected: {cause.strerror}") from cause
        raise SandboxError(
            f"{path} is a symbolic link, and what it points to would be protected instead of it",
            hint=f"replace {path} with what it points to, or grant the folder for reading only",
        ) from cause
