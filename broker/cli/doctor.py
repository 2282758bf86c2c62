"""`doctor`: what this machine really enforces and what is wrong with this home, as a table a person can act on.

Nothing is changed, no daemon is needed, and no check can hold up the others: each has its time.
"""

import asyncio
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from broker import __version__
from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import output
from broker.cli.context import CANNOT_ENFORCE, DONE, NO, Context
from broker.cli.findings import Finding, Named
from broker.cli.home_checks import home_checks
from broker.cli.machine_checks import machine_checks
from broker.errors import BulkheadError, DaemonUnreachable

DAEMON_SECONDS: Final = 10.0


async def doctor(args: Namespace, context: Context) -> int:
    """0: nothing is bad; 1: something is; 4: no server can be boxed in here."""
    named = [*machine_checks(context.paths, context.environment), *home_checks(context.paths, context.environment)]
    findings = [*await asyncio.to_thread(run_all, named), await _daemon(context)]
    if args.json:
        output.show_json([asdict(finding) for finding in findings])
    else:
        output.show_table(
            ("STATE", "WHAT", "FOUND"), [(one.state, one.what, output.line(one.said)) for one in findings]
        )
        for one in findings:
            if one.state != "ok" and one.fix:
                output.show()
                output.show_text(f"{one.what}: {one.fix}")
    return code_of(findings)


def code_of(findings: Sequence[Finding]) -> int:
    """That nothing can be enforced counts for more than anything else that is bad."""
    if any(one.unenforced for one in findings):
        return CANNOT_ENFORCE
    return NO if any(one.state == "bad" for one in findings) else DONE


def run_all(named: list[Named]) -> list[Finding]:
    """Every check beside the others, each within its time; their rows in order."""
    rows: list[list[Finding]] = [[] for _ in named]

    def run(place: int) -> None:
        try:
            rows[place] = named[place].check()
        except BulkheadError as problem:
            rows[place] = [Finding(named[place].what, "bad", str(problem), problem.hint)]
        except OSError as problem:
            said = f"{problem.filename or named[place].what} cannot be looked at: {problem.strerror}"
            rows[place] = [Finding(named[place].what, "bad", said, "look at its permissions")]

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(named))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for place, thread in enumerate(threads):
        thread.join(max(0.0, begun + named[place].limit - time.monotonic()))
    late = "it gave no answer within {:.0f} s"
    return [
        finding
        for one, found in zip(named, list(rows), strict=True)
        for finding in found
        or [Finding(one.what, "warn", late.format(one.limit), "try again when the machine is idle")]
    ]


async def _daemon(context: Context) -> Finding:
    try:
        async with asyncio.timeout(DAEMON_SECONDS), DeskClient(context.paths.control_socket) as desk:
            status = (await desk.ask(schema.STATUS, schema.Nothing(), schema.Statuses)).status
    except TimeoutError:
        said = f"it took the call and did not answer within {DAEMON_SECONDS:.0f} s"
        return Finding("daemon", "bad", said, "bulkhead down, then: bulkhead up")
    except DaemonUnreachable:
        return Finding("daemon", "ok", "does not run; it is started when it is needed")
    except BulkheadError as problem:
        return Finding("daemon", "bad", str(problem), problem.hint)
    if status.version != __version__:
        said = f"it is of version {status.version}, and this command of {__version__}"
        return Finding("daemon", "bad", said, "bulkhead down, then: bulkhead up")
    return Finding("daemon", "ok", f"version {status.version}, pid {status.pid}, its servers run in tier {status.tier}")
