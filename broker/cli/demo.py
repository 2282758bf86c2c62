"""`demo`: the main job on real servers, in a home made for it and removed after.

Every step says what should happen and what did; the command ends with 0 only if each came out as it should.
"""

import asyncio
import shutil
import socket
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from broker.api import schema
from broker.api.client import DeskClient
from broker.api.sockets import is_running
from broker.audit.keys import AuditKeys
from broker.audit.verify import verify
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.cli.servers import add_server
from broker.cli.start import reachable, start
from broker.config import paths_under
from broker.errors import BulkheadError, DaemonUnreachable
from broker.home import shim_command
from broker.vault.keychain import integrity_key

CLIENT = "demo"
STEP_SECONDS = 120.0
PROBE = Path(__file__).with_name("probe_server.py")


@dataclass(slots=True)
class Report:
    """What came out, step by step."""

    quiet: bool
    steps: list[dict[str, Any]] = field(default_factory=list)

    def step(self, what: str, ok: bool, saw: str) -> None:
        self.steps.append({"step": what, "ok": ok, "saw": saw})
        if not self.quiet:
            output.show(f"{'ok ' if ok else 'NO '} {what}")
            output.show(f"      {output.plain(' '.join(saw.split()), 300)}")

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step["ok"] for step in self.steps)


async def demo(args: Namespace, context: Context) -> int:
    """Run the demonstration and clean up, whatever happens."""
    home = _throw_away()
    paths = paths_under(home / "home")
    own = replace(context, paths=paths)
    report = Report(quiet=args.json)
    began = time.monotonic()
    try:
        await asyncio.to_thread(start, paths, context.environment)
        async with asyncio.timeout(10 * STEP_SECONDS):
            await _act(own, home, report)
    except (BulkheadError, TimeoutError, OSError) as problem:
        hint = getattr(problem, "hint", "")
        report.step("the demonstration runs to its end", False, f"{problem}{'; try: ' + hint if hint else ''}")
    finally:
        await _stop(own)
        shutil.rmtree(home, ignore_errors=True)
    if args.json:
        output.show_json({"ok": report.ok, "seconds": round(time.monotonic() - began, 1), "steps": report.steps})
    else:
        output.show()
        output.show("every step came out as it should" if report.ok else "a step did not come out as it should")
        if report.ok:
            output.show("go on with:  bulkhead clients          which of your applications could go through Bulkhead")
            output.show("             bulkhead import --dry-run  what would change in their configuration")
            output.show("             bulkhead                   the screen")
    return DONE if report.ok else NO


def _throw_away() -> Path:
    """A folder with a home in it that this very command made, which is why no person is asked for there."""
    folder = Path(tempfile.mkdtemp(prefix="bulkhead-demo-")).resolve()
    paths = paths_under(folder / "home")
    paths.home.mkdir(mode=0o700)
    paths.throwaway_mark.write_text("made by `bulkhead demo`; presence is not asked here\n")
    return folder


async def _act(context: Context, home: Path, report: Report) -> None:
    folder = home / "documents"
    folder.mkdir()
    (folder / "plan.txt").write_text("the meeting is on thursday\n")
    secret = home / "secret.txt"
    secret.write_text("nobody but you may read this\n")
    probe = home / "probe.py"
    shutil.copyfile(PROBE, probe)
    probe.chmod(0o644)
    python = _script_python()
    async with context.desk(start=False) as desk:
        status = (await desk.ask(schema.STATUS, schema.Nothing(), schema.Statuses)).status
        report.step("this machine can box servers in", status.tier != "none", f"tier {status.tier}: {status.tier_note}")
        lines = {
            "files": (["npx", "-y", "@modelcontextprotocol/server-filesystem", str(folder)], [str(folder)]),
            "time": (["uvx", "mcp-server-time", "--local-timezone", "UTC"], []),
            "probe": ([python, str(probe)], []),
        }
        for name, (argv, write) in lines.items():
            agreed = await _add(desk, name, argv, write, context.environment, report.quiet)
            server = agreed.server
            saw = f"{server.artifact} {server.version}, tree {server.tree[:16]}, {len(server.tools)} tools"
            report.step(f"{' '.join(argv[:3])} is verified and pinned as {name}", server.state == "pinned", saw)

        async with (
            _client(context, "files") as files,
            _client(context, "time") as clock,
            _client(context, "probe") as try_,
        ):
            tools = {tool.name for tool in (await files.list_tools()).tools}
            report.step(
                "a client lists the tools of a real server", "read_text_file" in tools, f"{len(tools)} tools of files"
            )
            zone = await clock.call_tool("get_current_time", {"timezone": "UTC"})
            report.step("a call is allowed", not zone.is_error, _text(zone))
            read = await files.call_tool("read_text_file", {"path": str(folder / "plan.txt")})
            report.step("a granted file is read", "thursday" in _text(read), _text(read))

            outside = await _approved(desk, try_, "read_file", {"path": str(secret)})
            report.step(
                "a file outside the grant is not there",
                outside.is_error and "nobody" not in _text(outside),
                _text(outside),
            )
            with _Listener() as port:
                dialled = await _approved(desk, try_, "dial", {"host": "127.0.0.1", "port": port})
            report.step("a connection is not possible", dialled.is_error, _text(dialled))

            copy = {"path": str(folder / "copied.txt"), "content": "the probe said something"}
            held, question = await _held(desk, files, "write_file", copy)
            saw = f"{question.what}; {question.why}" if question else "nobody was asked"
            refused = question is not None and held.is_error and not (folder / "copied.txt").exists()
            report.step("an effect after reading from another server is held, and a no stops it", refused, saw)

    entries = await _receipts(context)
    for entry in entries[-12:]:
        if not report.quiet:
            output.show(
                "      "
                + " ".join(
                    str(entry.get(k) or "-") for k in ("seq", "server", "kind", "method", "target", "verdict", "rule")
                )
            )
    key = await asyncio.to_thread(integrity_key, context.paths.state, context.paths.home)
    found = await asyncio.to_thread(verify, context.paths.audit, AuditKeys(key.key).public)
    report.step(
        "everything is on record, and the chain is whole", found.ok and found.entries > 20, f"{found.entries} receipts"
    )


async def _add(
    desk: DeskClient, name: str, argv: list[str], write: list[str], environment: Mapping[str, str], quiet: bool
) -> schema.Agreed:
    if not quiet:
        output.show(f"    adding {name}: {' '.join(argv)}")
    agreed = await add_server(
        desk,
        name,
        argv,
        environment,
        env={},
        read=[],
        write=write,
        yes=True,
        connect=[CLIENT],
        show=_silent if quiet else output.show,
    )
    if agreed is None:
        raise DaemonUnreachable(f"{name} was not added")
    return agreed


def _silent(_text: str) -> None:
    """Where nobody looks."""


@asynccontextmanager
async def _client(context: Context, server: str) -> AsyncIterator[Any]:
    """A real MCP client on the real shim."""
    from mcp import Client, StdioServerParameters  # slow to import, and only needed here
    from mcp.client.stdio import stdio_client

    argv = shim_command(context.paths, server, CLIENT)
    parameters = StdioServerParameters(command=argv[0], args=argv[1:])
    async with Client(stdio_client(parameters)) as client:
        yield client


async def _approved(desk: DeskClient, client: Any, tool: str, arguments: dict[str, Any]) -> Any:
    """Call a tool, saying yes to whatever is asked on the way."""
    call = asyncio.ensure_future(client.call_tool(tool, arguments))
    while not call.done():
        question = await _question(desk, call)
        if question is not None:
            yes = schema.Answered(id=question.id, digest=question.digest, allow=True)
            await desk.ask(schema.APPROVE, yes, schema.Nothing)
    return await call


async def _held(
    desk: DeskClient, client: Any, tool: str, arguments: dict[str, Any]
) -> tuple[Any, schema.QuestionView | None]:
    """Call a tool and say no to the question that comes; returns the answer and the question."""
    call = asyncio.ensure_future(client.call_tool(tool, arguments))
    question = await _question(desk, call)
    if question is not None:
        no = schema.Answered(id=question.id, digest=question.digest, allow=False)
        await desk.ask(schema.DENY, no, schema.Nothing)
    return await call, question


async def _question(desk: DeskClient, call: "asyncio.Future[Any]") -> schema.QuestionView | None:
    """The open question, or None when the call came back without one."""
    async with asyncio.timeout(STEP_SECONDS):
        while True:
            found = (await desk.ask(schema.PENDING, schema.Nothing(), schema.Questions)).questions
            if found:
                return found[0]
            if (await asyncio.wait({call}, timeout=0.05))[0]:
                return None


async def _receipts(context: Context) -> list[dict[str, Any]]:
    async with context.desk(start=False) as desk:
        return (await desk.ask(schema.AUDIT, schema.Search(limit=200), schema.Receipts)).receipts


async def _stop(context: Context) -> None:
    if not await reachable(context.paths):
        return
    async with context.desk(start=False) as desk:
        await desk.ask(schema.STOP, schema.Nothing(), schema.Nothing)
    async with asyncio.timeout(STEP_SECONDS):
        while is_running(context.paths.state / "daemon.lock"):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)


def _text(result: Any) -> str:
    return " ".join(str(getattr(item, "text", "")) for item in result.content)


class _Listener:
    """A service of this machine that a server must not reach."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _script_python() -> str:
    """An interpreter for a server that is one script."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
