"""A stand-in for the daemon: runs Python programs as tools in a box and says what came of each.

One JSON list on standard input, one line of JSON on standard output: `{"code", "out", "error", "left", "facts"}` for
each.  Every tool has a work folder of its own below the folder that is named first.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from broker.errors import BulkheadError
from broker.installing import Box
from broker.model import Fact, Origin, ServerName
from broker.sandbox.launcher import Launcher
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import probe
from broker.trust.interpreters import own_python, own_runtime
from broker.trust.run import Command, tool_environment


async def run(launcher: Launcher, work: Path, job: dict[str, Any]) -> dict[str, Any]:
    facts: list[dict[str, Any]] = []

    def record(origin: Origin, fact: Fact) -> None:
        reason = fact.decision.reason if fact.decision else ""
        facts.append({"tier": origin.tier, "side": fact.side, "method": fact.method, "target": fact.target,
                      "reason": reason, "body": fact.body})  # fmt: skip

    box = Box(ServerName("s"), launcher, record)
    argv = (str(own_python()), "-I", "-c", job["code"], *job.get("arguments", ()))
    command = Command(
        argv, work, work, tool_environment(os.environ, work) | job.get("env", {}), tuple(job.get("hosts", ())),
        job.get("timeout", 60.0), job.get("limit", 1 << 20), own_runtime(), tool="python",
    )  # fmt: skip
    answer: dict[str, Any] = {"code": None, "out": "", "error": ""}
    try:
        finished = await box(command)
        answer |= {"code": finished.code, "out": finished.complaint}
    except BulkheadError as error:
        answer["error"] = str(error)
    return {**answer, "left": left_in(work), "facts": facts, "tier": box.tier}


def left_in(work: Path) -> dict[str, int]:
    """What lies there, and whose it is."""
    return {path.name: path.stat(follow_symlinks=False).st_uid for path in sorted(work.iterdir())}


async def main(supervisor: Supervisor, folder: Path, jobs: list[dict[str, Any]]) -> None:
    launcher = Launcher(supervisor, await asyncio.to_thread(probe))
    answers = [await run(launcher, folder / str(number), job) for number, job in enumerate(jobs)]
    await supervisor.stop()
    print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    wish = json.load(sys.stdin)
    for number in range(len(wish["jobs"])):
        Path(wish["folder"], str(number)).mkdir(mode=0o700)
    asyncio.run(main(Supervisor.start(), Path(wish["folder"]), wish["jobs"]))
