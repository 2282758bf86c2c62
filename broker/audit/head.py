"""The checkpoint of the chain: how far it went, signed with a key of the vault (Ed25519).

A hash chain alone does not notice when its end is cut off, or when all of it is written anew; the head does.  It
stands twice, each time in one sector of the disk: a power cut may spoil one, and spoiling one on purpose brings back no
older one.  It is written only after the entries it vouches for are on the disk, so it never promises too much.
A second one, the witness, lies outside of the folder, so that the folder alone cannot be put back as it once was.
"""

import errno
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from broker.audit.keys import AuditKeys, is_signed
from broker.audit.receipt import GENESIS
from broker.errors import AuditError, ConfigError
from broker.files import read_bounded

NAME: Final = "head"
_SLOT: Final = 512  # a disk writes a sector whole or not at all
_CONTEXT: Final = b"bulkhead audit head 2\n"
"""Keeps a signature made for one purpose from being used for another."""
_SIGNED: Final = re.compile(rb'(\{.*),"signature":"([0-9a-f]{128})"\}', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry known to be on the disk, and its time; it ends at the `end`-th byte of `segment`."""

    seq: int = 0
    hash: str = GENESIS
    segment: str = ""
    end: int = 0
    time: str = ""


def encode_slot(head: Head, keys: AuditKeys) -> bytes:
    core = json.dumps(asdict(head), separators=(",", ":")).encode("ascii")
    signature = keys.sign(_CONTEXT + core).encode("ascii")
    return (core[:-1] + b',"signature":"' + signature + b'"}').ljust(_SLOT - 1) + b"\n"


def decode_slot(slot: bytes, public: bytes) -> Head | None:
    """The head in this slot, or None if the key does not vouch for it."""
    found = _SIGNED.fullmatch(slot.rstrip())
    if found is None:
        return None
    core = found[1] + b"}"
    return Head(**json.loads(core)) if is_signed(public, _CONTEXT + core, found[2].decode("ascii")) else None


def read_head(folder: Path, public: bytes, witness: Path | None = None) -> Head | None:
    """The newest head in `folder`, or its witness if that is newer; None if there is neither.

    Raises:
        AuditError: there is one, and the key vouches for neither slot.
    """
    heads = [head for path in (folder / NAME, witness) if path is not None and (head := _read(path, public))]
    return max(heads, key=lambda head: head.seq, default=None)


def _read(path: Path, public: bytes) -> Head | None:
    try:
        data = read_bounded(path, 2 * _SLOT)
    except FileNotFoundError:
        return None
    except ConfigError as cause:
        raise AuditError(str(cause), hint="see what changed it; bulkhead audit verify") from cause
    heads = [decode_slot(data[at : at + _SLOT], public) for at in (0, _SLOT)]
    good = [head for head in heads if head is not None]
    if not good:
        raise AuditError(
            "the checkpoint of the audit log was changed, or was made with another key",
            hint="restore the key store of this home, or move the audit folder aside to begin a new chain",
        )
    return max(good, key=lambda head: head.seq)


class HeadFile:
    """The open checkpoint.  One writer, any thread, one call at a time."""

    def __init__(self, folder: Path, keys: AuditKeys, witness: Path | None = None) -> None:
        self._keys = keys
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        paths = [folder / NAME] if witness is None else [folder / NAME, witness]
        self._descriptors = [os.open(path, flags, 0o600) for path in paths]

    def write(self, head: Head) -> None:
        """Put `head` in place of the one before."""
        slots = 2 * encode_slot(head, self._keys)
        for descriptor in self._descriptors:
            if os.pwrite(descriptor, slots, 0) != len(slots):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        for descriptor in self._descriptors:
            os.fsync(descriptor)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
