"""Opening the chain again after whatever ended the last writer.

Everything up to the checkpoint must be there and fit; else the log does not open, since something was taken out.
After the checkpoint stand the entries of the last moments.  Those that fit the chain stay.  The rest is what a crash
left of the last write: it is kept aside, never deleted, and the log's next entry tells of it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from broker.audit.head import Head
from broker.audit.receipt import MAX_LINE, Chain
from broker.audit.segments import first_seq, lines, segments
from broker.errors import AuditError

_HINT = "run: bulkhead audit verify; to begin a new chain, move the audit folder aside"


@dataclass(frozen=True, slots=True)
class Recovery:
    """The last good entry, and what was kept aside: file names and their lengths."""

    head: Head
    torn: tuple[tuple[str, int], ...] = ()


def recover(folder: Path, head: Head | None) -> Recovery:
    """Follow the chain from its checkpoint to its end and make the end whole.

    Raises:
        AuditError: entries the checkpoint vouches for are gone or changed, or the checkpoint itself is gone.
        OSError: the disk refuses.
    """
    files = segments(folder)
    if head is None:
        if files:
            raise AuditError("the checkpoint of the audit log is gone", hint=_HINT)
        return Recovery(Head())
    if head.seq:
        _check_vouched(folder, head)
    files = [file for file in files if file.name >= head.segment]
    chain = Chain(head.seq, head.hash, head.time)
    at, end = head.segment, head.end
    for place, file in enumerate(files):
        if file.name != head.segment:
            if first_seq(file.name) != chain.seq + 1:
                return Recovery(_end(chain, at, end), _keep_aside(files[place:]))
            at, end = file.name, 0
        for line in lines(file, end):
            if chain.follow(line):
                torn = (_cut_off(file, end), *_keep_aside(files[place + 1 :]))
                return Recovery(_end(chain, at, end), torn)
            end += len(line)
    return Recovery(_end(chain, at, end))


def _end(chain: Chain, segment: str, end: int) -> Head:
    return Head(chain.seq, chain.hash, segment, end, chain.time)


def _check_vouched(folder: Path, head: Head) -> None:
    """The entry the checkpoint names must end where it says."""
    try:
        with (folder / head.segment).open("rb") as file:
            file.seek(max(0, head.end - MAX_LINE))
            before = file.read(min(head.end, MAX_LINE))
    except FileNotFoundError:
        before = b""  # the whole segment is gone
    if not before.endswith(f',"hash":"{head.hash}"}}\n'.encode("ascii")):
        raise AuditError(f"entry {head.seq} of the audit log was written and is gone or changed", hint=_HINT)


def _cut_off(file: Path, end: int) -> tuple[str, int]:
    """Move what stands in `file` after byte `end` to a file of its own."""
    with file.open("rb") as source:
        source.seek(end)
        rest = source.read()
    name = f"{file.name}.{end}.torn"
    descriptor = os.open(file.with_name(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as aside:
        aside.write(rest)
        aside.flush()
        os.fsync(aside.fileno())
    os.truncate(file, end)
    return name, len(rest)


def _keep_aside(files: list[Path]) -> tuple[tuple[str, int], ...]:
    """Whole segments after a gap, which a power cut may leave around the change from one segment to the next."""
    kept = [file.rename(file.with_name(f"{file.name}.torn")) for file in files]
    return tuple((file.name, file.stat().st_size) for file in kept)
