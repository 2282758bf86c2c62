"""Letting go of old receipts by class, age and size, so that what is left can still be verified.

A segment that lost entries has a stub beside it, signed like a checkpoint: which entries it held, the links before and
after them, and the SHA-256 of what is left.  The chain goes on over it.  The segments being written are never touched.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from broker.audit.keys import AuditKeys, is_signed
from broker.audit.receipt import GENESIS, iso
from broker.audit.segments import lines, segments
from broker.errors import AuditError
from broker.files import read_bounded, write_private

CLASSES: Final[Mapping[str, frozenset[str]]] = {
    "messages": frozenset({"handshake", "request", "notification", "result", "stderr"}),
    "decisions": frozenset({"decision", "question", "answer", "grant", "drift", "pin", "policy", "violation"}),
    "network": frozenset({"egress"}),
    "daemon": frozenset({"link-opened", "link-closed", "launch", "exit", "daemon"}),
}
_CONTEXT: Final = b"bulkhead audit prune 1\n"
_SIGNED: Final = re.compile(rb'(\{.*),"signature":"([0-9a-f]{128})"\}\n?', re.DOTALL)
MAX_STUB: Final = 4096


@dataclass(frozen=True, slots=True)
class Stub:
    """What a segment held: entries `first` to `last`, the hash before them, that of the last, and the last time.

    `kept` entries are left, whose bytes have the SHA-256 `sha256`.
    """

    segment: str
    first: int
    last: int
    prev: str
    hash: str
    time: str
    kept: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was let go."""

    entries: int = 0
    bytes: int = 0
    segments: int = 0


def stub_path(segment: Path) -> Path:
    return segment.with_suffix(".pruned")


def read_stub(segment: Path, public: bytes) -> Stub | None:
    """The stub of a segment; None if it lost nothing.

    Raises:
        AuditError: there is one, and the key did not sign it.
    """
    try:
        data = read_bounded(stub_path(segment), MAX_STUB)
    except FileNotFoundError:
        return None
    found = _SIGNED.fullmatch(data)
    core = found[1] + b"}" if found else b""
    if found is None or not is_signed(public, _CONTEXT + core, found[2].decode("ascii")):
        raise AuditError(f"{stub_path(segment).name} was not written by this home", hint="see what changed it")
    stub = Stub(**json.loads(core))
    if stub.segment != segment.name:
        raise AuditError(f"{stub_path(segment).name} is about {stub.segment}", hint="see what moved it")
    return stub


def prune(
    folder: Path, keys: AuditKeys, classes: Collection[str], *, older_than: float | None, keep: int | None,
    dry_run: bool = False,
) -> Pruned:  # fmt: skip
    """Let go of entries of `classes` from before `older_than` (seconds since the epoch), and of the oldest beyond
    `keep` bytes of them.

    Raises:
        AuditError: a file cannot be read or written, or a stub is not ours.
    """
    kinds = frozenset[str]().union(*(CLASSES[name] for name in classes))
    before = iso(older_than) if older_than is not None else ""
    try:
        with _alone(folder):
            files = segments(folder)
            excess = _size(files, kinds, keep) - keep if keep is not None else 0
            total = Pruned()
            for segment in files[:-1]:
                if excess <= 0 and not _begins_before(segment, before):
                    continue
                found = _prune(segment, keys, kinds, before, excess, dry_run)
                excess -= found.bytes
                total = Pruned(
                    total.entries + found.entries, total.bytes + found.bytes, total.segments + found.segments
                )
    except OSError as cause:
        raise AuditError(f"the receipts in {folder} cannot be pruned: {cause.strerror}") from cause
    except (ValueError, KeyError, TypeError) as cause:
        what = f"the receipts in {folder} cannot be pruned: a line is no entry"
        raise AuditError(what, hint="bulkhead audit verify") from cause
    return total


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Whoever else prunes waits."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begins_before(segment: Path, before: str) -> bool:
    """Entries stand in the order of their times, but where a clock was set."""
    first = next(lines(segment), b"")
    return bool(first) and json.loads(first)["time"] < before


def _size(files: list[Path], kinds: frozenset[str], most: int) -> int:
    """Bytes of entries of `kinds`; only where there may be more than `most`."""
    if sum(file.stat().st_size for file in files) <= most:
        return 0
    return sum(len(line) for file in files for line in lines(file) if json.loads(line)["kind"] in kinds)


def _prune(segment: Path, keys: AuditKeys, kinds: frozenset[str], before: str, excess: int, dry_run: bool) -> Pruned:
    kept: list[bytes] = []
    last: dict[str, str] = {}
    count = let_go = first = 0
    prev = GENESIS
    for line in lines(segment):
        entry = json.loads(line)
        if not count:
            first, prev = entry["seq"], entry["prev"]
        count, last = count + 1, entry
        if entry["kind"] in kinds and (entry["time"] < before or let_go < excess):
            let_go += len(line)
        else:
            kept.append(line)
    if not let_go or dry_run:
        return Pruned(count - len(kept), let_go, int(bool(let_go)))
    old = read_stub(segment, keys.public)
    data = b"".join(kept)
    sha256 = hashlib.sha256(data).hexdigest()
    if old is None:
        stub = Stub(
            segment.name, first, int(last["seq"]), prev, last["hash"], last["time"], len(kept), sha256
        )  # fmt: skip
    else:
        stub = Stub(old.segment, old.first, old.last, old.prev, old.hash, old.time, len(kept), sha256)
    _write_stub(segment, stub, keys)  # first: with only the stub the whole segment still verifies by itself
    write_private(segment, data)
    return Pruned(count - len(kept), let_go, 1)


def _write_stub(segment: Path, stub: Stub, keys: AuditKeys) -> None:
    core = json.dumps(asdict(stub), separators=(",", ":")).encode("ascii")
    signature = keys.sign(_CONTEXT + core).encode("ascii")
    write_private(stub_path(segment), core[:-1] + b',"signature":"' + signature + b'"}\n')


def holds(segment: Path, stub: Stub) -> bool:
    """Whether what is left of a segment is what its stub says."""
    digest = hashlib.sha256()
    with segment.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == stub.sha256
