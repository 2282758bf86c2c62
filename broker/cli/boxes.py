"""`limits`, `state`, `sandbox`: how much of the machine a server may use, what it keeps, whether it is boxed in."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.errors import DeskError
from broker.sandbox.limits import KINDS, parsed


async def limits(args: Namespace, context: Context) -> int:
    """Show the limits of a server, or change those that are named."""
    wanted = chosen_limits(args)
    return await _choose(schema.SandboxChoice(name=args.name, limits=wanted), bool(wanted), args, context)


async def sandbox(args: Namespace, context: Context) -> int:
    """Show how a server is boxed in, or take it out of its sandbox, by name and with a yes."""
    if args.unix_sockets is not None:
        choice = schema.SandboxChoice(name=args.name, unix_sockets=args.unix_sockets == "on")
        return await _choose(choice, True, args, context)
    if args.mode is None:
        return await _choose(schema.SandboxChoice(name=args.name), False, args, context)
    if args.mode == "off" and not args.yes:
        said = f"without a sandbox, {args.name} can read your files, use your keys and reach every host; run it so?"
        if output.ask(said) != "y":
            output.show("it stays in its sandbox")
            return NO
    return await _choose(schema.SandboxChoice(name=args.name, boxed=args.mode == "on"), True, args, context)


async def state(args: Namespace, context: Context) -> int:
    """What servers keep from run to run: list it, clear it, or choose how it is kept."""
    if args.action == "list":
        async with context.desk() as desk:
            found = (await desk.ask(schema.STATES, schema.Nothing(), schema.States)).states
        if args.json:
            output.show_json([one.model_dump(mode="json") for one in found])
        else:
            rows = [(s.server, s.key, f"{s.size} bytes", "in use" if s.in_use else "-") for s in found]
            output.show_table(("SERVER", "FOR", "SIZE", "STATE"), rows)
        return DONE
    if not args.name:
        raise DeskError(f"state {args.action} needs the name of a server", hint=f"bulkhead state {args.action} NAME")
    if args.action == "clear":
        async with context.desk() as desk:
            await desk.ask(schema.STATE_CLEAR, schema.Name(name=args.name), schema.Nothing)
        output.show(f"{args.name} keeps nothing any more")
        return DONE
    if args.keep is None:
        raise DeskError("state use needs how it is kept", hint="bulkhead state use NAME none|session|server")
    return await _choose(schema.SandboxChoice(name=args.name, state=args.keep), True, args, context)


def chosen_limits(args: Namespace) -> dict[str, str]:
    """The limits that were written on the line.  Raises ConfigError before a daemon is asked."""
    wanted = {flag: text for flag in KINDS if (text := getattr(args, flag.replace("-", "_"), None)) is not None}
    for flag, text in wanted.items():
        parsed(KINDS[flag], text)
    return wanted


async def _choose(choice: schema.SandboxChoice, change: bool, args: Namespace, context: Context) -> int:
    async with context.desk() as desk:
        if change:
            found = await desk.ask(schema.SANDBOX_SET, choice, schema.SandboxView)
        else:
            found = await desk.ask(schema.SANDBOX, schema.Name(name=choice.name), schema.SandboxView)
    if args.json:
        output.show_json(found.model_dump(mode="json"))
        return DONE
    boxed = f"tier {found.tier}" if found.boxed else "OFF: it can do all that you can"
    sockets = ", may make unix sockets inside" if found.unix_sockets else ""
    output.show(f"{found.name}: sandbox {boxed}, keeps {found.state}{sockets}")
    for flag, value in found.limits.items():
        output.show(f"  {flag:<12} {value:>8}  {KINDS[flag].meaning}")
    return DONE
