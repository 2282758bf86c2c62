"""`bulkhead` alone: open the screen."""

import asyncio
import sys

from broker.cli.context import Context
from broker.cli.start import ensure
from broker.errors import DaemonUnreachable


def screen(context: Context) -> int:
    """Start the daemon if needed and hand the terminal to the screen.

    Raises:
        DaemonUnreachable: there is no terminal to draw on, or no daemon.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise DaemonUnreachable(
            "the screen needs a terminal", hint="bulkhead status; bulkhead pending; bulkhead --help"
        )
    asyncio.run(ensure(context.paths, context.environment))
    from ui.app import run  # textual is slow to import, and only needed here

    return run(context.paths.control_socket)
