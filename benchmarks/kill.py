"""What is left when the daemon, its supervisor or both are killed in the middle of a launch, and for how long.

`python -m benchmarks.kill [--launches 500] [--seed N]`: each launch is ended with SIGKILL at a random moment; then it
is watched until no code of a server runs, and looked at again after the next start of a daemon.
"""

import argparse
import itertools
import json
import os
import random
import select
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from tests.sandbox.conftest import PYTHON_INSIDE, Yard, make_yard

VICTIMS = ("daemon", "supervisor", "both")
WINDOW = 0.06  # a launch takes a third of it; the rest hits servers that just began
SOON, LATE = 0.1, 10.0
PAUSE = 0.001


def left_of(mark: bytes) -> tuple[int, int]:
    """Processes that run a server's code, and those of a sandbox in which none runs."""
    code = idle = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", name, "cmdline").read_bytes()
        except OSError:
            continue
        if mark in command and b"tests.sandbox.stage" not in command:
            if command.startswith(PYTHON_INSIDE.encode()):
                code += 1
            else:
                idle += 1
    return code, idle


def one(yard: Yard, number: int, victim: str, moment: float) -> tuple[bool, float, int, int]:
    """Whether the server had begun, how long its code lived on, and what else was left soon after and at the end."""
    here = yard.folder(f"race-{number}", 0o777)
    program = f"open({str(here / 'ran')!r}, 'w').close(); import time; time.sleep(600)"
    job = {"argv": [PYTHON_INSIDE, "-c", program], "write": [str(here)]}
    mark = os.fsencode(f"{here}/")
    with yard.popen({"race": job}) as daemon:
        assert daemon.stdout is not None
        supervisor = json.loads(daemon.stdout.readline())["supervisor"]
        select.select([], [], [], moment)
        for pid in {"daemon": [daemon.pid], "supervisor": [supervisor]}.get(victim, [supervisor, daemon.pid]):
            os.kill(pid, signal.SIGKILL)
        killed = time.perf_counter()
        began = left_of(mark)[0] > 0 or (here / "ran").exists()
        lived, soon = 0.0, -1
        while (past := time.perf_counter() - killed) < LATE:
            code, idle = left_of(mark)
            if code:
                lived = past
            elif past > SOON:
                soon = idle
                break
            time.sleep(PAUSE)
        daemon.communicate(timeout=LATE)
    return began, lived, soon, sum(left_of(mark))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.kill", description="kill -9 in the middle of launches")
    parser.add_argument("--launches", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))  # noqa: S311 - moments, not secrets
    parser.add_argument("--who", choices=["user", "root"], default="user")
    wanted = parser.parse_args()
    chance = random.Random(wanted.seed)  # noqa: S311
    yard = make_yard(wanted.who)
    began, lived = Counter[str](), {victim: [0.0] for victim in VICTIMS}
    soon, end, swept = Counter[str](), Counter[str](), 0
    try:
        for number, victim in zip(range(wanted.launches), itertools.cycle(VICTIMS)):
            ran, alive, idle, left = one(yard, number, victim, chance.uniform(0, WINDOW))
            began[victim] += ran
            lived[victim].append(alive * 1e3)
            soon[victim] += idle != 0
            end[victim] += left != 0
            if left:
                yard.ask({"jobs": []})
                swept += sum(left_of(os.fsencode(f"{yard.work}/race-{number}/")))
    finally:
        shutil.rmtree(yard.path)
    lines = [
        "| killed | had begun | its code lived on, ms (median, most) | bwrap left after 100 ms | left at the end |",
        "|---|---|---|---|---|",
    ]
    for victim in VICTIMS:
        median, most = statistics.median(lived[victim]), max(lived[victim])
        lines.append(f"| {victim} | {began[victim]} | {median:.0f}, {most:.0f} | {soon[victim]} | {end[victim]} |")
    over = sum(alive > SOON * 1e3 for times in lived.values() for alive in times)
    lines += [
        "",
        f"{wanted.launches} launches, seed {wanted.seed}: {over} with a server's code alive after {SOON * 1e3:.0f} ms; "
        f"{swept} processes left after the next start; load {os.getloadavg()[0]:.1f}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if over or swept else 0


if __name__ == "__main__":
    sys.exit(main())
