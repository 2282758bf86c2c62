"""`up`, `down`, `status`."""

import asyncio
import os
from argparse import Namespace

from broker.api import schema
from broker.api.sockets import is_running
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.cli.start import daemon_argv, daemon_environment, reachable, start
from broker.errors import ConfigError, DaemonUnreachable
from broker.home import write_conf

STOP_SECONDS = 30.0  # the daemon's own shutdown is bounded by half of it


async def up(args: Namespace, context: Context) -> int:
    """Start the daemon, or say that it runs."""
    options: list[str] = []
    if args.unsafe_no_presence:
        if not context.paths.explicit:
            raise ConfigError(
                "--unsafe-no-presence is refused for your real home",
                hint="BULKHEAD_HOME=DIR bulkhead up --unsafe-no-presence",
            )
        options.append("--unsafe-no-presence")
    if args.foreground:
        if args.http is not None:
            raise ConfigError("--http is kept by a daemon that runs", hint=f"bulkhead up --http {args.http}")
        write_conf(context.paths, context.environment)
        argv = daemon_argv(context.paths, "--foreground", *options)
        os.execve(argv[0], argv, daemon_environment(context.environment))  # noqa: S606 - no shell is the point
    say = output.aside if args.json else output.show
    if await reachable(context.paths):
        say("the daemon runs already")
    else:
        await asyncio.to_thread(start, context.paths, context.environment, *options)
        say("the daemon runs")
    if args.http is not None:
        async with context.desk(start=False) as desk:
            await desk.ask(schema.ENDPOINT_PORT, schema.EndpointPort(port=args.http), schema.Nothing)
        say(f"clients come in by HTTP at 127.0.0.1:{args.http}; their addresses: bulkhead endpoint NAME")
    return await status(args, context)


async def down(_args: Namespace, context: Context) -> int:
    """Stop the daemon: every link ends in order, every server's tree is gone."""
    if not await reachable(context.paths):
        output.show("no daemon runs")
        return DONE
    async with context.desk(start=False) as desk:
        await desk.ask(schema.STOP, schema.Nothing(), schema.Nothing)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            while is_running(context.paths.state / "daemon.lock"):  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DaemonUnreachable(
            f"the daemon did not stop within {STOP_SECONDS:.0f} s", hint="bulkhead status"
        ) from None
    output.show("the daemon stopped")
    return DONE


async def status(args: Namespace, context: Context) -> int:
    """The daemon in one look."""
    async with context.desk(start=False) as desk:
        found = (await desk.ask(schema.STATUS, schema.Nothing(), schema.Statuses)).status
    if getattr(args, "json", False):
        output.show_json(found.model_dump(mode="json"))
        return DONE
    rows = [
        ("version", found.version),
        ("pid", str(found.pid)),
        ("up for", f"{found.uptime:.0f} s"),
        ("home", found.home),
        ("sandbox tier", f"{found.tier}  {found.tier_note}".rstrip()),
        ("limits", found.limits),
        ("keychain", found.keychain),
        ("vault", found.vault),
        ("presence", found.presence),
        ("policy", found.policy),
        ("servers", str(found.servers)),
        ("sessions", str(found.sessions)),
        ("links", str(found.links)),
        ("open questions", str(found.questions)),
        ("receipts", str(found.receipts)),
    ]
    for name, value in rows:
        output.show(f"{name:15} {value}")
    if found.policy_problem:
        output.show(f"policy problem: {found.policy_problem}")
    for document in found.drifted_documents:
        output.show(f"changed without a yes: {document}  (bulkhead review)")
    return NO if found.policy_problem else DONE
