"""Reading the chain as it grows, from any entry on, without an index and with bounded memory."""

import json
from pathlib import Path

from broker.audit.segments import first_seq, lines, segments
from broker.model import JsonObject


class Follower:
    """Stands behind entry `seq`.  Blocking; one call at a time, from any thread."""

    def __init__(self, folder: Path, seq: int = 0) -> None:
        self._folder = folder
        self.seq = seq
        self._file = Path()
        self._inode = 0
        self._end = 0

    def take(self, entries: int, size: int, until: int) -> list[JsonObject]:
        """The next entries up to number `until`: so many, or of so many bytes together, at most.

        Entries that were let go are not among them.

        Raises:
            OSError: a segment cannot be read.
        """
        found: list[JsonObject] = []
        files = segments(self._folder)
        begun = [file for file in files if first_seq(file.name) <= self.seq + 1]
        for file in files[max(0, len(begun) - 1) :]:
            for line in lines(file, self._place(file)):
                if not line.endswith(b"\n"):
                    return found  # being written right now
                entry: JsonObject = json.loads(line)
                if entry["seq"] > until or (found and (len(found) >= entries or len(line) > size)):
                    return found
                self._end += len(line)
                if entry["seq"] > self.seq:
                    self.seq = entry["seq"]
                    size -= len(line)
                    found.append(entry)
        return found

    def _place(self, file: Path) -> int:
        """Where to read on; one that was let go of in part is read from its beginning."""
        inode = file.stat().st_ino
        if (file, inode) != (self._file, self._inode):
            self._file, self._inode, self._end = file, inode, 0
        return self._end
