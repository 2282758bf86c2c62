"""What sessions cost: memory of links that are idle and of links that made a call, servers nobody calls, and fairness.

    python -m benchmarks.sessions [--links 200] [--live 20] [--seconds 5]

A link is opened as a shim opens it, over the daemon's socket with two descriptors, without the shim's own process.
Calls go to one server only: after reading elsewhere they would be questions.
"""

import argparse
import contextlib
import os
import select
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks.calls import arguments, built
from benchmarks.machine import memory_of, own_memory_of
from benchmarks.rows import Rows, table
from tests.e2e.desk import Desk
from tests.fakes.home import Home, throwaway_home

WITHIN: Final = 60.0
SERVERS: Final = 20
CLIENTS: Final = 5
SETTLED: Final = 2.0  # seconds without anything to do, before memory is taken


class Line:
    """One link, and the client's end of it."""

    def __init__(self, home: Home, server: str, client: str) -> None:
        secret = (home.paths.config / "clients" / f"{client}.secret").read_bytes().strip()
        ours, self._write = os.pipe()
        self._read, theirs = os.pipe()
        self._door = socket.socket(socket.AF_UNIX)
        self._door.settimeout(WITHIN)
        self._door.connect(str(home.paths.connect_socket))
        hello = b"\0".join((b"bulkhead 1", server.encode(), client.encode(), secret, os.fsencode(os.getcwd())))
        socket.send_fds(self._door, [hello + b"\n"], [ours, theirs])
        os.close(ours)
        os.close(theirs)
        said = self._door.recv(4096)
        if not said.startswith(b"ok "):
            raise RuntimeError(said.decode(errors="replace"))
        self._number = 0
        self._rest = b""

    def open(self) -> None:
        """Shake hands and ask for the tools, as every application does."""
        opening = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}'
        self.ask(b"initialize", opening)
        os.write(self._write, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        self.ask(b"tools/list", b"{}")

    def say(self, method: bytes, params: bytes) -> bytes:
        self._number += 1
        line = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}\n' % (self._number, method, params)
        os.write(self._write, line)
        return b'"id":%d' % self._number

    def hear(self) -> list[bytes]:
        if not select.select([self._read], [], [], WITHIN)[0]:
            raise TimeoutError("no answer")
        piece = os.read(self._read, 1 << 16)
        if not piece:
            raise EOFError("the link ended")
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines

    def ask(self, method: bytes, params: bytes) -> float:
        """Milliseconds until the answer."""
        began = time.perf_counter()
        name = self.say(method, params)
        while not any(name in line[:60] or name in line[-60:] for line in self.hear()):
            pass
        return (time.perf_counter() - began) * 1e3

    def flood(self, at_once: int, stop: threading.Event) -> None:
        """Keep so many calls under way."""
        under = 0
        while not stop.is_set() or under:
            while under < at_once and not stop.is_set():
                self.say(b"tools/call", arguments("echo", 100))
                under += 1
            under -= len(self.hear())

    def close(self) -> None:
        self._door.close()
        os.close(self._write)
        os.close(self._read)


@contextlib.contextmanager
def lines(home: Home, wanted: Sequence[tuple[str, str]]) -> Iterator[list[Line]]:
    found: list[Line] = []
    try:
        for server, client in wanted:
            found.append(Line(home, server, client))
            found[-1].open()
        yield found
    finally:
        for one in found:
            one.close()


def servers_running(desk: Desk) -> int:
    return sum(bool(link.pid) for session in desk.sessions() for link in session.links)


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def fairness(home: Home, seconds: float) -> dict[str, float]:
    """One call at a time on a link of its own: alone, and beside one that keeps 64 under way."""
    with lines(home, [("echo-0", "local"), ("echo-0", "client-1")]) as (quiet, loud):
        measured: dict[str, float] = {}
        for name in ("alone", "beside a flood"):
            stop = threading.Event()
            flood = threading.Thread(target=loud.flood, args=(64, stop))
            if name != "alone":
                flood.start()
            try:
                times, end = [], time.perf_counter() + seconds
                while time.perf_counter() < end:
                    times.append(quiet.ask(b"tools/call", arguments("echo", 100)))
            finally:
                stop.set()
                if name != "alone":
                    flood.join(WITHIN)
            measured[f"{name}, p50"], measured[f"{name}, p99"] = statistics.median(times), p99(times)
        return measured


def measure(idle: int, live: int, seconds: float, rows: Rows) -> str:
    with tempfile.TemporaryDirectory(prefix="bh-bench-") as folder, throwaway_home() as home:
        Path(folder).chmod(0o755)
        server = built(Path(folder))
        clients = ["local", *(f"client-{number}" for number in range(1, CLIENTS))]
        for client in clients[1:]:
            home.bulkhead("client", "add", client)
        desk = Desk(home.paths.control_socket)
        for number in range(SERVERS):
            done = home.bulkhead("add", f"echo-{number}", "--yes", "--", server)
            if done.returncode != 0:
                raise RuntimeError(done.stderr)
            for client in clients:
                desk.connect(client, f"echo-{number}")
        pid = desk.status().pid
        said: dict[str, tuple[str, str]] = {}

        everyone = [(f"echo-{number}", client) for number in range(SERVERS) for client in clients]
        with lines(home, everyone):
            running = servers_running(desk)
            said[f"server processes of {SERVERS} servers x {CLIENTS} clients that made no call"] = str(running), "0"

        time.sleep(SETTLED)
        before = own_memory_of(pid)
        with lines(home, [*islice(cycle(everyone), idle)]):
            time.sleep(SETTLED)
            each = (own_memory_of(pid) - before) * 1024 / idle
            said[f"memory of the daemon for each of {idle} idle links, KiB"] = f"{each:.0f}", "16"

        time.sleep(SETTLED)
        before, whole = own_memory_of(pid), memory_of(pid)
        with lines(home, [("echo-0", clients[number % CLIENTS]) for number in range(live)]) as found:
            for one in found:
                one.ask(b"tools/call", arguments("echo", 100))
            time.sleep(SETTLED)
            each = (own_memory_of(pid) - before) / live
            said[f"memory of the daemon for each of {live} links whose server runs, MiB"] = f"{each:.2f}", "0.5"
            boxes = (memory_of(pid) - whole) / live - each
            said["of its sandbox and its server, a C program, MiB"] = f"{boxes:.2f}", ""

        fair = fairness(home, seconds)
        for name, value in fair.items():
            said[f"one call at a time {name}, ms"] = f"{value:.2f}", ""
        said["p99 beside a flood, times p99 alone"] = f"{fair['beside a flood, p99'] / fair['alone, p99']:.1f}", "2"
        rows.keep(**{name: value for name, (value, _) in said.items()})
        return table(("what", "measured", "at most"), said)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.sessions", description="what sessions cost")
    parser.add_argument("--links", type=int, default=200, help="idle ones; a client may have 64")
    parser.add_argument("--live", type=int, default=20, help="those whose server runs")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each half of the measurement of fairness")
    wanted = parser.parse_args(given)
    rows = Rows("sessions")
    text = measure(wanted.links, wanted.live, wanted.seconds, rows)
    sys.stdout.write(f"{text}\n\n{rows.footer('once')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
