"""Clients people use, by stdio and by HTTP, through Bulkhead: `python -m tests.conformance.clients`.

Each is installed by its own package manager into a folder that is thrown away, is given a home of its own with nothing
in it but an entry for Bulkhead, and needs no key.  Those that can call a tool from their command line do; the others
show that they connected and listed.  Ends with 0 only if all of them did.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.model import JsonObject
from tests.conformance.installed import install, install_python, node
from tests.e2e.running import Running, home_of_a_stranger, with_registries
from tests.fakes.launchers import node_environment

PACKAGES: Final = (
    "@anthropic-ai/claude-code@2.1.330",
    "claude-before@npm:@anthropic-ai/claude-code@2.1.197",
    "@modelcontextprotocol/inspector@2.12.0",
    "@openai/codex@0.169.0",
    "@google/gemini-cli@0.61.0",
    "mcporter@0.12.3",
    "opencode-ai@1.18.33",
    "@modelcontextprotocol/sdk@1.32.2",
)
FASTMCP: Final = "fastmcp==4.1.2"
SERVER: Final = "honest"
WORD: Final = "a word that comes back"
RUN_WITHIN: Final = 120.0
SHOWN: Final = 300

TYPESCRIPT: Final = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
const { way, word } = JSON.parse(process.argv[2])
const transport = way.url
  ? new StreamableHTTPClientTransport(new URL(way.url), { requestInit: { headers: way.headers } })
  : new StdioClientTransport({ command: way.command, args: way.args, env: process.env })
const client = new Client({ name: "sdk", version: "1" })
await client.connect(transport)
await client.listTools()
console.log(JSON.stringify(await client.callTool({ name: "echo", arguments: { text: word } })))
await client.close()
"""
PYTHON: Final = """
import asyncio, json, os, sys
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
asked = json.loads(sys.argv[1])
way = asked["way"]
async def main():
    async with httpx2.AsyncClient(headers=way.get("headers"), trust_env=False, timeout=60) as http:
        if "url" in way:
            transport = streamable_http_client(way["url"], http_client=http)
        else:
            line = StdioServerParameters(command=way["command"], args=way["args"], env=dict(os.environ))
            transport = stdio_client(line)
        async with Client(transport, mode="auto") as client:
            await client.list_tools()
            print((await client.call_tool("echo", {"text": asked["word"]})).model_dump_json())
asyncio.run(main())
"""
FASTMCP_CLIENT: Final = """
import asyncio, json, os, sys
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
asked = json.loads(sys.argv[1])
way = asked["way"]
if "url" in way:
    transport = StreamableHttpTransport(way["url"], headers=way["headers"])
else:
    transport = StdioTransport(way["command"], way["args"], env=dict(os.environ))
async def main():
    async with Client(transport) as client:
        await client.list_tools()
        print(await client.call_tool("echo", {"text": asked["word"]}))
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one client runs: the programs, its own home, and its way to Bulkhead as its configuration has it."""

    programs: Path
    home: Path
    way: Mapping[str, object]

    @property
    def by_http(self) -> bool:
        return "url" in self.way

    @property
    def line(self) -> list[str]:
        return [str(self.way["command"]), *map(str, self.way["args"])]  # type: ignore[call-overload]

    @property
    def bearer(self) -> str:
        headers = self.way["headers"]
        assert isinstance(headers, dict)
        return str(headers["Authorization"])

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, argv: Sequence[str | Path], stdin: str = "") -> str:
        """What a program printed; it may end with any code, and is judged by what it said."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANTHROPIC", "CLAUDE"))}
        environment = {**node_environment(kept), "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config")}
        done = subprocess.run(
            [str(part) for part in argv], cwd=self.home, env=environment, input=stdin,
            capture_output=True, text=True, timeout=RUN_WITHIN, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr


def claude(folder: str) -> Callable[[Seat], str]:
    def check(seat: Seat) -> str:
        entry = {"type": "http" if seat.by_http else "stdio", **seat.way}
        seat.write(".claude.json", json.dumps({"mcpServers": {SERVER: entry}}))
        return _said(seat.run([seat.programs / folder / "claude", "mcp", "list"]), "Connected")

    return check


def inspector(era: str) -> Callable[[Seat], str]:
    def check(seat: Seat) -> str:
        program = node(seat.programs / ".bin/mcp-inspector")
        words = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", f"text={WORD}"]
        if era:
            words += ["--protocol-era", era]
        if seat.by_http:
            where = ["--transport", "http", "--server-url", str(seat.way["url"])]
            return _called(seat.run([*program, "--cli", *words, *where, "--header", f"Authorization: {seat.bearer}"]))
        return _called(seat.run([*program, "--cli", *words, "--", *seat.line]))

    return check


def codex(seat: Seat) -> str:
    if seat.by_http:
        entry = f"url = {json.dumps(seat.way['url'])}\nhttp_headers = {{ Authorization = {json.dumps(seat.bearer)} }}\n"
    else:
        entry = f"command = {json.dumps(seat.line[0])}\nargs = {json.dumps(seat.line[1:])}\n"
    seat.write(".codex/config.toml", f"[mcp_servers.{SERVER}]\n{entry}")
    program = next(seat.programs.glob("@openai/codex-linux-x64/vendor/*/bin/codex"))
    return _said(_asked(seat, [str(program), "app-server"]), '"echo"')


def gemini(seat: Seat) -> str:
    entry = {"httpUrl": seat.way["url"], "headers": seat.way["headers"]} if seat.by_http else dict(seat.way)
    trusted = {"folderTrust": {"enabled": False}}
    seat.write(".gemini/settings.json", json.dumps({"mcpServers": {SERVER: entry}, "security": trusted}))
    return _said(seat.run([*node(seat.programs / ".bin/gemini"), "mcp", "list"]), "Connected")


def mcporter(seat: Seat) -> str:
    config = seat.write("mcporter.json", json.dumps({"mcpServers": {SERVER: dict(seat.way)}}))
    program = node(seat.programs / ".bin/mcporter")
    return _called(seat.run([*program, "--config", config, "call", f"{SERVER}.echo", f"text={WORD}"]))


def opencode(seat: Seat) -> str:
    if seat.by_http:
        entry: JsonObject = {"type": "remote", **seat.way, "oauth": False}
    else:
        entry = {"type": "local", "command": seat.line}
    seat.write(".config/opencode/opencode.json", json.dumps({"mcp": {SERVER: entry}}))
    return _said(seat.run([seat.programs / "opencode-linux-x64/bin/opencode", "mcp", "list"]), "connected")


def typescript(seat: Seat) -> str:
    program = seat.programs.parent / "client.mjs"  # where its imports are found
    program.write_text(TYPESCRIPT)
    return _called(seat.run([*node(program), _order(seat)]))


def python(seat: Seat) -> str:
    return _called(seat.run([sys.executable, "-c", PYTHON, _order(seat)]))


def fastmcp(seat: Seat) -> str:
    interpreter = seat.programs.parent / "venv/bin/python"
    return _called(seat.run([interpreter, "-c", FASTMCP_CLIENT, _order(seat)]))


CLIENTS: Final[Mapping[str, Callable[[Seat], str]]] = {
    "Claude Code 2.1.330": claude("@anthropic-ai/claude-code-linux-x64"),
    "Claude Code 2.1.197": claude("claude-before/node_modules/@anthropic-ai/claude-code-linux-x64"),
    "MCP Inspector 2.12.0, legacy": inspector("legacy"),
    "MCP Inspector 2.12.0, auto": inspector("auto"),
    "MCP Inspector 2.12.0, modern": inspector("modern"),
    "Codex 0.169.0": codex,
    "Gemini CLI 0.61.0": gemini,
    "mcporter 0.12.3": mcporter,
    "opencode 1.18.33": opencode,
    "fastmcp 4.1.2": fastmcp,
    "Python SDK 2.3.0": python,
    "TypeScript SDK 1.32.2": typescript,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.clients", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="clients with this in their name")
    wanted = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bh-clients-")))
        install(folder, PACKAGES)
        install_python(folder / "venv", [FASTMCP])
        home = stack.enter_context(home_of_a_stranger())
        with_registries(home.user)
        home.up()
        home.add_toy(SERVER)
        return tour(home, folder, wanted.only)


def tour(home: Running, folder: Path, only: Sequence[str] = ()) -> int:
    """Every client in both ways, as a table."""
    failed = 0
    print(f"{'client':<32} {'way':<6} {'era':<26} result")
    for name, check in CLIENTS.items():
        if only and not any(word.lower() in name.lower() for word in only):
            continue
        for number, kind in enumerate(("stdio", "http")):
            client = home.newcomer(SERVER)
            seat = Seat(folder / "node_modules", folder / f"home-{client}-{number}", _way(home, client, kind))
            seat.home.mkdir()
            try:
                result = check(seat)
            except (AssertionError, subprocess.TimeoutExpired) as problem:
                failed += 1
                result = f"FAILED: {str(problem)[-SHOWN:]}"
            print(f"{name:<32} {kind:<6} {_era(home, client):<26} {result}", flush=True)
    return 1 if failed else 0


def _way(home: Running, client: str, kind: str) -> Mapping[str, object]:
    if kind == "stdio":
        command, *args = home.shim(SERVER, client)
        return {"command": command, "args": args}
    done = home.bulkhead("endpoint", SERVER, "--client", client, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _era(home: Running, client: str) -> str:
    """The openings that were recorded of a client."""
    seen = {str(receipt["method"]) for receipt in home.desk.receipts(client=client, kind="handshake")}
    return ", ".join(name for name in ("server/discover", "initialize") if name in seen) or "-"


def _order(seat: Seat) -> str:
    return json.dumps({"way": dict(seat.way), "word": WORD})


def _asked(seat: Seat, argv: Sequence[str]) -> str:
    """What Codex answers about the servers it connected to; it serves until its input ends."""
    lines: list[JsonObject] = [
        {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "tour", "version": "1"}}},
        {"method": "initialized"},
        {"id": 2, "method": "mcpServerStatus/list", "params": {}},
    ]
    environment = {**node_environment(), "HOME": str(seat.home)}
    with subprocess.Popen(
        argv, cwd=seat.home, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        assert server.stdin is not None and server.stdout is not None
        try:
            server.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
            server.stdin.flush()
            for answer in server.stdout:
                if json.loads(answer).get("id") == 2:
                    return answer
        finally:
            server.terminate()
    return "it ended without an answer"


def _said(output: str, word: str) -> str:
    assert word in output and f"not {word}" not in output, output.strip()
    return "listed"


def _called(output: str) -> str:
    assert WORD in output, output.strip()
    return "listed and called"


if __name__ == "__main__":
    sys.exit(main())
