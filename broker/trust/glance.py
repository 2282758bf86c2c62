"""Very large objects: hashed whole at first sight; later looked at quickly before a start, and hashed whole beside it.

Quickly means: the facts the system keeps about every entry are the ones seen around the last whole hash, and the
server's own package is hashed again.  The change time is among those facts, and only root can set it at will.  They are
kept in memory alone, so that the first start after the machine's or the daemon's own start hashes every byte.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from broker.errors import TrustError
from broker.pin import PinnedArtifact
from broker.trust.tree import FILE, FOLDER, MAX_DEPTH, Entry, Listing, check, digest

LARGE: Final = 100_000_000  # bytes; a whole hash of them was seen to cost a start a fifth of a second
MAX_HOT: Final = 16 << 20  # bytes of a server's own package hashed before its start; the largest seen had 9 MB
_STEP: Final = 0.05  # seconds; the coarsest clock of a kernel ticks every hundredth
_MODULES: Final = "node_modules/"


class Glances:
    """What was seen of large objects, by their hash."""

    def __init__(self, large: int = LARGE) -> None:
        self._large = large
        self._facts: dict[str, str] = {}
        self._owed: set[str] = set()

    def check(self, root: Path, listing: Listing, artifact: PinnedArtifact, *, whole: bool) -> None:
        """Compare an object with its list; a large one that was hashed before only at a glance, unless `whole`.

        Raises:
            TrustError: the first thing that differs, by its path.
        """
        tree = artifact.tree
        if artifact.byte_count < self._large:
            check(root, listing)
            return
        before = facts_of(root)
        if not whole and self._facts.get(tree) == before:
            _check_hot(root, listing, artifact)
            self._owed.add(tree)
            return
        self._facts.pop(tree, None)
        check(root, listing)
        if facts_of(root) == before:  # nobody touched it meanwhile, so these are the facts of what was hashed
            self._facts[tree] = before
        self._owed.discard(tree)

    def owed(self, tree: str) -> bool:
        """True when the last look was a glance: somebody has to hash the whole of it now."""
        return tree in self._owed


def facts_of(root: Path) -> str:
    """One hash over what the system says of every entry: place, mode, owner, names, size and times; no content."""
    facts = hashlib.sha256()
    try:
        descriptor = os.open(root, FOLDER)
    except OSError as cause:
        raise TrustError(f"the store object {root.name[:12]} is missing or was replaced: {cause.strerror}") from cause
    try:
        _add(facts, "", os.fstat(descriptor))
        _walk(facts, descriptor, "", 0)
    except OSError as cause:
        raise TrustError(f"the store object {root.name[:12]} cannot be read: {cause.strerror}") from cause
    finally:
        os.close(descriptor)
    return facts.hexdigest()


def touched(root: Path, since: float) -> bool:
    """Whether a file, or anything in a folder, changed after a moment (seconds since the epoch), or cannot be seen.

    A little before counts as after, because file systems keep time in steps.
    """
    try:
        status = os.lstat(root)
        if status.st_ctime_ns >= (since - _STEP) * 1e9:
            return True
        if not stat.S_ISDIR(status.st_mode):
            return False
        with os.scandir(root) as scan:
            return any(touched(Path(entry.path), since) for entry in scan)
    except OSError:
        return True


def hot_set(listing: Listing, artifact: PinnedArtifact) -> list[Entry]:
    """The entry program, and the files of its own package: what a server that was tampered with would differ in."""
    own = _own_package(artifact)
    return [e for e in listing.entries if e.kind == "f" and (e.path == artifact.entry or e.path.startswith(own))]


def _own_package(artifact: PinnedArtifact) -> str:
    if artifact.kind == "image":
        return f"{artifact.entry}/"  # a root file system has no package of its own: its program alone
    if artifact.kind == "npm" and artifact.entry.startswith(_MODULES):
        depth = 3 if artifact.entry[len(_MODULES) :].startswith("@") else 2
        return "/".join(artifact.entry.split("/")[:depth]) + "/"
    return f"{artifact.name.replace('-', '_')}/"


def _check_hot(root: Path, listing: Listing, artifact: PinnedArtifact) -> None:
    left = MAX_HOT
    for entry in sorted(hot_set(listing, artifact), key=lambda each: each.path != artifact.entry):
        try:
            descriptor = os.open(root / entry.path, FILE)
        except OSError as cause:
            raise TrustError(f"{entry.path} was replaced or cannot be read: {cause.strerror}") from cause
        try:
            size = os.fstat(descriptor).st_size
            if size > left:
                continue
            left -= size
            if digest(descriptor, size).hex() != entry.sha256:
                raise TrustError(f"{entry.path} was changed")
        finally:
            os.close(descriptor)


def _walk(facts: "hashlib._Hash", folder: int, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TrustError(f"{path} is nested too deeply")
    with os.scandir(folder) as scan:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.stat(follow_symlinks=False))
                       for entry in scan)  # fmt: skip
    for name, is_folder, status in found:
        _add(facts, path + name, status)
        if is_folder:
            child = os.open(name, FOLDER, dir_fd=folder)
            try:
                _walk(facts, child, f"{path}{name}/", depth + 1)
            finally:
                os.close(child)


def _add(facts: "hashlib._Hash", path: str, status: os.stat_result) -> None:
    kept = (status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_nlink, status.st_size,
            status.st_mtime_ns, status.st_ctime_ns)  # fmt: skip
    facts.update(f"{path}\0{kept}\n".encode("utf-8", "surrogateescape"))
