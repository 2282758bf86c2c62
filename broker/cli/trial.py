"""Build one sandbox as the daemon would, network and all, and print as JSON what came of it.

    python -I -m broker.cli.trial

A process of its own: the supervisor has to be forked before any thread, and a trial that hangs can be ended.
"""

import asyncio
import json
import sys

from broker.errors import BulkheadError
from broker.sandbox.launcher import Launcher
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import Tier, probe


async def _settled(supervisor: Supervisor) -> Tier:
    launcher = Launcher(supervisor, probe())
    try:
        return await launcher.settle()
    finally:
        await supervisor.stop()


def main() -> int:
    """Try it."""
    try:
        tier = asyncio.run(_settled(Supervisor.start()))
    except BulkheadError as problem:
        tier = Tier("none", str(problem), problem.hint)
    sys.stdout.write(json.dumps({"name": tier.name, "reason": tier.reason, "fix": tier.fix}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
