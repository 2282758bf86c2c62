"""How far the agreed documents had come: what makes a set of them put back from an old backup show.

A MAC tells that a table is ours, not that it is the last one.  So each table carries a number and the digest of the one
before, and the head, kept apart from the tables, says which was last.  The keychain, where there is one, keeps the
number too, out of reach of whoever puts back files.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.files import read_bounded, write_private

MAX_HEAD: Final = 4096
_CONTEXT: Final = b"bulkhead agreed head 1\n"
"""Keeps a MAC made for one purpose from being used for another; the key serves several."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One table: its number and its digest."""

    seq: int = 0
    digest: str = ""


class HeadFile:
    """The last table's mark, on the disk under a MAC.

    `floor` is the number the keychain remembers; the file may be ahead of it, never behind.
    """

    def __init__(self, path: Path, key: bytes, floor: int = 0) -> None:
        self._path = path
        self._key = key
        self._floor = floor

    def problem(self, table: Mark, prev: str) -> str:
        """Why this table is not the last one; empty if it may be.

        A table one ahead of the head is one whose writer was interrupted, if it follows the one the head names.
        """
        try:
            head = self.read()
        except ConfigError as problem:
            return str(problem)
        last = max(head.seq if head else 0, self._floor)
        if table.seq < last:
            return f"an older state of the agreed documents was put back: number {table.seq} of {last}"
        if head is None:
            return "the mark of the last agreed documents is gone" if table.seq > 1 else ""
        same = table.seq == head.seq and table.digest != head.digest
        if same or (table.seq == head.seq + 1 and prev != head.digest):
            return f"the agreed documents are not the ones that were agreed to last (number {table.seq})"
        return ""

    def read(self) -> Mark | None:
        """The mark; None if there is no such file.

        Raises:
            ConfigError: there is one, and the key does not vouch for it.
        """
        try:
            mark = json.loads(read_bounded(self._path, MAX_HEAD))
            seq, digest, mac = mark["seq"], mark["digest"], str(mark["mac"])
            if isinstance(seq, int) and hmac.compare_digest(mac, self._mac(seq, str(digest))):
                return Mark(seq, str(digest))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
            pass  # as good as one with a wrong MAC
        raise ConfigError("the mark of the last agreed documents was changed by somebody else")

    def next_seq(self, seq: int) -> int:
        """The number of the table after `seq`, above everything that was ever used."""
        try:
            head = self.read()
        except ConfigError:
            head = None
        return max(seq, head.seq if head else 0, self._floor) + 1

    def write(self, mark: Mark) -> None:
        """Say that this table is the last one.  Only after it is on the disk: a head never promises too much."""
        text = {"seq": mark.seq, "digest": mark.digest, "mac": self._mac(mark.seq, mark.digest)}
        write_private(self._path, json.dumps(text).encode())

    def _mac(self, seq: int, digest: str) -> str:
        return hmac.new(self._key, _CONTEXT + f"{seq} {digest}".encode(), hashlib.sha256).hexdigest()
