"""The files of the chain: which there are, in which order, and their lines.

A segment is named after the number of its first entry, so a missing one shows in the names already.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.audit.receipt import MAX_LINE

MAX_SEGMENT: Final = 16 * 1024 * 1024  # a reader may hold one in memory; about 20,000 entries
_NAME = re.compile(r"segment-([0-9]{12})\.jsonl", re.ASCII)


def segment_name(first_seq: int) -> str:
    return f"segment-{first_seq:012d}.jsonl"


def first_seq(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found.group(1)) if found else 0


def segments(folder: Path) -> list[Path]:
    """Every segment, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines of a segment from byte `start` on, newline included; the last may lack it.

    A line longer than any entry is cut there: the piece is no entry, and the chain says so.
    """
    with path.open("rb") as file:
        file.seek(start)
        while line := file.readline(MAX_LINE):
            yield line


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
