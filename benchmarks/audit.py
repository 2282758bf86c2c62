"""What the record costs: recording one message, searching many receipts, and the room they take.

python -m benchmarks.audit [--receipts 1000000] [--seconds 20]
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.machine import QUIET
from broker.audit.index import NAME, Index
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.redact import Redactor
from broker.audit.segments import segments
from broker.model import Decision, Fact, JsonObject, Origin, Verdict

KEYS: Final = AuditKeys(b"a key of nobody, for measurements")
RATE: Final = 1000  # messages a second
TOOLS: Final = ("read_file", "write_file", "search", "get_issue", "create_issue", "query", "fetch", "list_directory")
YES: Final = Decision(Verdict.ALLOW, "agreed-server", "the client may use this server")
NO: Final = Decision(Verdict.DENY, "no-shell", "this policy lets nobody run a shell")


def facts(rng: random.Random, number: int) -> tuple[Origin, Fact]:
    """A receipt as a day of work leaves them: calls and their results, of a few clients and a dozen servers."""
    call, answer = divmod(number, 2)
    client, server, link = f"client-{call % 4}", f"server-{call % 12}", f"{call // 500:016x}"
    story = (f"{link}.{call % 500 + 1}",)
    origin = Origin(client, server, f"s-{call // 2000:06d}", link, "ab" * 32, "A", story, "PU" if answer else "")
    tool = TOOLS[rng.randrange(len(TOOLS))]
    digest = f"{call:064x}"
    if answer:
        body: JsonObject = {
            "result": {"content": [{"type": "text", "text": "x" * rng.randrange(40, 400)}], "isError": False}
        }
        return origin, Fact("result", "server", "tools/call", tool, call, None, 400, digest, body)
    body = {"name": tool, "arguments": {"path": f"notes/{call % 9973}.md", "limit": 20}}
    decision = NO if call % 997 == 0 else YES
    return origin, Fact("decision", "client", "tools/call", tool, call, decision, 130, digest, body)


def redactor() -> Redactor:
    found = Redactor()
    for number in range(20):
        found.add(f"secret-{number}", f"value-{number:032x}")
    return found


async def recording(folder: Path, seconds: float) -> dict[str, float]:
    """Append at `RATE`, with the disk kept up with, as in a daemon; microseconds each append took."""
    rng = random.Random(1)  # noqa: S311 - nothing secret
    log = AuditLog.open(folder, KEYS, time.time, redactor())
    syncing = asyncio.create_task(log.run_sync())
    took: list[float] = []
    began = time.perf_counter()
    for number in range(int(seconds * RATE)):
        origin, fact = facts(rng, number)
        before = time.perf_counter()
        log.append(origin, fact)
        took.append((time.perf_counter() - before) * 1e6)
        ahead = began + (number + 1) / RATE - time.perf_counter()
        await asyncio.sleep(max(0.0, ahead))
    rate = len(took) / (time.perf_counter() - began)
    log.close()
    await syncing
    took.sort()
    return {"p50_us": statistics.median(took), "p99_us": took[int(len(took) * 0.99)], "messages_per_second": rate}


def fill(folder: Path, count: int) -> None:
    rng = random.Random(2)  # noqa: S311 - nothing secret
    start = time.time() - count * 0.05
    now = [start]
    log = AuditLog.open(folder, KEYS, lambda: now[0], redactor(), steady=lambda: now[0])
    for number in range(count):
        now[0] += 0.05
        log.append(*facts(rng, number))
        if number % 10_000 == 0:
            log.sync()
    log.close()


def searches(count: int) -> dict[str, Callable[[Index], object]]:
    """Each kind of search, for something rare, something common, or nothing at all."""
    link = f"{count // 2 // 500 // 2:016x}"
    middle = time.time() - count * 0.025
    return {
        "client": lambda index: index.search(client="client-1"),
        "session": lambda index: index.search(session="s-000003"),
        "server and tool": lambda index: index.search(server="server-3", tool="get_issue"),
        "client, server that never met": lambda index: index.search(client="client-1", server="server-2"),
        "rule": lambda index: index.search(rule="no-shell"),
        "rule nobody has": lambda index: index.search(rule="never"),
        "time": lambda index: index.search(since=middle, until=middle + 60),
        "story": lambda index: index.search(story=f"{link}.7"),
        "text, common": lambda index: index.search(text="get_issue"),
        "text, rare": lambda index: index.search(text=link),
        "text, first session": lambda index: index.search(text="s-000000"),
        "text, nowhere": lambda index: index.search(text="no such words"),
        "text and client": lambda index: index.search(text="lets nobody run", client="client-2"),
    }


def searching(folder: Path, count: int) -> dict[str, float]:
    """Milliseconds of each search, the slowest of five."""
    took: dict[str, float] = {}
    with Index(folder) as index:
        for name, search in searches(count).items():
            times = []
            for _ in range(5):
                before = time.perf_counter()
                search(index)
                times.append((time.perf_counter() - before) * 1e3)
            took[name] = max(times)
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkhead-audit-") as name:
        found: dict[str, object] = {"quiet": os.getloadavg()[0] < QUIET, "load": os.getloadavg()[0]}
        found["recording"] = asyncio.run(recording(Path(name) / "one", args.seconds))
        many = Path(name) / "many"
        before = time.perf_counter()
        fill(many, args.receipts)
        found["filling_seconds"] = time.perf_counter() - before
        before = time.perf_counter()
        with Index(many) as index:
            index.tail(1)
        found["indexing_seconds"] = time.perf_counter() - before
        found["search_ms"] = searching(many, args.receipts)
        size = sum(segment.stat().st_size for segment in segments(many))
        found["size_mb_per_million"] = {
            "segments": size / args.receipts, "index": (many / NAME).stat().st_size / args.receipts
        }  # fmt: skip
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
