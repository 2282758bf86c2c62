"""Build one sandbox as the daemon would, network and all, and print as JSON what came of it.

    python -I -m broker.cli.trial

A process of its own: the supervisor has to be forked before any thread, and a trial that hangs can be ended.
"""

import asyncio
import json
import os
import sys

from broker.errors import BulkheadError
from broker.sandbox.delegation import find_groups
from broker.sandbox.launcher import Launcher
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import Tier, probe


async def _settled(supervisor: Supervisor) -> tuple[Tier, str]:
    groups = find_groups((os.getpid(), supervisor.pid))
    launcher = Launcher(supervisor, probe(), groups=groups)
    try:
        return await launcher.settle(), groups.note
    finally:
        await supervisor.stop()
        groups.close()


def main() -> int:
    """Try it."""
    try:
        tier, limits = asyncio.run(_settled(Supervisor.start()))
    except BulkheadError as problem:
        tier, limits = Tier("none", str(problem), problem.hint), ""
    told = {"name": tier.name, "reason": tier.reason, "fix": tier.fix, "limits": limits}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
