"""How long things take to begin: the daemon, the screen, a command, and what a client launches.

    python -m benchmarks.startup [--rounds 7]

All of them have their turn in each round.  Memory is the proportional set size: the daemon's once it was asked for all
of this, the shim's after it handed its descriptors over.
"""

import argparse
import contextlib
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.calls import built, registered
from benchmarks.machine import memory_of
from benchmarks.rows import Rows, spread, table
from broker.cli.start import daemon_argv, daemon_environment
from broker.home import shim_command, write_conf
from tests.fakes.home import Home, throwaway_home
from tests.fakes.raw_client import RawClient

WITHIN: Final = 60.0
TARGETS: Final = {
    "daemon, exec to ready": "250 ms",
    "screen, exec to its first picture": "400 ms",
    "`bulkhead --version`": "120 ms",
    "`bulkhead status`": "120 ms",
    "shim, exec to its first byte": "12 ms",
    "shim, exec to `tools/list` answered": "20 ms",
    "the server itself, exec to `tools/list` answered": "",
    "daemon, PSS": "45 MiB",
    "shim after its hand-over, PSS": "0.5 MiB",
}
FIRST_PICTURE: Final = b"\x1b[?1049h"  # the other screen of a terminal; what is drawn there follows


def since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


@contextlib.contextmanager
def daemon(home: Home) -> Iterator[tuple[float, int]]:
    """A daemon started alone: milliseconds until it said that it is ready, and its process."""
    write_conf(home.paths, home.environment)
    ready, tell = os.pipe()
    began = time.perf_counter()
    process = subprocess.Popen(
        daemon_argv(home.paths, "--ready-fd", str(tell)), env=daemon_environment(home.environment), pass_fds=(tell,),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    os.close(tell)
    try:
        if not select.select([ready], [], [], WITHIN)[0] or not os.read(ready, 100).startswith(b"ready"):
            raise RuntimeError("the daemon did not start")
        yield since(began), process.pid
    finally:
        os.close(ready)
        process.terminate()
        process.wait(WITHIN)


def command(home: Home, *words: str) -> float:
    began = time.perf_counter()
    done = home.bulkhead(*words)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return since(began)


def screen(home: Home) -> float:
    """Until something stands on the screen, in a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**home.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    began = time.perf_counter()
    process = subprocess.Popen(
        home.argv(), env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = b""
    try:
        while b"\x1b[" not in (drawn := seen.partition(FIRST_PICTURE)[2]) or len(drawn) < 1000:
            if not select.select([ours], [], [], WITHIN)[0]:
                raise RuntimeError("the screen showed nothing")
            seen += os.read(ours, 65536)
        return since(began)
    finally:
        process.kill()
        process.wait(WITHIN)
        os.close(ours)


def first_byte(home: Home) -> float:
    """Until somebody who listens in the daemon's place hears the shim."""
    with tempfile.TemporaryDirectory(prefix="bh-") as folder:
        path = str(Path(folder, "connect.sock"))
        conf = Path(folder, "home.conf")
        text = (home.paths.home / "home.conf").read_text()
        lines = [f"connect={path}" if line.startswith("connect=") else line for line in text.splitlines()]
        conf.write_text("\n".join(lines) + "\n")
        conf.chmod(0o600)
        argv = [folder if word == str(home.paths.home) else word for word in shim_command(home.paths, "echo", "local")]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(WITHIN)
            began = time.perf_counter()
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=home.environment
            )
            with listener.accept()[0] as connection:
                connection.settimeout(WITHIN)
                connection.recv(1)
                took = since(began)
            process.communicate(timeout=WITHIN)
            return took


def listed(argv: Sequence[str], home: Home, after: Callable[[int], None] = lambda _: None) -> float:
    """Until a client that launches this has the list of tools."""
    began = time.perf_counter()
    with RawClient(argv, env=home.environment) as client:
        client.open(within=WITHIN)
        client.tools(within=WITHIN)
        took = since(began)
        after(client.process.pid)
        return took


def measure(rounds: int, rows: Rows) -> str:
    found: dict[str, list[float]] = {name: [] for name in TARGETS}
    with tempfile.TemporaryDirectory(prefix="bh-bench-") as folder, throwaway_home() as home:
        Path(folder).chmod(0o755)
        server = built(Path(folder))
        registered(home, server)
        home.bulkhead("down")
        for number in range(rounds + 1):
            taken: dict[str, float] = {}
            with daemon(home) as (started, pid):
                taken["daemon, exec to ready"] = started
                taken["`bulkhead --version`"] = command(home, "--version")
                taken["`bulkhead status`"] = command(home, "status", "--json")
                taken["screen, exec to its first picture"] = screen(home)
                taken["shim, exec to its first byte"] = first_byte(home)
                shims: list[float] = []

                def weigh(shim: int, into: list[float] = shims) -> None:
                    into.append(memory_of(shim))

                shim = shim_command(home.paths, "echo", "local")
                taken["shim, exec to `tools/list` answered"] = listed(shim, home, weigh)
                taken["the server itself, exec to `tools/list` answered"] = listed([str(server)], home)
                taken["daemon, PSS"] = memory_of(pid)
                taken["shim after its hand-over, PSS"] = shims[0]
            if number:  # the first round warms what is still cold
                rows.keep(round=number, **taken)
                for name, value in taken.items():
                    found[name].append(value)
    lines = {}
    for name, values in found.items():
        lines[name] = (f"{spread(values, 1)} {'MiB' if name.endswith('PSS') else 'ms'}", TARGETS[name])
    return table(("what", "median [least-most]", "wanted"), lines)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description="how long things take to begin")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(given).rounds
    rows = Rows("startup")
    text = measure(rounds, rows)
    sys.stdout.write(f"{text}\n\n{rows.footer(f'{rounds} rounds')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
