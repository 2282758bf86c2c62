"""The file tree of an image while its layers are laid upon each other: in memory, so that no link is ever followed on
the disk.

Links lead only within the tree, as they will for the server; the disk is written once, at the end, with names that
were checked.
"""

import shutil
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from broker.errors import TrustError
from broker.trust.tree import is_text

MAX_ENTRIES: Final = 250_000  # an image with a desktop in it has about 100,000
MAX_FILE: Final = 2 << 30
MAX_IMAGE: Final = 8 << 30
MAX_DEPTH: Final = 48
MAX_PATH: Final = 1024
MAX_NAME: Final = 255
MAX_LINKS: Final = 40  # as the kernel


@dataclass(slots=True, eq=False)
class File:
    """Bytes that wait in a file of their own.  `layer` says which layer put it here."""

    content: Path | None
    size: int
    executable: bool
    layer: int


@dataclass(slots=True, eq=False)
class Link:
    target: str
    layer: int


@dataclass(slots=True, eq=False)
class Folder:
    layer: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)


Node: TypeAlias = File | Link | Folder


@dataclass(slots=True)
class ImageTree:
    """A root folder, and how much was ever put into it: what a later layer hides was written all the same."""

    root: Folder = field(default_factory=Folder)
    entries: int = 0
    size: int = 0

    def count(self, size: int, name: str) -> None:
        """Count an entry before it is read.

        Raises:
            TrustError: the image would grow past its limits.
        """
        self.entries += 1
        self.size += size
        if size > MAX_FILE:
            raise TrustError(f"{name!a} is larger than {MAX_FILE} bytes")
        if self.entries > MAX_ENTRIES:
            raise TrustError(f"it holds more than {MAX_ENTRIES} files and folders")
        if self.size > MAX_IMAGE:
            raise TrustError(f"it unpacks to more than {MAX_IMAGE} bytes")

    def walk(self, path: str) -> tuple[str, Node | None]:
        """Follow a path as a program in the image would: the real path, and what is there.

        Raises:
            TrustError: links in it lead in a circle.
        """
        waiting = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        real: list[tuple[str, Folder]] = []
        hops = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                real[-1:] = []
                continue
            here = real[-1][1] if real else self.root
            node = here.children.get(part)
            if isinstance(node, Link):
                hops += 1
                if hops > MAX_LINKS:
                    raise TrustError(f"the links of {path!a} lead in a circle")
                if node.target.startswith("/"):
                    real = []
                waiting += [each for each in reversed(node.target.split("/")) if each not in {"", "."}]
            elif isinstance(node, Folder):
                real.append((part, node))
            else:
                where = "/" + "/".join((*(name for name, _ in real), part, *reversed(waiting)))
                return where, None if waiting else node
        return "/" + "/".join(name for name, _ in real), real[-1][1] if real else self.root

    def folder(self, parts: list[str], layer: int) -> Folder:
        """The folder a path leads to, through links of the image; made where there is none.

        Raises:
            TrustError: something in the way is no folder.
        """
        here, at = self.root, "/"
        for part in parts:
            node = here.children.get(part)
            if node is None:
                node = here.children[part] = Folder(layer)
                self.entries += 1
            elif isinstance(node, Link):
                at, node = self.walk(f"{at}/{part}")
                if node is None:
                    node = self.folder([each for each in at.split("/") if each], layer)
                if not isinstance(node, Folder):
                    raise TrustError(f"{part!a} is a file and a folder at once")
                here = node
                continue
            if not isinstance(node, Folder):
                raise TrustError(f"{part!a} is a file and a folder at once")
            here, at = node, f"{at.rstrip('/')}/{part}"
        return here

    def real_folder(self, path: str) -> str:
        """The path without links of a folder, which is made if it is not there.

        Raises:
            TrustError: something in the way is no folder.
        """
        self.folder(parts_of(path), 0)
        real, _ = self.walk(path)
        return real

    def write(self, target: Path) -> None:
        """Put the tree on the disk; the waiting contents are moved there."""
        target.mkdir(mode=0o755)
        _write(self.root, target, {}, 0)


def hide(folder: Folder, name: str, layer: int) -> None:
    """A whiteout: what lower layers have under this name is gone, and what this layer put there stays."""
    node = folder.children.get(name)
    if isinstance(node, Folder):
        empty(node, layer)
        if node.layer < layer and not node.children:
            del folder.children[name]
    elif node is not None and node.layer < layer:
        del folder.children[name]


def empty(folder: Folder, layer: int) -> None:
    """An opaque folder: nothing of lower layers shows in it."""
    for name in tuple(folder.children):
        hide(folder, name, layer)


def parts_of(name: str) -> list[str]:
    """The folders and the file a member's name stands for; none for the root itself.

    Raises:
        TrustError: it leads elsewhere, or its name cannot be kept or shown.
    """
    if not is_text(name) or any(unicodedata.category(each) in {"Cc", "Zl", "Zp"} for each in name):
        raise TrustError(f"{name[:200]!a} holds a control character, or is no text")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise TrustError(f"{name[:200]!a} leads out of its folder")
    too_long = len(name) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts)
    if too_long or len(parts) > MAX_DEPTH:
        raise TrustError(f"{name[:80]!a} is too long or nested too deeply")
    return parts


def _write(folder: Folder, target: Path, placed: dict[Path, Path], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TrustError("its folders are nested too deeply")
    for name, node in folder.children.items():
        path = target / name
        match node:
            case Folder():
                path.mkdir(mode=0o755)
                _write(node, path, placed, depth + 1)
            case Link():
                path.symlink_to(node.target)
            case File(content=None):
                path.touch()
            case File(content=content) if content is not None:
                if content in placed:  # a hard link: every name gets bytes of its own
                    shutil.copyfile(placed[content], path)
                else:
                    placed[content] = content.rename(path)
                path.chmod(0o755 if node.executable else 0o644)
