"""From the paths a server asked for in vain to the narrowest grants that would show them to it.

Nothing here grants anything: a person reads the list.  The home folder, what holds it, and what no grant may be are
never on it, however often a server asks.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from broker.sandbox.eyes import Want

Kind: TypeAlias = Literal["file", "folder", "nothing"]

MAX_PROPOSALS: Final = 32
MAX_NAMED: Final = 5
PROJECT_MARKS: Final = (
    *(".git", ".hg", "package.json", "pyproject.toml", "setup.py", "Cargo.toml", "go.mod", "pom.xml", "build.gradle"),
    *("deno.json", "Gemfile", "composer.json", "CMakeLists.txt", "Makefile"),
)


@dataclass(frozen=True, slots=True)
class Outside:
    """What there is outside: of which kind a path is, whether it may be granted (for writing), what is a project."""

    home: Path
    kind: Callable[[Path], Kind]
    grantable: Callable[[Path, bool], bool]
    is_project: Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A grant a person may give, and some of the paths that were asked for."""

    path: Path
    writable: bool
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposals:
    """`withheld` paths exist, and no server is granted them."""

    found: tuple[Proposed, ...]
    withheld: int = 0


def propose(asked: Mapping[str, Want], outside: Outside) -> Proposals:
    """The grants that would show what exists of `asked`: the one file that was wanted, else the folder they share."""
    wanted: dict[Path, Want] = {}
    names: dict[Path, list[str]] = {}
    withheld = 0
    for name, want in asked.items():
        path = Path(name)
        if want == "write" and outside.kind(path) == "nothing":
            path = path.parent  # it would make something there
        if outside.kind(path) == "nothing" or _is_or_holds(path, outside.home):
            continue
        if not outside.grantable(path, want == "write"):
            withheld += 1
            continue
        if path not in wanted or want == "write":
            wanted[path] = want
        names.setdefault(path, []).append(name)
    groups: dict[tuple[Path, bool], list[Path]] = {}
    for path, want in wanted.items():
        # Programs look at each folder above a path on their way there.
        if want != "look" or not any(path in other.parents for other in wanted):
            groups.setdefault((_anchor(path, outside), want == "write"), []).append(path)
    found: dict[tuple[Path, bool], list[str]] = {}
    for (_, writable), members in groups.items():
        for path, held in _narrowest(members, writable, outside):
            found.setdefault((path, writable), []).extend(name for member in held for name in names[member])
    kept = [
        Proposed(path, writable, tuple(sorted(because)[:MAX_NAMED]))
        for (path, writable), because in sorted(found.items())
        if not any(other in path.parents and also >= writable for other, also in found)
        and not (not writable and (path, True) in found)
    ]
    return Proposals(tuple(kept[:MAX_PROPOSALS]), withheld)


def _narrowest(members: list[Path], writable: bool, outside: Outside) -> list[tuple[Path, list[Path]]]:
    if len(members) == 1:
        return [(members[0], members)]
    common = Path(os.path.commonpath(members))
    if _is_or_holds(common, outside.home) or not outside.grantable(common, writable):
        return [(member, [member]) for member in members]
    return [(common, members)]


def _anchor(path: Path, outside: Outside) -> Path:
    """Files of one project belong together; without a project those of one folder do."""
    own = path if outside.kind(path) == "folder" else path.parent
    for folder in (own, *own.parents):
        if _is_or_holds(folder, outside.home):
            break
        if outside.is_project(folder):
            return folder
    return own


def _is_or_holds(path: Path, home: Path) -> bool:
    return path == home or path in home.parents
