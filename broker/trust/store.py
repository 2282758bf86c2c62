"""Content-addressed, read-only store of what servers run; every byte is read again before every start.

An object is named by the hash of its whole tree and moved in at once; nothing half-made is ever visible.  `verified`
is the only maker of a `VerifiedArtifact`.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import private_folder, read_bounded, write_private
from broker.model import NamedArtifact, VerifiedArtifact
from broker.pin import Pin, PinnedArtifact
from broker.trust.garbage import LOCK, Collected, collect, locked
from broker.trust.glance import LARGE, Glances, touched
from broker.trust.mounts import mounts_of, root_of, variables_of
from broker.trust.pins import LAUNCHER, command
from broker.trust.programs import check_parents, fingerprint
from broker.trust.project_tree import changes, left_out, sentence, survey
from broker.trust.tree import Listing, check, is_full, read_listing, remove_tree, seal, tree_hash

MAX_LISTING = 32 * 1024 * 1024  # 60,000 files with paths of 500 bytes
CHECKS_AT_ONCE = 2  # reading is what costs; more at once only makes each slower


@dataclass(frozen=True, slots=True)
class Stored:
    """What was taken in."""

    tree: str
    file_count: int
    byte_count: int


class Store:
    """The objects under one folder.  Opening it sweeps what a crashed admission left behind."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time, *, large: int = LARGE) -> None:
        self.root = root
        self._clock = clock
        self._empty = root / "empty"
        self._objects = root / "objects"
        self._listings = root / "listings"
        self._staging = root / "staging"
        self._checks = anyio.CapacityLimiter(CHECKS_AT_ONCE)
        self._glances = Glances(large)
        self._interpreters: dict[Path, tuple[tuple[int, ...], str]] = {}
        try:
            for folder in (self._objects, self._listings, self._staging, self._empty):
                private_folder(folder)
            (root / LOCK).touch(0o600)
            self._empty.chmod(0o555)  # it stands in for folders of projects, whoever a server runs as
            self._sweep()
        except OSError as cause:
            raise _unusable(root, cause) from cause

    def object(self, tree: str) -> Path:
        return self._objects / tree

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A private folder on the store's own disk, gone when the block ends.

        It is locked while in use, so that another process sweeps only what nobody works on.

        Raises:
            TrustError: the disk is full.
        """
        folder = self._staging / secrets.token_hex(8)
        try:
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
            finally:
                try:
                    remove_tree(folder)
                finally:
                    os.close(descriptor)
        except OSError as cause:
            if not is_full(cause):
                raise
            raise _unusable(self.root, cause) from cause

    def admit(self, tree: Path, *, links: bool = False) -> Stored:
        """Seal a finished tree from `staging` and move it in under its hash.

        An object that is already there is checked, and replaced if it is damaged.  Only an image may hold `links`.

        Raises:
            TrustError: it holds what cannot be stored, or the disk is full; nothing is then visible.
        """
        listing = seal(tree, links=links)
        text = listing.text()
        if len(text) > MAX_LISTING:
            raise TrustError(f"the package has {len(listing.entries)} files and folders, too many to keep")
        name = tree_hash(text)
        stored = Stored(name, listing.file_count, listing.byte_count)
        with locked(self.root):
            self._move_in(tree, name, listing, text)
        return stored

    def _move_in(self, tree: Path, name: str, listing: Listing, text: bytes) -> None:
        target = self.object(name)
        listed = self._listings / name
        try:
            write_private(listed, text, mode=0o400)
            if target.is_symlink() or target.exists():
                if self._sound(target, listing):
                    return
                self._discard(target)
            tree.chmod(0o755)  # moving a folder rewrites its `..`, which a read-only one does not allow
            try:
                tree.rename(target)
            except OSError as cause:
                if cause.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not self._sound(target, listing):
                    raise
                return  # another process was faster with the same bytes
            target.chmod(0o555)
        except OSError as cause:
            if not target.exists():
                listed.unlink(missing_ok=True)
            raise _unusable(self.root, cause) from cause
        except ConfigError as cause:
            reason = cause.__cause__
            raise _unusable(self.root, reason if isinstance(reason, OSError) else OSError()) from cause

    def keep_listing(self, listing: Listing) -> str:
        """Keep the list of a folder that is pinned where it lies; returns its tree hash.

        Raises:
            TrustError: the disk is full.
        """
        text = listing.text()
        name = tree_hash(text)
        if len(text) > MAX_LISTING:
            raise TrustError(f"the project has {len(listing.entries)} files and folders, too many to keep")
        try:
            write_private(self._listings / name, text, mode=0o400)
        except ConfigError as cause:
            reason = cause.__cause__
            raise _unusable(self.root, reason if isinstance(reason, OSError) else OSError()) from cause
        return name

    def collect(self, keep: frozenset[str], *, dry_run: bool = False) -> Collected:
        """Remove what nobody names and nobody touched lately.

        Raises:
            TrustError: it is in use for too long, or cannot be removed.
        """
        return collect(self.root, keep, self._clock(), dry_run=dry_run)

    def owes_whole(self, pin: Pin) -> bool:
        """True when the last check of a very large object was a glance: hash the whole of it beside the start."""
        return self._glances.owed(pin.artifact.tree)

    async def touched(self, pin: Pin, since: float) -> bool:
        """Whether anything the pin names changed after a moment: what was hashed then may not be what was started."""
        artifact = pin.artifact
        roots = [self.object(artifact.tree)] if artifact.tree else []
        roots += [Path(path) for path, tree in artifact.folders if tree]
        files = [Path(path) for path, _ in artifact.files]
        look = partial(_any_touched, (*roots, *files), since)
        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)

    def named(self, pin: Pin) -> NamedArtifact:
        """What would run, and from where; nothing of it is looked at."""
        artifact = pin.artifact
        return NamedArtifact(
            server=pin.server,
            kind=artifact.kind,
            tree=artifact.tree or next((tree for _, tree in artifact.folders), ""),
            argv=command(artifact, pin.launch),
            mounts=mounts_of(pin, self.object(artifact.tree), self._empty),
            env=variables_of(artifact),
            cwd=_cwd(pin),
            image=root_of(artifact, self.object(artifact.tree)),
        )

    async def verified(self, pin: Pin, *, whole: bool = False) -> VerifiedArtifact:
        """Read again everything the pin names, and the interpreter; the only maker of a `VerifiedArtifact`.

        Of a very large object that was hashed before, only the server's own package, unless `whole`.

        Raises:
            TrustError: the first thing that is not as agreed, by name, and what to do.
        """
        work = partial(self._verify, pin, whole)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._checks)

    def _verify(self, pin: Pin, whole: bool) -> VerifiedArtifact:
        artifact = pin.artifact
        again = f"if you did not expect this, look into it; then fetch it anew with: bulkhead pin {pin.server} --update"
        try:
            if artifact.tree:
                self._check_object(artifact, whole)
            self._check_folders(pin)
            for path, sha256 in artifact.files:
                if fingerprint(Path(path), executable=_runs(artifact, path)) != sha256:
                    raise TrustError(f"{path} was changed")
            self._check_interpreter(artifact)
        except TrustError as cause:
            raise TrustError(f"server {pin.server!r} does not match its pin: {cause}", hint=again) from cause
        named = self.named(pin)
        return VerifiedArtifact(**{each.name: getattr(named, each.name) for each in fields(named)})

    def _check_folders(self, pin: Pin) -> None:
        """Every folder of a project as it lies there now; of a development folder, whether it is still trusted."""
        until = pin.artifact.until
        if until and self._clock() >= datetime.fromisoformat(until).timestamp():
            raise TrustError(f"the development folder was trusted until {until[:10]}")
        for path, tree in pin.artifact.folders:
            if not tree:
                check_parents(Path(path), Path(path).name)
                continue
            now = survey(Path(path), left_out(pin.launch))
            if tree_hash(now.text()) != tree:
                changed = changes(self._listing(tree), now)
                raise TrustError(f"{path} is not as it was: {sentence(changed)}")

    def _listing(self, tree: str) -> Listing:
        try:
            text = read_bounded(self._listings / tree, MAX_LISTING)
        except FileNotFoundError as cause:
            raise TrustError(f"the store has no object {tree[:12]}") from cause
        except ConfigError as cause:
            raise TrustError(str(cause)) from cause
        if tree_hash(text) != tree:
            raise TrustError(f"the list of files of object {tree[:12]} was changed")
        return read_listing(text)

    def _check_object(self, artifact: PinnedArtifact, whole: bool) -> None:
        listing = self._listing(artifact.tree)
        entry_of = LAUNCHER if artifact.kind == "project" else artifact.entry
        if not any(entry.kind == "f" and entry.path == entry_of for entry in listing.entries):
            raise TrustError(f"{entry_of} is not in the object")
        self._glances.check(self.object(artifact.tree), listing, artifact, whole=whole)

    def _check_interpreter(self, artifact: PinnedArtifact) -> None:
        """Hash the interpreter; skipped while nothing about the file moved since the last time.

        The change time is part of that look, and only root can set it at will.
        """
        if (wanted := artifact.interpreter) is None:
            return
        try:
            status = wanted.path.stat()
        except OSError as cause:
            raise TrustError(f"the interpreter {wanted.path} cannot be read: {cause.strerror}") from cause
        mark = (status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns,
                status.st_ctime_ns)  # fmt: skip
        known = self._interpreters.get(wanted.path)
        sha256 = known[1] if known and known[0] == mark else fingerprint(wanted.path, executable=True)
        if sha256 != wanted.sha256:
            raise TrustError(f"the interpreter {wanted.path} is not the pinned one (was it updated?)")
        self._interpreters[wanted.path] = (mark, sha256)

    def _sound(self, target: Path, listing: Listing) -> bool:
        try:
            check(target, listing)
        except TrustError:
            return False
        return True

    def _discard(self, damaged: Path) -> None:
        aside = self._staging / f"{secrets.token_hex(8)}.damaged"
        if not damaged.is_symlink():
            damaged.chmod(0o755)
        damaged.rename(aside)
        remove_tree(aside)

    def _sweep(self) -> None:
        for folder in sorted(self._staging.iterdir()):
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                remove_tree(folder)  # a link, or no longer there: not one of our staging folders
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            except BlockingIOError:
                continue  # its process is alive and at work
            except FileNotFoundError:
                continue  # somebody else sweeps it
            except OSError as cause:
                if cause.errno != errno.ENOTEMPTY:
                    raise  # a tool outlives the process that started it by a moment; the next sweep finds it ended
            finally:
                os.close(descriptor)


def _cwd(pin: Pin) -> Path | None:
    cwd = pin.artifact.image.cwd if pin.artifact.image else pin.launch.cwd
    return Path(cwd) if cwd is not None else None


def _any_touched(paths: tuple[Path, ...], since: float) -> bool:
    return any(touched(path, since) for path in paths)


def _runs(artifact: PinnedArtifact, path: str) -> bool:
    return artifact.kind == "binary" and path == artifact.entry


def _unusable(root: Path, cause: OSError) -> TrustError:
    if is_full(cause):
        return TrustError(f"no space left for the store at {root}", hint="free some space, then try again")
    return TrustError(f"the store at {root} cannot be used: {cause.strerror}", hint="check its folder's permissions")
