"""How long the screen takes to its first paint, and how many receipts a second its tail takes in.

    python -m benchmarks.screen [ROUNDS]

The first paint is measured as a person sees it: `bulkhead` is started on a terminal while a daemon runs, until the
places stand on it.  It makes a throw-away home.
"""

import asyncio
import json
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from broker.api import schema
from tests.fakes.home import Home, throwaway_home
from tests.ui.bench import HandClock, screen
from tests.ui.scenes import receipt

ROUNDS: Final = 15
WITHIN: Final = 60.0
SEEN: Final = b"Questions"
RECEIPTS: Final = 50_000
PAGE: Final = 1_000


def paints(home: Home, *words: str) -> tuple[float, float]:
    """Seconds from the start of the command until its first line stood on the terminal, and until the places did."""
    ours, theirs = pty.openpty()
    begun = time.monotonic()
    process = subprocess.Popen(
        home.argv(*words), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**home.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    os.close(theirs)
    drawn, first = b"", 0.0
    try:
        while SEEN not in drawn:
            if not select.select([ours], [], [], WITHIN)[0]:
                raise TimeoutError(f"nothing was painted within {WITHIN:.0f} s: {drawn[-200:]!r}")
            drawn += os.read(ours, 65_536)
            first = first or time.monotonic() - begun
        return first, time.monotonic() - begun
    finally:
        process.kill()
        process.wait()
        os.close(ours)


async def tail_rate() -> float:
    """Receipts a second that the audit place takes in, draws and filters."""
    with tempfile.TemporaryDirectory(prefix="bh-") as folder:
        async with screen(Path(folder) / "c.sock", HandClock()) as bench:
            await bench.press("4", "slash", *"read_file", "enter")
            begun = time.monotonic()
            for start in range(0, RECEIPTS, PAGE):
                page = [receipt(n, target=f"read_file-{n}") for n in range(start, start + PAGE)]
                await bench.desk.say(schema.ReceiptsAdded(receipts=page))
            await bench.until(lambda: f"read_file-{RECEIPTS - 1}" in bench.seen)
            return RECEIPTS / (time.monotonic() - begun)


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds) * 1000), "least": round(min(seconds) * 1000),
            "most": round(max(seconds) * 1000)}  # fmt: skip


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with throwaway_home() as home:
        home.bulkhead("up")
        paints(home)  # what the file system has not read yet is nobody's first paint but the machine's
        first, whole = zip(*(paints(home) for _ in range(rounds)), strict=True)
    said: dict[str, Any] = {
        "load": os.getloadavg()[0],
        "first_paint_ms": milliseconds(first),
        "whole_screen_ms": milliseconds(whole),
        "receipts_per_second": asyncio.run(tail_rate()),
    }  # fmt: skip
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
