"""`bulkhead` alone and `bulkhead ui`: open the screen, in this terminal or in a browser."""

import asyncio
import sys
from argparse import Namespace

from broker.cli import output
from broker.cli.context import DONE, Context
from broker.cli.start import ensure
from broker.errors import ConfigError, DaemonUnreachable
from ui import splash


def screen(context: Context) -> int:
    """Start the daemon if needed and hand the terminal to the screen.

    Raises:
        DaemonUnreachable: there is no terminal to draw on, or no daemon.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise DaemonUnreachable(
            "the screen needs a terminal", hint="bulkhead status; bulkhead pending; bulkhead --help"
        )
    try:
        asyncio.run(ensure(context.paths, context.environment))
        from ui.app import run  # textual is slow to import, and only needed here
    finally:
        splash.wipe()
    return run(context.paths.control_socket)


async def in_browser(args: Namespace, context: Context) -> int:
    """The screen in a browser on this machine, until Ctrl-C.

    Raises:
        ConfigError: the extra is not installed, or the port is taken.
    """
    try:
        from ui.web import open_browser, serve
    except ImportError as cause:
        raise ConfigError(
            "the screen in a browser needs `textual-serve`", hint="install Bulkhead with its extra: mcp-bulkhead[web]"
        ) from cause
    await ensure(context.paths, context.environment)
    try:
        await serve(
            context.paths.control_socket, args.port, lambda link, origin: open_browser(link, origin, output.aside)
        )
    except OSError as cause:
        raise ConfigError(
            f"port {args.port} cannot be used: {cause.strerror}", hint="name another: --port N"
        ) from cause
    return DONE
