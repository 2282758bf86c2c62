"""What a tree of files is: its list, its hash, and whether it is still the same.

The hash covers every entry: kind, executable bit, path and content.  Checking reads every file once, through folder
descriptors, so that nothing can be swapped between the look and the read, and no link is ever followed.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from broker.errors import TrustError

HEADER = b"mcp-pin-tree-v1\n"
MAX_DEPTH = 64  # folders; above any closure seen in the field (17)
_EPOCH = 315532800  # 1980-01-01, the oldest time every archive format can hold
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in a file's place must not hang us
_KINDS: Final[Mapping[str, Literal["f", "d", "l"]]] = MappingProxyType({"f": "f", "d": "d", "l": "l"})
ASIDE = 256 * 1024  # bytes; below it, handing a file over costs as much as hashing it
MAX_ASIDE = 64  # open files that wait for it


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a tree.  `sha256` is empty for folders.

    In the trees of projects and images there may be links; `sha256` is then where they lead.
    """

    kind: Literal["f", "d", "l"]
    executable: bool
    path: str
    sha256: str = ""

    def line(self) -> str:
        return f"{self.kind}\0{'x' if self.executable else '-'}\0{self.path}\0{self.sha256}\n"


@dataclass(frozen=True, slots=True)
class Listing:
    """Every entry of a tree, sorted by path, and how many bytes its files hold."""

    entries: tuple[Entry, ...]
    byte_count: int = 0

    def text(self) -> bytes:
        return HEADER + "".join(entry.line() for entry in self.entries).encode()

    @property
    def file_count(self) -> int:
        return sum(entry.kind == "f" for entry in self.entries)


def tree_hash(text: bytes) -> str:
    """The hash of a tree is the SHA-256 of its listing's text."""
    return hashlib.sha256(text).hexdigest()


def read_listing(text: bytes) -> Listing:
    """Read back what `Listing.text` wrote.

    Raises:
        TrustError: it is no such text.
    """
    if not text.startswith(HEADER):
        raise TrustError("the list of files in the store is not one of ours")
    entries = []
    for line in text[len(HEADER) :].decode("utf-8", "strict").split("\n")[:-1]:
        kind, executable, path, sha256 = line.split("\0")
        if kind not in _KINDS:
            raise TrustError("the list of files in the store is not one of ours")
        entries.append(Entry(_KINDS[kind], executable == "x", path, sha256))
    return Listing(tuple(entries))


def seal(root: Path, *, links: bool = False) -> Listing:
    """Make the tree read-only for everybody, readable by everybody, and list it.

    Raises:
        TrustError: it holds a special file, or a link although `links` is false.
    """
    entries: list[Entry] = []
    size = 0
    for path, status, full in _walk(root):
        if stat.S_ISDIR(status.st_mode):
            entries.append(Entry("d", False, path))
        elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            executable = bool(status.st_mode & 0o111)
            entries.append(Entry("f", executable, path, _sha256_of(full)))
            size += status.st_size
            os.utime(full, (_EPOCH, _EPOCH))
            full.chmod(0o555 if executable else 0o444)
        elif links and stat.S_ISLNK(status.st_mode):
            entries.append(Entry("l", False, path, _led_to(full)))
        else:
            raise TrustError(f"{path} is no plain file or folder and cannot be stored")
    for folder in [root, *(root / entry.path for entry in entries if entry.kind == "d")]:
        os.utime(folder, (_EPOCH, _EPOCH))
        folder.chmod(0o555)
    return Listing(tuple(sorted(entries, key=lambda entry: entry.path.encode())), size)


def check(root: Path, listing: Listing) -> None:
    """Read the whole tree again and compare.

    Raises:
        TrustError: the first entry that is changed, extra, missing, or no longer sealed, by its path.
    """
    expected = _by_folder(listing)
    try:
        descriptor = os.open(root, FOLDER)
    except OSError as cause:
        raise TrustError(f"the store object {root.name[:12]} is missing or was replaced: {cause.strerror}") from cause
    try:
        with _Aside() as aside:
            _check_folder(descriptor, "", expected, aside, 0)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> tuple[str, os.stat_result]:
    """Hash one file wherever it lies, following links.

    Raises:
        OSError: it cannot be read.
        TrustError: it is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TrustError(f"{path} is not a plain file")
        return digest(descriptor, status.st_size).hex(), status
    finally:
        os.close(descriptor)


def remove_tree(root: Path) -> None:
    """Delete a sealed or half-sealed tree.  Links in it are removed, never followed."""
    if root.is_symlink() or not root.is_dir():
        root.unlink(missing_ok=True)
        return
    root.chmod(0o700)
    for entry in list(os.scandir(root)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            os.unlink(entry.path)
    root.rmdir()


@dataclass(slots=True)
class _Folder:
    files: dict[str, Entry] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def _by_folder(listing: Listing) -> dict[str, _Folder]:
    folders: dict[str, _Folder] = {"": _Folder()}
    for entry in listing.entries:  # sorted by path: a folder comes before what is in it
        parent, _, name = entry.path.rpartition("/")
        if entry.kind == "d":
            folders[entry.path] = _Folder()
            folders[parent].folders.add(name)
        else:
            folders[parent].files[name] = entry
    return folders


class _Aside:
    """Hashes large files in a second thread, while the first goes on opening small ones: those cost calls, not bytes.

    Leaving the block waits for all of them and raises for the first that is not as it was.
    """

    def __init__(self) -> None:
        self._helper = ThreadPoolExecutor(1, "hash")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "_Aside":
        return self

    def __exit__(self, *_: object) -> None:
        with self._helper:
            while self._waiting:
                self._waiting.popleft().result()

    def check(self, descriptor: int, size: int, entry: Entry) -> None:
        """Compare what `descriptor` names with `entry`, some time before the block is left."""
        if len(self._waiting) >= MAX_ASIDE:
            self._waiting.popleft().result()
        self._waiting.append(self._helper.submit(_compare, os.dup(descriptor), size, entry))


def _compare(descriptor: int, size: int, entry: Entry) -> None:
    """Takes `descriptor` over."""
    try:
        if digest(descriptor, size).hex() != entry.sha256:
            raise TrustError(f"{entry.path} was changed")
    finally:
        os.close(descriptor)


def _check_folder(descriptor: int, path: str, expected: dict[str, _Folder], aside: _Aside, depth: int) -> None:
    uid = os.getuid()
    here = expected[path]
    where = path or "the top folder"
    if depth > MAX_DEPTH:
        raise TrustError(f"{where} is nested too deeply")
    status = os.fstat(descriptor)
    if status.st_uid != uid or status.st_mode & 0o7222:
        raise TrustError(f"{where} is no longer read-only, or belongs to somebody else")
    names = set(os.listdir(descriptor))
    known = here.files.keys() | here.folders
    inside = f"{path}/" if path else ""
    if extra := sorted(names - known):
        raise TrustError(f"{ascii(inside + extra[0])[1:-1]} was added")
    if missing := sorted(known - names):
        raise TrustError(f"{inside}{missing[0]} is missing")
    for name in sorted(names):
        is_file = name in here.files
        if is_file and here.files[name].kind == "l":
            _check_link(descriptor, name, here.files[name], uid)
            continue
        try:
            child = os.open(name, FILE if is_file else FOLDER, dir_fd=descriptor)
        except OSError as cause:
            raise TrustError(f"{inside}{name} was replaced or cannot be read: {cause.strerror}") from cause
        try:
            if is_file:
                _check_file(child, here.files[name], uid, aside)
            else:
                _check_folder(child, inside + name, expected, aside, depth + 1)
        finally:
            os.close(child)


def _check_file(descriptor: int, entry: Entry, uid: int, aside: _Aside) -> None:
    status = os.fstat(descriptor)
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        raise TrustError(f"{entry.path} is no longer a plain file")
    if status.st_nlink != 1 or status.st_uid != uid or mode & 0o7222 or bool(mode & 0o111) != entry.executable:
        raise TrustError(f"{entry.path} changed its mode, owner or number of names")
    if status.st_size >= ASIDE:
        aside.check(descriptor, status.st_size, entry)
    elif digest(descriptor, status.st_size).hex() != entry.sha256:
        raise TrustError(f"{entry.path} was changed")


def _check_link(folder: int, name: str, entry: Entry, uid: int) -> None:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode) or status.st_nlink != 1 or status.st_uid != uid:
        raise TrustError(f"{entry.path} is no longer the link it was")
    if os.readlink(name, dir_fd=folder) != entry.sha256:
        raise TrustError(f"{entry.path} was changed: it leads elsewhere")


def _led_to(link: Path) -> str:
    target = os.readlink(link)
    if any(character in target for character in "\0\n") or not is_text(target):
        raise TrustError(f"the link {link.name!a} cannot be stored")
    return target


def digest(descriptor: int, size: int) -> bytes:
    """A small file in one read of its size, which is three times as fast as many; a large one piece by piece.

    The read asks for one byte more: getting exactly `size` then means that this was the end, and saves another.  The
    pieces go through one buffer that stays in the processor's cache: fresh memory for a whole file cost as much again.
    """
    if size < ASIDE:
        block = os.read(descriptor, size + 1)
        if len(block) == size:
            return hashlib.sha256(block).digest()
        sha256 = hashlib.sha256(block)
    else:
        sha256 = hashlib.sha256()
    buffer = memoryview(bytearray(ASIDE))
    while had := os.readv(descriptor, [buffer]):
        sha256.update(buffer[:had])
    return sha256.digest()


def _sha256_of(path: Path) -> str:
    descriptor = os.open(path, FILE)
    try:
        return digest(descriptor, os.fstat(descriptor).st_size).hex()
    finally:
        os.close(descriptor)


def _walk(root: Path, inside: str = "", depth: int = 0) -> Iterator[tuple[str, os.stat_result, Path]]:
    if depth > MAX_DEPTH:
        raise TrustError(f"{inside} is nested too deeply")
    with os.scandir(root) as scan:
        found = sorted(scan, key=lambda entry: entry.name)
    for entry in found:
        path = inside + entry.name
        if any(character in path for character in "\0\n") or not is_text(path):
            raise TrustError(f"the file name {path!a} cannot be stored")
        status = entry.stat(follow_symlinks=False)
        yield path, status, Path(entry.path)
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path), f"{path}/", depth + 1)


def is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_full(error: OSError) -> bool:
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
