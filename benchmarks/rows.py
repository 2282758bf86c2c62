"""What every run keeps: each single measurement as it was, beside the table made of them."""

import json
import os
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import QUIET

FOLDER: Final = Path("benchmark-rows")


class Rows:
    """The raw rows of one benchmark: one JSON object a line, under `benchmark-rows` where it was run."""

    def __init__(self, name: str) -> None:
        FOLDER.mkdir(exist_ok=True)
        self.path: Final = FOLDER / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        self._before = os.getloadavg()[0]

    def keep(self, **row: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({**row, "load": os.getloadavg()[0]}) + "\n")

    def footer(self, what: str) -> str:
        """Under what circumstances it was measured."""
        after = os.getloadavg()[0]
        noisy = "; the machine was not quiet" if max(self._before, after) > QUIET else ""
        return f"{what}; load {self._before:.1f} before, {after:.1f} after{noisy}; rows in {self.path}"


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The median, and the least and the most."""
    ordered = sorted(values)
    if not ordered:
        return "-"
    return f"{statistics.median(ordered):.{digits}f} [{ordered[0]:.{digits}f}-{ordered[-1]:.{digits}f}]"


def table(heads: tuple[str, ...], lines: Mapping[str, tuple[str, ...]]) -> str:
    """Markdown; the first column says what a line is about."""
    rows = [heads, ("---",) * len(heads), *((name, *cells) for name, cells in lines.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
