"""Receipts of the format before this one: set aside whole, never changed, and verified as long as they are there.

The new chain begins with the last link of the old one, so that nobody can change or drop what was set aside unseen.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.audit.head import NAME, Head
from broker.audit.receipt import KEYS, Chain
from broker.audit.segments import segments
from broker.audit.verify import Broken, Report, compared, follow
from broker.errors import AuditError, ConfigError
from broker.files import read_bounded
from broker.model import Fact

ENDING: Final = ".v1"
SINCE: Final = frozenset({"stories", "labels"})  # keys that entries had not yet
_SLOT: Final = 512
_CONTEXT: Final = b"bulkhead audit head 1\n"


class OlderChain(Chain):
    """Follows entries of version 1, which told nothing of a clock that was set."""

    version = 1
    keys = tuple(key for key in KEYS if key not in SINCE)
    tells_of_clocks = False


@dataclass(frozen=True, slots=True)
class Aside:
    """What was set aside: the folder, and its last link."""

    folder: Path
    entries: int
    hash: str

    @property
    def fact(self) -> Fact:
        """The first entry of the chain that goes on from there."""
        body = {"folder": self.folder.name, "entries": self.entries, "hash": self.hash, "version": 1}
        return Fact("daemon", "broker", target="audit-older", body=body, durable=True)


def set_aside(folder: Path, key: bytes, witness: Path) -> Aside | None:
    """Move a folder of the older format out of the way; what stands aside already is returned too.

    A folder that ever had this format has a witness, and is none.

    Raises:
        AuditError: it cannot be moved.
    """
    target = folder.with_name(folder.name + ENDING)
    if not witness.exists() and not target.exists() and _head(folder, key) is not None:
        try:
            folder.rename(target)
        except OSError as cause:
            raise AuditError(
                f"the receipts in {folder} are of an older format and cannot be set aside: {cause.strerror}",
                hint=f"move them to {target} yourself",
            ) from cause
    head = _head(target, key)
    return Aside(target, head.seq, head.hash) if head is not None else None


def verify_older(folder: Path, key: bytes) -> Report | None:
    """Follow what was set aside beside `folder`, to its checkpoint; None where there is nothing.

    Raises:
        AuditError: a file cannot be read.
    """
    aside, chain = folder.with_name(folder.name + ENDING), OlderChain()
    if not aside.is_dir():
        return None
    head = _head(aside, key)
    if head is None:
        return Report(0, 0, 0, Broken(NAME, 1, 0, "the checkpoint is gone, changed, or made with another key"))
    try:
        files = segments(aside)
        torn, broken, _ = follow(chain, files, head, b"")
    except OSError as cause:
        raise AuditError(f"the receipts in {aside} cannot be read: {cause.strerror}") from cause
    return Report(chain.seq, len(files), head.seq, broken or compared(chain, files, head), torn)


def _head(folder: Path, key: bytes) -> Head | None:
    """The checkpoint of an older folder, vouched for with the integrity key itself."""
    try:
        data = read_bounded(folder / NAME, 2 * _SLOT)
    except (FileNotFoundError, ConfigError):
        return None
    found = []
    for slot in (data[:_SLOT].rstrip(), data[_SLOT:].rstrip()):
        core, mark, mac = slot[:-2].rpartition(b',"mac":"')
        expected = hmac.new(key, _CONTEXT + core + b"}", hashlib.sha256).hexdigest().encode("ascii")
        if mark and slot.endswith(b'"}') and hmac.compare_digest(mac, expected):
            found.append(Head(**json.loads(core + b"}")))
    return max(found, key=lambda head: head.seq, default=None)
