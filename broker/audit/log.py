"""The audit log being written: appended before anything happens, chained, and closed at the first failure.

`append` returns when the kernel has the entry, so a killed daemon loses nothing; `append_durable` when the disk has it
too.  Everything else reaches the disk within 20 ms while `run_sync` runs.  Whatever goes wrong with the disk closes the
log for writing: from then on every append raises, and no caller may carry on without its receipt.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import anyio
import anyio.to_thread

from broker.audit.head import Head, HeadFile, read_head
from broker.audit.keys import AuditKeys
from broker.audit.receipt import BACKWARD, CLOCK, Receipt, iso, seal
from broker.audit.recovery import recover
from broker.audit.redact import Redactor
from broker.audit.segments import MAX_SEGMENT, segment_name, sync_folder
from broker.errors import AuditError
from broker.files import private_folder
from broker.model import Decision, Fact, Origin, Verdict

FORWARD: Final = 30.0  # seconds by which the clock may be ahead of what went by; a busy machine is late, not early
SYNC_PERIOD: Final = 0.020  # seconds of low-risk entries a power cut may take (the promise of `SECURITY.md`)
_HINT: Final = "free some space, then restart the daemon: bulkhead down, bulkhead up"


_ONGOING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _gone_by() -> float:
    """Seconds that went by, those the machine slept included."""
    return time.clock_gettime(_ONGOING)


class AuditLog:
    """The only writer of one audit folder.  Appends come from one thread, the event loop's."""

    def __init__(
        self, folder: Path, clock: Callable[[], float], steady: Callable[[], float], redactor: Redactor,
        keys: AuditKeys, lock: int, head: Head, head_file: HeadFile, segment_limit: int,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._clock = clock
        self._steady = steady
        self._offset = clock() - steady()
        self._latest = _seconds(head.time)
        self._keys = keys
        self._redactor = redactor
        self._lock = lock
        self._limit = segment_limit
        self._head_file = head_file
        self._sealed = head
        self._held: list[bytes] = []
        self._written = head
        self._synced = head
        self._segment = -1 if not head.segment else _open_segment(folder / head.segment, new=False)
        self._full: list[int] = []  # segments that are complete, but not yet on the disk
        self._failure = ""
        self._disk = threading.Lock()  # one synchronising thread at a time
        self._turn = anyio.Lock()
        self._dirty: anyio.Event | None = None

    @classmethod
    def open(
        cls, folder: Path, keys: AuditKeys, clock: Callable[[], float], redactor: Redactor | None = None,
        *, segment_limit: int = MAX_SEGMENT, witness: Path | None = None, steady: Callable[[], float] = _gone_by,
    ) -> Self:  # fmt: skip
        """Open the log of `folder`, or begin one.  `clock` is seconds since the epoch, `steady` those that went by.

        `witness` is a file elsewhere that is told how far the chain went, so that the folder alone cannot be put back.
        A last line that a crash left unfinished is kept aside in a `.torn` file, and the first entry says so.

        Raises:
            AuditError: another process writes it, what is there does not match its checkpoint, or the disk refuses.
        """
        lock = -1
        try:
            private_folder(folder)
            lock = _lock(folder)
            known = read_head(folder, keys.public, witness)
            recovery = recover(folder, known)
            head_file = HeadFile(folder, keys, witness)
            log = cls(folder, clock, steady, redactor or Redactor(), keys, lock, recovery.head, head_file,
                      segment_limit)  # fmt: skip
            if known is None:
                head_file.write(recovery.head)
                head_file.sync()
                sync_folder(folder)
        except OSError as cause:
            _close(lock)
            raise AuditError(f"the audit log in {folder} cannot be opened: {cause.strerror}", hint=_HINT) from cause
        except BaseException:
            _close(lock)
            raise
        if recovery.torn:
            kept = {"kept_aside": dict(recovery.torn)}
            log.append(Origin(), Fact("daemon", "broker", target="audit-recovery", body=kept))
        return log

    @property
    def seq(self) -> int:
        """The number of the last entry written."""
        return self._written.seq

    @property
    def synced_seq(self) -> int:
        """The number of the last entry known to be on the disk."""
        return self._synced.seq

    @property
    def failure(self) -> str:
        """Why the log is closed for writing; empty while it is open."""
        return self._failure

    @property
    def keys(self) -> AuditKeys:
        return self._keys

    @property
    def redactor(self) -> Redactor:
        return self._redactor

    def append(self, origin: Origin, fact: Fact) -> Receipt:
        """Write the entry about `fact`; return when the kernel has it.

        Raises:
            AuditError: it could not be written.  What the entry is about must then not happen.
        """
        receipt = self.take_down(origin, fact)
        self.flush()
        return receipt

    def take_down(self, origin: Origin, fact: Fact) -> Receipt:
        """Make the entry about `fact`, and leave it to the next `flush` to write it: several cost one write then.

        Raises:
            AuditError: it cannot be made, or the log is closed.
        """
        self._check_open()
        now = self._clock()
        if now < self._latest - BACKWARD or now > self._steady() + self._offset + FORWARD:
            self._tell_of_clock(now)
        return self._append(now, origin, fact)

    def _append(self, now: float, origin: Origin, fact: Fact) -> Receipt:
        before = self._sealed
        receipt = seal(before.hash, before.seq + 1, now, origin, fact, self._redactor, self._keys)
        end, segment = before.end + len(receipt.line), before.segment
        if self._segment < 0 or (end > self._limit and before.end > 0):
            self.flush()
            segment, end = self._begin_segment(receipt.seq), len(receipt.line)
        self._held.append(receipt.line)
        self._sealed = Head(receipt.seq, receipt.hash, segment, end, receipt.time)
        self._latest = now
        return receipt

    def flush(self) -> None:
        """Write the entries that were taken down; return when the kernel has them.

        Raises:
            AuditError: they could not be written.  What they are about must then not happen.
        """
        self._check_open()  # also with nothing to write: an entry may have failed in another's flush
        if not self._held:
            return
        held, self._held = self._held, []
        try:
            self._write(held[0] if len(held) == 1 else b"".join(held))
        except OSError as cause:
            raise self._fail(cause) from cause
        self._written = self._sealed
        if self._dirty is not None:
            self._dirty.set()

    def _tell_of_clock(self, now: float) -> None:
        """The clock was set, or the machine slept with a clock that stood still: the chain says so, in its order."""
        expected = max(self._latest, self._steady() + self._offset)
        self._offset = now - self._steady()
        reason = f"the clock was set {'back' if now < expected else 'forward'} by {abs(now - expected):.0f} s"
        body = {"expected": iso(expected), "found": iso(now)}
        decision = Decision(Verdict.ALLOW, "clock", reason)
        self._append(now, Origin(), Fact("daemon", "broker", target=CLOCK, decision=decision, body=body))

    async def append_durable(self, origin: Origin, fact: Fact) -> Receipt:
        """Write the entry about `fact`; return when the disk has it.  Other tasks run meanwhile.

        Raises:
            AuditError: as for `append`.
        """
        receipt = self.append(origin, fact)
        await self._sync_to(receipt.seq)
        return receipt

    async def record(self, origin: Origin, fact: Fact) -> Receipt:
        """Append `fact` as it asks to be: durable or not."""
        return await self.append_durable(origin, fact) if fact.durable else self.append(origin, fact)

    async def run_sync(self) -> None:
        """Bring what was appended to the disk every `SYNC_PERIOD`, idle while nothing is.  Ends when the log closes.

        A failure does not raise here: it closes the log, and every append after it raises.
        """
        while not self._failure:
            self._dirty = anyio.Event()
            if self._written.seq == self._synced.seq:
                await self._dirty.wait()
            await anyio.sleep(SYNC_PERIOD)
            try:
                await self._sync_to(self._written.seq)
            except AuditError:
                return  # `failure` says why, and every append repeats it

    def sync(self) -> None:
        """Bring everything appended so far to the disk, then vouch for it.  Blocks; any thread.

        Raises:
            AuditError: the disk refuses.  Nobody knows what it holds then, so the log is closed for writing.
        """
        with self._disk:
            # Read in this order, `append` may go on meanwhile: what it began later is synced too, but not vouched for.
            written = self._written
            segment = self._segment
            full = tuple(self._full)
            if self._failure or written.seq == self._synced.seq:
                return
            try:
                for descriptor in (*full, segment):
                    _sync_file(descriptor)
                if written.segment != self._synced.segment:
                    sync_folder(self._folder)
                self._head_file.write(written)
            except OSError as cause:
                raise self._fail(cause) from cause
            self._synced = written
            for descriptor in full:
                self._full.remove(descriptor)
                os.close(descriptor)

    def close(self) -> None:
        """Sync, vouch for the end of the chain, let the next writer in.  The log stays closed.

        Raises:
            AuditError: the last entries may not be on the disk.
        """
        if self._lock < 0:
            return
        try:
            if not self._failure:
                self.flush()
            self.sync()
        finally:
            self._failure = self._failure or "the audit log is closed"
            if self._dirty is not None:
                self._dirty.set()
            for descriptor in (*self._full, self._segment, self._lock):
                _close(descriptor)
            self._head_file.close()
            self._full, self._segment, self._lock = [], -1, -1

    async def _sync_to(self, seq: int) -> None:
        """Return when entry `seq` is on the disk.  Those who wait together share one fdatasync."""
        while self._synced.seq < seq:
            async with self._turn:
                if self._synced.seq < seq:
                    await anyio.to_thread.run_sync(self.sync)
                    self._check_open()

    def _begin_segment(self, seq: int) -> str:
        name = segment_name(seq)
        try:
            descriptor = _open_segment(self._folder / name, new=True)
        except OSError as cause:
            raise self._fail(cause) from cause
        if self._segment >= 0:
            self._full.append(self._segment)
        self._segment = descriptor
        self._written = Head(self._written.seq, self._written.hash, name, 0, self._written.time)
        return name

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:  # a full disk takes a part first, and says why at the next try
                rest = rest[os.write(self._segment, rest) :]
        except OSError:
            with contextlib.suppress(OSError):  # else the next `open` keeps the part aside
                os.ftruncate(self._segment, self._written.end)
            raise

    def _check_open(self) -> None:
        if self._failure:
            raise AuditError(f"nothing can be recorded: {self._failure}", hint=_HINT)

    def _fail(self, cause: OSError) -> AuditError:
        self._failure = f"the audit log in {self._folder} cannot be written: {cause.strerror}"
        return AuditError(self._failure, hint=_HINT)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        os.close(descriptor)
        raise AuditError(f"another process writes the audit log in {folder}", hint="see: bulkhead status") from cause
    return descriptor


def _open_segment(path: Path, *, new: bool) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)


def _sync_file(descriptor: int) -> None:
    """fdatasync, which macOS has under another name only."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
