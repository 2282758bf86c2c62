"""What a server left in a folder it may write: files that run code when a person merely looks, and links that lead out.

A file that is not there yet cannot be protected, so it is looked for before the start and after the end.  Both looks
are bounded, follow no link, and know a place by its name alone.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from broker.sandbox.protect import GUARDED, UNSEARCHED

Kind: TypeAlias = Literal["runs", "leads out", "leads nowhere"]

SENSITIVE: Final = frozenset(
    {
        *GUARDED,
        *(".git", ".github", ".gitlab-ci.yml", ".circleci", ".travis.yml", "Jenkinsfile", "azure-pipelines.yml"),
        *(".pre-commit-config.yaml", "lefthook.yml", ".devcontainer", ".devcontainer.json", ".zed", ".fleet"),
        *("package.json", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pyproject.toml", "setup.py"),
        *("setup.cfg", "conftest.py", "sitecustomize.py", "usercustomize.py", "tox.ini", "noxfile.py", "pip.conf"),
        *("Makefile", "GNUmakefile", "justfile", "Taskfile.yml", "Rakefile", "Gemfile", "build.gradle", "pom.xml"),
        *("Cargo.toml", "build.rs", ".cargo", "go.work", "CMakeLists.txt", "Dockerfile", "compose.yaml"),
        *("docker-compose.yml", ".mise.toml", "mise.toml", ".tool-versions", ".direnv", ".env", ".netrc", ".ssh"),
        *(".gitattributes", ".gitconfig", ".mcp", "mcp.json", ".gemini", ".codex", ".windsurf", "AGENTS.md"),
        *("CLAUDE.md", ".cursorrules", ".vimrc", ".exrc", ".nvimrc", ".emacs.d", ".dir-locals.el"),
    }
)
"""Names that editors, shells, version control, build tools and assistants act upon by themselves."""
SUFFIXES: Final = (".pth", ".code-workspace", ".desktop", ".service")
MAX_SEEN: Final = 50_000  # entries of one grant; what is beyond is said to be unseen
MAX_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is there and was not, or not like this."""

    path: Path
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Look:
    """What was there at one moment: each place with what tells it from another one.  Not `whole`: too much to see."""

    found: dict[Path, tuple[Kind, str]]
    whole: bool


def look(grants: Sequence[Path]) -> Look:
    """Everything sensitive below the writable `grants`."""
    found: dict[Path, tuple[Kind, str]] = {}
    whole = True
    for grant in grants:
        seen = 0
        for entry in _entries(grant):
            if (seen := seen + 1) > MAX_SEEN:
                whole = False
                break
            kind = _kind(entry, grants)
            if kind is not None:
                found[Path(entry.path)] = kind, _mark(entry)
    return Look(found, whole)


def left(before: Look, after: Look) -> tuple[Leftover, ...]:
    """What is new or different since, by path."""
    return tuple(
        Leftover(path, kind)
        for path, (kind, mark) in sorted(after.found.items())
        if before.found.get(path) != (kind, mark)
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False) and entry.name not in UNSEARCHED:
                        waiting.append(entry.path)
        except OSError:
            continue  # a file, gone, or closed to us and therefore to the server


def _kind(entry: os.DirEntry[str], grants: Sequence[Path]) -> Kind | None:
    if entry.is_symlink():
        target = Path(os.path.normpath(os.path.join(os.path.dirname(entry.path), _target(entry))))
        if not any(target == grant or grant in target.parents for grant in grants):
            return "leads out"
        if not os.path.lexists(target):
            return "leads nowhere"
    return "runs" if entry.name in SENSITIVE or entry.name.endswith(SUFFIXES) else None


def _target(entry: os.DirEntry[str]) -> str:
    try:
        return os.readlink(entry.path)
    except OSError:
        return ""


def _mark(entry: os.DirEntry[str]) -> str:
    """Tells this one from another one of its name.  A folder is itself: what is in it has marks of its own."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return ""
    if entry.is_symlink():
        return _target(entry)
    return "folder" if entry.is_dir() else f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_mode}"
