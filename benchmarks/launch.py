"""How long a client waits for a server: `npx` and `uvx` as they are, and the same packages verified and in a sandbox.

    python -m benchmarks.launch [--rounds N]

All variants run once in every round, so that a busy machine disturbs them alike; medians are compared.  It measures
from the start of the program to the answer of `initialize`, and to the answer of the first tool call: through the
daemon the first comes from the pinned catalog, and only the second needs the server.  Everything is warm: the packages
lie in npm's, uv's and our own store.  Needs the registries the machine is configured for, once.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import QUIET, memory_of
from broker.config import Waits
from broker.home import shim_command
from broker.model import Grants, Limits, ServerName
from broker.pin import Pin
from broker.sandbox.launcher import Launcher
from broker.sandbox.plan import plan
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import probe
from broker.trust import launch_spec
from broker.trust.resolve import resolve
from broker.trust.store import Store
from broker.trust.tree import remove_tree
from tests.e2e.desk import Desk
from tests.fakes.home import Home, throwaway_home
from tests.fakes.raw_client import RawClient

WITHIN: Final = 120.0
OPENING: Final = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


@dataclass(frozen=True, slots=True)
class Subject:
    """One server: its line, and a tool to call."""

    name: str
    line: tuple[str, ...]
    tool: str
    arguments: Mapping[str, Any]


@dataclass(slots=True)
class Times:
    """Milliseconds of every round, and the memory of the tree after the call, in MiB."""

    opening: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


Variant = Callable[[], Awaitable[tuple[float, float, float]]]


def subjects(folder: Path) -> tuple[Subject, ...]:
    return (
        Subject("files", ("npx", "-y", "@modelcontextprotocol/server-filesystem", str(folder)),
                "list_allowed_directories", {}),
        Subject("time", ("uvx", "mcp-server-time", "--local-timezone", "UTC"), "get_current_time", {"timezone": "UTC"}),
    )  # fmt: skip


def by_client(
    subject: Subject, argv: list[str], env: Mapping[str, str], server: Callable[[], int] = lambda: 0
) -> Variant:
    """A program a client starts; `server` names the process behind a daemon, whose tree counts too."""

    def run() -> tuple[float, float, float]:
        started = time.perf_counter()
        with RawClient(argv, env=env) as client:
            client.request("initialize", dict(OPENING), within=WITHIN)
            opened = time.perf_counter()
            client.notify("notifications/initialized")
            answer = client.call(subject.tool, dict(subject.arguments), within=WITHIN)
            called = time.perf_counter()
            if "result" not in answer:
                raise RuntimeError(f"{argv[0]}: {answer}")
            return (opened - started) * 1e3, (called - started) * 1e3, memory_of(client.process.pid, server())

    return lambda: asyncio.to_thread(run)


def direct(subject: Subject, pin: Pin, store: Store, launcher: Launcher, folder: Path) -> Variant:
    """Verify every byte while the sandbox is built, let go, speak: no daemon and no shim."""
    grants = Grants(read=(folder,))

    async def run() -> tuple[float, float, float]:
        started = time.perf_counter()
        verifying = asyncio.create_task(store.verified(pin))
        named = store.named(pin)
        spec = plan(named, grants, Limits(), env={}, home=Path.home(), protected=[], realpath=Path.resolve)
        instance = await launcher.spawn(spec, proof=lambda: verifying)
        streams = instance.take_streams()
        os.set_blocking(streams.stdout, True)
        try:
            call = {"name": subject.tool, "arguments": dict(subject.arguments)}
            await asyncio.to_thread(_ask, streams.stdin, streams.stdout, 1, "initialize", dict(OPENING))
            opened = time.perf_counter()
            os.write(streams.stdin, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            await asyncio.to_thread(_ask, streams.stdin, streams.stdout, 2, "tools/call", call)
            called = time.perf_counter()
            return (opened - started) * 1e3, (called - started) * 1e3, memory_of(instance.pid)
        finally:
            for descriptor in (streams.stdin, streams.stdout, streams.stderr):
                os.close(descriptor)
            await instance.stop()

    return run


def verification(pin: Pin, store: Store) -> Variant:
    async def run() -> tuple[float, float, float]:
        started = time.perf_counter()
        await store.verified(pin)
        spent = (time.perf_counter() - started) * 1e3
        return spent, spent, 0.0

    return run


def _server_pid(desk: Desk, name: str) -> int:
    links = [link for session in desk.sessions() for link in session.links if link.server == name]
    return next((link.pid for link in links if link.pid), 0)


def _ask(stdin: int, stdout: int, id: int, method: str, params: dict[str, Any]) -> None:
    os.write(stdin, json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n")
    buffered = b""
    while piece := os.read(stdout, 1 << 16):
        buffered += piece
        *lines, buffered = buffered.split(b"\n")
        if any(json.loads(line).get("id") == id for line in lines if line.strip()):
            return
    raise RuntimeError(f"the server ended before it answered {method}")


async def pinned(subject: Subject, store: Store) -> Pin:
    launch = launch_spec.parse(list(subject.line), exists=os.path.exists)
    artifact = await resolve(launch, store=store, environment=os.environ, progress=_unsaid)
    return Pin(ServerName(subject.name), "now", launch, artifact)


def _unsaid(_text: str) -> None:
    """Nobody waits for it."""


def bare(pin: Pin) -> list[str]:
    """The user's own line with the very version, and the very Python, that is pinned."""
    exact = f"{pin.artifact.name}@{pin.artifact.version}"
    if pin.artifact.kind == "npm":
        return ["npx", "-y", exact, *pin.launch.args]
    assert pin.artifact.interpreter is not None
    uvx = shutil.which("uvx") or str(Path(sysconfig.get_path("scripts"), "uvx"))
    return [uvx, "--offline", "--python", str(pin.artifact.interpreter.path), exact, *pin.launch.args]


async def measure(rounds: int, supervisor: Supervisor, folder: Path, home: Home) -> dict[str, Times]:
    store, documents = Store(folder / "store"), folder / "documents"
    documents.mkdir(mode=0o755)
    launcher = Launcher(supervisor, await asyncio.to_thread(probe), Waits())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variants: dict[str, Variant] = {}
    desk = Desk(home.paths.control_socket)
    for subject in subjects(documents):
        pin = await pinned(subject, store)
        line = bare(pin)
        warm = [word for word in line if word != "--offline"]
        await by_client(subject, warm, environment)()
        done = await asyncio.to_thread(home.bulkhead, "add", subject.name, "--yes", "--", *subject.line, within=600.0)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        shim = shim_command(home.paths, subject.name, "local")
        what = " ".join([Path(line[0]).name, *line[1:2]])
        exact = f"{pin.artifact.name}@{pin.artifact.version}"
        variants[f"{subject.name}: {what} {exact}"] = by_client(subject, line, environment)
        variants[f"{subject.name}: verified, in its sandbox"] = direct(subject, pin, store, launcher, documents)
        await asyncio.to_thread(desk.connect, "local", subject.name)
        pid = partial(_server_pid, desk, subject.name)
        variants[f"{subject.name}: through shim and daemon"] = by_client(subject, shim, home.environment, pid)
        variants[f"{subject.name}: verification alone"] = verification(pin, store)
    times = {name: Times() for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            opening, call, memory = await variant()
            if number:  # the first round warms what is still cold
                times[name].opening.append(opening)
                times[name].call.append(call)
                times[name].memory.append(memory)
        if sys.stderr.isatty():
            sys.stderr.write(f"\rround {number} of {rounds}")
    return times


def table(times: Mapping[str, Times]) -> str:
    lines = [
        "| variant | to `initialize`, ms | ratio | to the first call, ms | ratio | PSS, MiB |",
        "|---|---|---|---|---|---|",
    ]
    base: Times | None = None
    for name, found in times.items():
        if ": npx" in name or ": uvx" in name:
            base = found
        assert base is not None
        opening, call = statistics.median(found.opening), statistics.median(found.call)
        ratios = (opening / statistics.median(base.opening), call / statistics.median(base.call))
        memory = f"{statistics.median(found.memory):.0f}" if any(found.memory) else "-"
        lines.append(f"| {name} | {opening:.0f} | {ratios[0]:.2f} | {call:.0f} | {ratios[1]:.2f} | {memory} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.launch", description="launch times, interleaved")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    supervisor = Supervisor.start()  # before anything else, so that it stays a small process of one thread
    before = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="bh-bench-")).resolve()
    try:
        with throwaway_home() as home:
            times = asyncio.run(measure(rounds, supervisor, folder, home))
    finally:
        remove_tree(folder)
    sys.stdout.write(table(times) + "\n")
    after = os.getloadavg()[0]
    noisy = "; the machine was not quiet" if max(before, after) > QUIET else ""
    sys.stdout.write(f"\n{rounds} rounds, medians; load {before:.1f} before, {after:.1f} after{noisy}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
