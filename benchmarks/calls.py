"""What a call costs: directly, through Bulkhead with every gate on, and through other proxies, in the same minutes.

    python -m benchmarks.calls [--rounds 9] [--seconds 0.5] [--peers FOLDER]

Every candidate is alive the whole while and has one block in each round, so that a busy machine disturbs all alike;
ratios are taken within a round.  The server is a C program, the client reads bytes and parses nothing.  Through
Bulkhead a call passes the shim's hand-over, the policy `balanced`, the agreed catalog and its schema, the ledger with
fingerprints of arguments and result, and two sealed receipts; the server is in its sandbox.
"""

import argparse
import contextlib
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.machine import processor_of
from benchmarks.peers import found, home_of
from benchmarks.rows import Rows, spread, table
from broker.home import shim_command
from tests.e2e.desk import Desk
from tests.fakes.home import Home, throwaway_home

WITHIN: Final = 20.0
CASES: Final = (
    ("echo", 100, 1), ("echo", 100, 64), ("echo", 10_000, 1), ("read", 10_000, 1), ("read", 1_000_000, 1),
)  # fmt: skip
"""The tool, how many bytes (there and back, or back alone), and how many at once."""
LINE: Final = "the quick brown fox jumps over the lazy dog and 0123456789 counts along; "
_ID: Final = re.compile(rb'"id": ?(\d+)')
_FAILED: Final = re.compile(rb'"isError": ?true|"error": ?{')
DIRECT: Final = "direct"
OURS: Final = "Bulkhead"


class Wire:
    """A client on the pipes of a program: requests out, ids back."""

    def __init__(self, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=env
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._write, self._read = self.process.stdin.fileno(), self.process.stdout.fileno()
        for descriptor in (self._write, self._read):
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._number = 0
        self._rest = b""

    def open(self) -> None:
        opening = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}'
        self.drive(b"initialize", opening, 1, 1, WITHIN)
        os.write(self._write, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        self.drive(b"tools/list", b"{}", 1, 1, WITHIN)

    def drive(self, method: bytes, params: bytes, most: int, at_once: int, seconds: float) -> list[float]:
        """Keep `at_once` requests under way; microseconds from saying each to having all of its answer."""
        sent: dict[int, float] = {}
        took: list[float] = []
        out = b""
        end, left = time.perf_counter() + seconds, most
        while True:
            while left and len(sent) < at_once and (time.perf_counter() < end or not took):
                self._number += 1
                left -= 1
                out += b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}\n' % (self._number, method, params)
                sent[self._number] = time.perf_counter()
            if not sent:
                return took
            if out:
                with contextlib.suppress(BlockingIOError):
                    out = out[os.write(self._write, out) :]
            if out:
                select.select([self._read], [self._write], [], WITHIN)
            elif not self._poll.poll(WITHIN * 1000):
                raise TimeoutError("no answer")
            self._hear(sent, took)

    def _hear(self, sent: dict[int, float], took: list[float]) -> None:
        try:
            piece = os.read(self._read, 1 << 20)
        except BlockingIOError:
            return
        if not piece:
            raise EOFError("the program ended")
        now = time.perf_counter()
        *lines, self._rest = (self._rest + piece).split(b"\n") if b"\n" in piece else (self._rest + piece,)
        for line in lines:
            number = _ID.search(line, 0, 200) or _ID.search(line, max(0, len(line) - 200))
            begun = sent.pop(int(number.group(1)), None) if number is not None else None
            if begun is not None:
                if _FAILED.search(line, 0, 200) or _FAILED.search(line, max(0, len(line) - 200)):
                    raise RuntimeError(line[:300].decode(errors="replace"))
                took.append((now - begun) * 1e6)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass(frozen=True, slots=True)
class Block:
    """One candidate in one round: microseconds, calls a second, and the processor time of what stands between."""

    p50: float
    p99: float
    rate: float
    processor: float


@dataclass(frozen=True, slots=True)
class Candidate:
    wire: Wire
    between: Callable[[], int]
    """The process whose time is what a call costs; 0 for none."""


def arguments(tool: str, size: int) -> bytes:
    if tool == "read":
        return b'{"name":"read","arguments":{"bytes":%d}}' % size
    text = (LINE * (size // len(LINE) + 1))[:size]
    return b'{"name":"echo","arguments":{"text":"%b"}}' % text.encode()


def block(one: Candidate, tool: str, size: int, at_once: int, seconds: float) -> Block:
    before, began = processor_of(one.between()), time.perf_counter()
    took = sorted(one.wire.drive(b"tools/call", arguments(tool, size), 100_000, at_once, seconds))
    elapsed, spent = time.perf_counter() - began, processor_of(one.between()) - before
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return Block(statistics.median(took), p99, len(took) / elapsed, spent / len(took))


def built(folder: Path) -> Path:
    """The server, compiled here.

    Raises:
        RuntimeError: this machine has no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the server that is measured against needs a C compiler (cc)")
    program = folder / "echo"
    source = Path(__file__).with_name("echo.c")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-O2", "-o", str(program), str(source)], check=True)
    return program


def registered(home: Home, server: Path) -> Desk:
    """Bulkhead with the server in it, and a client that may use it."""
    done = home.bulkhead("add", "echo", "--yes", "--", server)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    desk = Desk(home.paths.control_socket)
    desk.connect("local", "echo")
    return desk


@contextlib.contextmanager
def candidates(server: Path, home: Home, peers: Path | None) -> Iterator[dict[str, Candidate]]:
    daemon = registered(home, server).status().pid
    lines: dict[str, Sequence[str]] = {DIRECT: (str(server),), OURS: shim_command(home.paths, "echo", "local")}
    for peer in found(peers) if peers is not None else ():
        lines[peer.name] = peer.line(home_of(peer, peers), server) if peers is not None else ()
    running: dict[str, Candidate] = {}
    try:
        for name, line in lines.items():
            wire = Wire(line, dict(home.environment) if name == OURS else None)
            pid = {DIRECT: 0, OURS: daemon}.get(name, wire.process.pid)
            running[name] = Candidate(wire, lambda pid=pid: pid)  # type: ignore[misc]
            try:
                wire.open()
            except (EOFError, TimeoutError) as problem:
                sys.stderr.write(f"{name} is left out: {problem}\n")
                running.pop(name).wire.close()
        yield running
    finally:
        for one in running.values():
            one.wire.close()


def measure(rounds: int, seconds: float, peers: Path | None, rows: Rows) -> str:
    with tempfile.TemporaryDirectory(prefix="bh-bench-") as folder, throwaway_home() as home:
        Path(folder).chmod(0o755)
        with candidates(built(Path(folder)), home, peers) as running:
            return "\n\n".join(_case(running, case, rounds, seconds, rows) for case in CASES)


def _case(running: dict[str, Candidate], case: tuple[str, int, int], rounds: int, seconds: float, rows: Rows) -> str:
    tool, size, at_once = case
    blocks: dict[str, list[Block]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, one in tuple(running.items()):
            try:
                measured = block(one, tool, size, at_once, seconds if number else seconds / 2)
            except (EOFError, OSError, RuntimeError) as problem:
                if name in (DIRECT, OURS):
                    raise
                sys.stderr.write(f"{name} is left out from {tool} {size} x{at_once} on: {problem}\n")
                running.pop(name).wire.close()
                del blocks[name]
                continue
            if number:  # the first round warms what is still cold
                blocks[name].append(measured)
                rows.keep(case=case, round=number, who=name, **asdict(measured))
    lines = {}
    for name, own in blocks.items():
        pairs = list(zip(own, blocks[DIRECT], strict=True))
        lines[name] = (
            spread(one.p50 for one in own),
            f"{statistics.median(one.p99 for one in own):.0f}",
            f"{statistics.median(one.p50 - base.p50 for one, base in pairs):.0f}",
            spread((one.p50 / base.p50 for one, base in pairs), 2),
            f"{statistics.median(one.rate for one in own):,.0f}",
            "" if name == DIRECT else spread(one.processor for one in own),
        )
    what = f"`{tool}`, {size:,} bytes, {at_once} at once"
    return table((what, "p50, us", "p99", "added", "times direct", "calls/s", "processor, us"), lines)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.calls", description="what a call costs, interleaved")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--peers", type=Path, help="where `python -m benchmarks.peers` installed others")
    wanted = parser.parse_args(given)
    rows = Rows("calls")
    text = measure(wanted.rounds, wanted.seconds, wanted.peers and wanted.peers.resolve(), rows)
    sys.stdout.write(f"{text}\n\n{rows.footer(f'{wanted.rounds} rounds, medians and extremes')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
