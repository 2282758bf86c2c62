"""The checkpoint of the chain: how far it went, vouched for with the integrity key.

A hash chain alone does not notice when its end is cut off, or when all of it is written anew; the head does.  It
stands twice, each time in one sector of the disk: a power cut may spoil one, and spoiling one on purpose brings back no
older one.  It is written only after the entries it vouches for are on the disk, so it never promises too much.
What it does not notice: the whole folder put back as it was at an earlier time, head included.
"""

import errno
import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from broker.audit.receipt import GENESIS
from broker.errors import AuditError, ConfigError
from broker.files import read_bounded

NAME: Final = "head"
_SLOT: Final = 512  # a disk writes a sector whole or not at all
_CONTEXT: Final = b"bulkhead audit head 1\n"
"""Keeps a MAC made for one purpose from being used for another; the key serves several."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry known to be on the disk, and where it ends: the `end`-th byte of `segment`."""

    seq: int = 0
    hash: str = GENESIS
    segment: str = ""
    end: int = 0


def encode_slot(head: Head, key: bytes) -> bytes:
    core = json.dumps(asdict(head), separators=(",", ":")).encode("ascii")
    mac = hmac.new(key, _CONTEXT + core, hashlib.sha256).hexdigest()
    return (core[:-1] + f',"mac":"{mac}"}}'.encode("ascii")).ljust(_SLOT - 1) + b"\n"


def decode_slot(slot: bytes, key: bytes) -> Head | None:
    """The head in this slot, or None if the key does not vouch for it."""
    text = slot.rstrip()
    core, mark, mac = text[:-2].rpartition(b',"mac":"')
    expected = hmac.new(key, _CONTEXT + core + b"}", hashlib.sha256).hexdigest().encode("ascii")
    if not mark or not text.endswith(b'"}') or not hmac.compare_digest(mac, expected):
        return None
    return Head(**json.loads(core + b"}"))


def read_head(folder: Path, key: bytes) -> Head | None:
    """The newest head in `folder`; None if there is no such file.

    Raises:
        AuditError: there is one, and the key vouches for neither slot.
    """
    try:
        data = read_bounded(folder / NAME, 2 * _SLOT)
    except FileNotFoundError:
        return None
    except ConfigError as cause:
        raise AuditError(str(cause), hint="see what changed it; bulkhead audit verify") from cause
    heads = [decode_slot(data[at : at + _SLOT], key) for at in (0, _SLOT)]
    good = [head for head in heads if head is not None]
    if not good:
        raise AuditError(
            "the checkpoint of the audit log was changed, or was made with another key",
            hint="restore the key store of this home, or move the audit folder aside to begin a new chain",
        )
    return max(good, key=lambda head: head.seq)


class HeadFile:
    """The open checkpoint.  One writer, any thread, one call at a time."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._key = key
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(folder / NAME, flags, 0o600)

    def write(self, head: Head) -> None:
        """Put `head` in place of the one before."""
        slots = 2 * encode_slot(head, self._key)
        if os.pwrite(self._descriptor, slots, 0) != len(slots):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
