"""Is the audit log what we wrote?  Reads everything, changes nothing, and names the first broken link."""

from dataclasses import dataclass
from pathlib import Path

from broker.audit.head import NAME, Head, read_head
from broker.audit.prune import holds, read_stub
from broker.audit.receipt import Chain
from broker.audit.segments import first_seq, lines, segments
from broker.errors import AuditError


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain is not what it was: the segment, the line in it (from 1), the entry that should stand there."""

    segment: str
    line: int
    seq: int
    why: str

    def __str__(self) -> str:
        return f"{self.segment}, line {self.line} (entry {self.seq}): {self.why}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    `vouched` is how many entries the checkpoint covers; `torn` are bytes of a last line that was never finished: a
    write is under way, or there was a crash.  `jumps` are the entries that tell of a clock that was set; `pruned` is
    how many entries were let go.
    """

    entries: int
    segments: int
    vouched: int
    broken: Broken | None = None
    torn: int = 0
    jumps: tuple[tuple[int, str], ...] = ()
    pruned: int = 0

    @property
    def ok(self) -> bool:
        return self.broken is None


def verify(folder: Path, public: bytes, witness: Path | None = None) -> Report:
    """Follow the whole chain and compare it with its checkpoint, and with the witness of how far it once went.

    Raises:
        AuditError: a file cannot be read.
    """
    chain = Chain()
    try:
        head, problem = _head(folder, public, witness)  # before the entries: those written meanwhile stand after it
        files = segments(folder)
        torn, broken, pruned = follow(chain, files, head, public)
    except OSError as cause:
        raise AuditError(f"the audit log cannot be read: {cause.strerror}") from cause
    broken = broken or problem
    if broken is None and head is not None:
        broken = compared(chain, files, head)
    if broken is None and head is None and files:
        broken = Broken(NAME, 1, chain.seq + 1, "the checkpoint is gone, so nothing vouches for the end of the chain")
    return Report(chain.seq, len(files), head.seq if head else 0, broken, torn, tuple(chain.jumps), pruned)


def _head(folder: Path, public: bytes, witness: Path | None) -> tuple[Head | None, Broken | None]:
    try:
        return read_head(folder, public, witness), None
    except AuditError as error:
        return Head(), Broken(NAME, 1, 0, str(error))


def compared(chain: Chain, files: list[Path], head: Head) -> Broken | None:
    """Whether a chain that was followed to its end comes as far as its checkpoint."""
    if chain.seq >= head.seq:
        return None
    last = files[-1] if files else None
    count = chain.seq - first_seq(last.name) + 1 if last else 0
    gone = f"entries {chain.seq + 1} to {head.seq}" if head.seq > chain.seq + 1 else f"entry {head.seq}"
    return Broken(last.name if last else NAME, count + 1, chain.seq + 1, f"{gone} were written and are gone")


def follow(chain: Chain, files: list[Path], head: Head | None, public: bytes) -> tuple[int, Broken | None, int]:
    """Follow every line of `files`: bytes of an unfinished one, the first broken link, and how many were let go."""
    pruned = 0
    for file in files:
        if first_seq(file.name) != chain.seq + 1:
            why = f"entry {chain.seq + 1} is expected here, and this segment begins with {first_seq(file.name)}"
            return 0, Broken(file.name, 1, chain.seq + 1, why), pruned
        try:
            stub = read_stub(file, public)
        except AuditError as error:
            return 0, Broken(file.name, 1, chain.seq + 1, str(error)), pruned
        if stub is not None and holds(file, stub):
            if (stub.first, stub.prev) != (chain.seq + 1, chain.hash):
                why = f"its stub does not follow entry {chain.seq}: its link to the one before does not match"
                return 0, Broken(file.name, 1, chain.seq + 1, why), pruned
            pruned += stub.last - stub.first + 1 - stub.kept
            chain.seq, chain.hash, chain.time = stub.last, stub.hash, stub.time
            continue
        for number, line in enumerate(lines(file), 1):
            if not line.endswith(b"\n") and file == files[-1] and (head is None or chain.seq >= head.seq):
                return len(line), None, pruned
            if why := chain.follow(line):
                return 0, Broken(file.name, number, chain.seq + 1, why), pruned
            if head is not None and chain.seq == head.seq and chain.hash != head.hash:
                why = "the checkpoint vouches for another entry here: the chain was written anew, here or before"
                return 0, Broken(file.name, number, chain.seq, why), pruned
        if stub is not None and chain.seq != stub.last:
            why = "what is left of this segment is not what its stub says"
            return 0, Broken(file.name, 1, chain.seq + 1, why), pruned
    return 0, None, pruned
