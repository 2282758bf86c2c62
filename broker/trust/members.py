"""Names and sizes of what archives bring: the strict part of unpacking.

One spelling, one place: a name that could mean another file on another file system, or hide what it is on a screen,
is refused, and so is everything past the budget, while it is unpacked and not after.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.errors import TrustError

MAX_FILES = 60_000  # 5.7 times the largest closure seen in the field
MAX_FILE = 512 << 20
MAX_TREE = 2 << 30  # 4.8 times the largest closure seen in the field
MAX_DEPTH = 40
MAX_PATH = 1024
MAX_NAME = 255  # bytes; what file systems take
RATIO = 200  # of unpacked to packed bytes; real packages stay below 30
SLACK = 16 << 20  # small archives of repetitive text may exceed the ratio

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)


@dataclass(slots=True)
class Unpacking:
    """One tree being filled from one or many archives."""

    root: Path
    files: int = 0
    size: int = 0
    _spelled: dict[str, str] = field(default_factory=dict)
    _is_file: set[str] = field(default_factory=set)

    def place(self, name: str) -> str:
        """The one path `name` stands for; each may be taken once.

        Raises:
            TrustError: the name is unsafe, or collides with one taken before.
        """
        parts = parts_of(name)
        for end in range(1, len(parts)):
            folder = self._spell("/".join(parts[:end]))
            if folder in self._is_file:
                raise TrustError(f"{folder!a} is a file and a folder at once")
        path = self._spell("/".join(parts))
        if path in self._is_file:
            raise TrustError(f"{path!a} comes twice")
        if (self.root / path).is_dir():
            raise TrustError(f"{path!a} is a file and a folder at once")
        self._is_file.add(path)
        return path

    def take(self, size: int, name: str) -> None:
        """Count a file before it is read.

        Raises:
            TrustError: the tree would grow past its limits.
        """
        self.files += 1
        self.size += size
        if size > MAX_FILE:
            raise TrustError(f"{name!a} is larger than {MAX_FILE} bytes")
        if self.files > MAX_FILES:
            raise TrustError(f"it holds more than {MAX_FILES} files")
        if self.size > MAX_TREE:
            raise TrustError(f"it unpacks to more than {MAX_TREE} bytes")

    def write(self, path: str, data: bytes, *, executable: bool) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o755 if executable else 0o644), "wb") as file:
            file.write(data)

    def _spell(self, path: str) -> str:
        key = unicodedata.normalize("NFC", path).casefold()
        first = self._spelled.setdefault(key, path)
        if first != path:
            raise TrustError(f"{first!a} and {path!a} are one file on some file systems")
        return path


def parts_of(name: str) -> list[str]:
    """The folders and the file a member's name stands for.

    Raises:
        TrustError: it leads elsewhere, hides what it is, or means another file on another file system.
    """
    for character in name:
        category = unicodedata.category(character)
        if category in {"Cc", "Cs", "Zl", "Zp"}:
            raise TrustError(f"{name!a} holds a control character")
        if category == "Cf":
            raise TrustError(f"{name!a} holds an invisible character")
    if "\\" in name:
        raise TrustError(f"{name!a} holds a backslash")
    if name.startswith("/") or name[1:2] == ":":
        raise TrustError(f"{name!a} is an absolute path")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise TrustError(f"{name!a} leads out of its folder")
    too_long = len(name) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts)
    if not parts or too_long or len(parts) > MAX_DEPTH:
        raise TrustError(f"{name[:80]!a} is empty, too long or nested too deeply")
    for part in parts:
        if ":" in part:
            raise TrustError(f"{name!a} holds a colon, which names another stream on some file systems")
        if part.rstrip(". ") != part:
            raise TrustError(f"{name!a} ends with a dot or a space, which some file systems drop")
        if part.split(".")[0].lower() in _DEVICES:
            raise TrustError(f"{name!a} is the name of a device on Windows")
    return parts
