"""What a sandbox adds to the start of a program and to the memory of the machine.

`python -m benchmarks.sandbox [--rounds 30]`: `/bin/true` is run by itself, in a sandbox without a network and in one
with a host, in turn; then sandboxes that sleep are counted in memory beside plain sleeps.  A start is measured from the
request until the program has run.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from benchmarks.machine import QUIET, memory_of
from broker.model import SandboxSpec
from broker.sandbox.delegation import find_groups
from broker.sandbox.launcher import Launcher
from broker.sandbox.plan import plan_probe
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import probe

TRUE: Final = ("/bin/true",)
SLEEP: Final = ("/bin/sleep", "60")
ALIVE: Final = 8  # sandboxes at a time, for their memory
TARGETS: Final = {"without a network": 25.0, "with a host": 30.0}

Start = Callable[[], Awaitable[None]]


def with_a_host(spec: SandboxSpec) -> SandboxSpec:
    return replace(spec, hosts=("example.com",))


async def plain() -> None:
    process = await asyncio.create_subprocess_exec(*TRUE)
    await process.wait()


def boxed(launcher: Launcher, spec: SandboxSpec) -> Start:
    async def run() -> None:
        instance = await launcher.spawn(spec, lambda _: None)
        await instance.wait()
        await instance.stop()

    return run


async def starts(launcher: Launcher, rounds: int) -> dict[str, list[float]]:
    variants = {
        "plain": plain,
        "without a network": boxed(launcher, plan_probe(TRUE)),
        "with a host": boxed(launcher, with_a_host(plan_probe(TRUE))),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            began = time.perf_counter()
            await run()
            if number:  # the first round warms what is still cold
                times[name].append((time.perf_counter() - began) * 1e3)
    return times


async def memory(launcher: Launcher, spec: SandboxSpec) -> float:
    """KiB of a session beside its server: what the sandboxes use and what the daemon grows by."""
    alone = await asyncio.create_subprocess_exec(*SLEEP)
    before = memory_of(os.getpid()) - memory_of(alone.pid)
    instances = [await launcher.spawn(spec, lambda _: None) for _ in range(ALIVE)]
    await asyncio.sleep(0.2)
    server = memory_of(instances[0].server_pid)
    grown = memory_of(os.getpid()) - memory_of(alone.pid) - before
    for instance in instances:
        instance.kill()
        await instance.stop()
    alone.kill()
    await alone.wait()
    return (grown / ALIVE - server) * 1024


async def measure(supervisor: Supervisor, rounds: int) -> str:
    groups = find_groups((os.getpid(), supervisor.pid))  # as a daemon has them
    launcher = Launcher(supervisor, await asyncio.to_thread(probe), groups=groups)
    times = await starts(launcher, rounds)
    base = statistics.median(times["plain"])
    lines = ["| start | p50, ms | p95, ms | added p50, ms | target, ms |", "|---|---|---|---|---|"]
    for name, found in times.items():
        p50, p95 = statistics.median(found), statistics.quantiles(found, n=20)[-1]
        target = f"{TARGETS[name]:.0f}" if name in TARGETS else "-"
        lines.append(f"| {name} | {p50:.1f} | {p95:.1f} | {p50 - base:.1f} | {target} |")
    lines += ["", "| session | beside its server, KiB | target, KiB |", "|---|---|---|"]
    for name, spec in (("without a network", plan_probe(SLEEP)), ("with a host", with_a_host(plan_probe(SLEEP)))):
        lines.append(f"| {name} | {await memory(launcher, spec):.0f} | 1024 |")
    await supervisor.stop()
    groups.close()
    return "\n".join([*lines, "", f"tier {launcher.tier.name}, {groups.note}, {rounds} rounds, in turn"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.sandbox", description="what a sandbox adds")
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    supervisor = Supervisor.start()  # before anything else, so that it stays a small process of one thread
    before = os.getloadavg()[0]
    said = asyncio.run(measure(supervisor, rounds))
    after = os.getloadavg()[0]
    noisy = "; the machine was not quiet" if max(before, after) > QUIET else ""
    sys.stdout.write(f"{said}; load {before:.1f} before, {after:.1f} after{noisy}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
