"""`sandbox learn NAME`: watch a server at work, and propose what it asked for in vain; each grant needs a yes."""

import asyncio
import json
import signal
from argparse import Namespace
from contextlib import suppress
from typing import Any, Final

from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import output
from broker.cli.context import DONE, USAGE, Context
from broker.errors import BulkheadError, DeskError
from broker.home import shim_command

CLIENT: Final = "local"
SECONDS: Final = 600
CALL_SECONDS: Final = 120.0


async def learn(args: Namespace, context: Context) -> int:
    """Watch, until the calls are made, the time is over or Ctrl-C; then propose, and ask about each."""
    try:
        calls = [_call(*words) for words in args.call]
    except ValueError:
        output.complain(
            DeskError("--call takes a tool and its arguments as JSON", hint='--call TOOL \'{"path": "..."}\'')
        )
        return USAGE
    seconds = args.seconds or SECONDS
    async with context.desk() as desk:
        await desk.ask(schema.LEARN, schema.Learn(name=args.name, seconds=seconds), schema.Nothing)
        try:
            async with asyncio.timeout(seconds):
                for tool, arguments, answer in await _made(args.name, calls, context):
                    output.aside(f"{tool} {json.dumps(arguments)}: {answer}")
                if not calls or args.seconds:
                    output.aside(f"{args.name} is watched for {seconds} s: use it in your client; Ctrl-C ends this")
                    await _interrupted()
        except TimeoutError:
            pass  # the time is over, which is how it ends
        except BulkheadError as problem:
            output.complain(problem)
        found = await desk.ask(schema.LEARNT, schema.Name(name=args.name), schema.Learnt)
        if args.json:
            output.show_json({"server": args.name, **found.model_dump(mode="json")})
            return DONE
        await _propose(desk, args.name, found)
    return DONE


def _call(tool: str, text: str) -> tuple[str, dict[str, Any]]:
    arguments = json.loads(text)
    if not isinstance(arguments, dict):
        raise ValueError(text)
    return tool, arguments


async def _made(
    name: str, calls: list[tuple[str, dict[str, Any]]], context: Context
) -> list[tuple[str, dict[str, Any], str]]:
    """Make the calls through the front door, judged and recorded like a client's; each with how it went."""
    if not calls:
        return []
    from mcp import Client, StdioServerParameters  # slow to import, and only needed here
    from mcp.client.stdio import stdio_client

    argv = shim_command(context.paths, name, CLIENT)
    made = []
    async with Client(stdio_client(StdioServerParameters(command=argv[0], args=argv[1:]))) as client:
        for tool, arguments in calls:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    result = await client.call_tool(tool, arguments)
            except TimeoutError:
                made.append((tool, arguments, "no answer"))
                continue
            text = " ".join(str(getattr(item, "text", "")) for item in result.content)
            made.append((tool, arguments, f"{'refused or failed: ' if result.is_error else 'done: '}{text[:120]}"))
    return made


async def _interrupted() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        await stop.wait()
    finally:
        with suppress(ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def _propose(desk: DeskClient, name: str, found: schema.Learnt) -> None:
    """Each proposal with the command that grants it; on a terminal, with a question."""
    if not found.starts:
        output.show(f"{name} was not started meanwhile, so nothing was seen")
        return
    for one in found.paths:
        option, verb = ("--write", "see and change") if one.writable else ("--read", "see")
        output.show(f"it asked for {', '.join(one.asked)}")
        grant = schema.GrantPaths(
            name=name, read=[] if one.writable else [one.path], write=[one.path] if one.writable else []
        )
        await _offer(desk, f"may {name} {verb} {one.path}?", grant, f"bulkhead grant {name} {option} {one.path}")
    for host in found.hosts:
        grant = schema.GrantPaths(name=name, hosts=[host])
        output.show(f"it asked for {host}")
        await _offer(
            desk, f"may {name} reach {host}, and tell it whatever it is told?", grant, f"bulkhead allow {name} {host}"
        )
    if not (found.paths or found.hosts):
        output.show(f"{name} asked for nothing that a grant would show it")
    for refused in found.refused:
        times = f"{refused.times} times" if refused.times > 1 else "once"
        output.show(f"it was refused {refused.sort} ({', '.join(refused.calls)}), {times}; no grant gives that")
        output.show(f"  {refused.advice}")
    if found.withheld:
        output.show(
            f"{found.withheld} more paths exist, and no server is granted them (credentials, settings, the system)"
        )
    if found.unseen:
        output.show(f"{found.unseen} more paths were asked for than are kept; watch shorter")


async def _offer(desk: DeskClient, question: str, grant: schema.GrantPaths, command: str) -> None:
    if output.ask(question) != "y":
        output.show(f"  not granted; later: {command}")
        return
    try:
        await desk.ask(schema.GRANT_PATHS, grant, schema.Nothing)
    except BulkheadError as refused:  # the next one may be granted all the same
        output.complain(refused)
    else:
        output.show("  granted, from its next start on")
