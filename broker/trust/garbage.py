"""What the store can let go of: objects that no pin, no proposal and no running link names.

Whoever takes an object in touches its list of files while holding the store's lock, and what was touched lately is
spared: between the taking in and the pin that names it a person may think it over.
"""

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import TrustError
from broker.pin import PinnedArtifact
from broker.trust.tree import remove_tree

GRACE: Final = 7200.0  # seconds; a proposal can be agreed to for one hour
LOCKING: Final = 30.0  # seconds; an admission holds the lock while it compares an object that is there already
LOCK: Final = "lock"
EVIDENCE: Final = "evidence"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be; `spared` objects are too young."""

    trees: tuple[str, ...]
    byte_count: int
    spared: int


def trees_of(artifact: PinnedArtifact) -> frozenset[str]:
    """What the store keeps for this artifact: its object, lists of folders pinned where they lie, and its evidence."""
    evidence = artifact.basis.evidence if artifact.basis else ""
    return frozenset(filter(None, (artifact.tree, evidence, *(tree for _, tree in artifact.folders))))


@contextlib.contextmanager
def locked(root: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold the store's lock, together with others or alone, across processes.

    Raises:
        TrustError: somebody else does not let go of it.
    """
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + LOCKING
    try:
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError as cause:
                if time.monotonic() > deadline:
                    raise TrustError("the store is in use by another process", hint="try again in a moment") from cause
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def collect(root: Path, keep: frozenset[str], now: float, *, dry_run: bool = False) -> Collected:
    """Remove every object that is not in `keep` and was not touched lately.

    Raises:
        TrustError: the store is in use for too long, or an object cannot be removed.
    """
    objects, listings, staging = root / "objects", root / "listings", root / "staging"
    gone: list[str] = []
    aside: list[Path] = []
    size = spared = 0
    try:
        with locked(root, alone=True):
            proofs = root / EVIDENCE
            for name in set(os.listdir(proofs)) - keep if proofs.is_dir() and not dry_run else ():
                if _HEX.fullmatch(name) and _is_old(proofs / name, now):
                    (proofs / name).unlink(missing_ok=True)
            names = {name for name in (*os.listdir(objects), *os.listdir(listings)) if _HEX.fullmatch(name)}
            for name in sorted(names - keep):
                if not _is_old(listings / name, now):
                    spared += 1
                    continue
                gone.append(name)
                size += _size(objects / name)
                if not dry_run:
                    (listings / name).unlink(missing_ok=True)
                    aside += _set_aside(objects / name, staging)
        for folder in aside:
            with contextlib.suppress(FileNotFoundError):  # another process that opened the store swept it
                remove_tree(folder)
    except OSError as cause:
        hint = "check its folder's permissions"
        raise TrustError(f"the store at {root} cannot be tidied: {cause.strerror}", hint=hint) from cause
    return Collected(tuple(gone), size, spared)


def _is_old(listing: Path, now: float) -> bool:
    """A time in the future counts as young: a clock was set back."""
    try:
        return now - listing.stat().st_mtime >= GRACE
    except FileNotFoundError:
        return True  # an object without its list can never be verified


def _set_aside(found: Path, staging: Path) -> list[Path]:
    """Move an object to where it is swept even after a crash: it is gone at once, or still there whole."""
    if not found.is_symlink() and not found.exists():
        return []
    if not found.is_symlink():
        found.chmod(0o700)  # moving a folder rewrites its `..`
    target = staging / f"{secrets.token_hex(8)}.garbage"
    found.rename(target)
    return [target]


def _size(found: Path) -> int:
    return sum((Path(at) / name).lstat().st_size for at, _, files in os.walk(found) for name in files)
