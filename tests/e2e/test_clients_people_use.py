"""Clients people use, installed from the registry, on the shim: Claude Code and the MCP Inspector."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from broker.model import JsonObject
from tests.e2e.conftest import FILE, documents
from tests.e2e.running import Running, with_registries
from tests.fakes.launchers import node_environment, node_wheel

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]

INSTALL_WITHIN: Final = 240.0  # Claude Code alone is 200 MB
RUN_WITHIN: Final = 60.0


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """A folder with both clients in it; their own install scripts do not run."""
    with tempfile.TemporaryDirectory(prefix="bh-clients-") as name:
        folder = Path(name)
        with_registries(folder)
        npm = node_wheel() / "lib/node_modules/npm/bin/npm-cli.js"
        wanted = ["@anthropic-ai/claude-code", "@modelcontextprotocol/inspector"]
        argv = [
            str(node_wheel() / "bin/node"),
            str(npm),
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            *wanted,
        ]
        environment = {**node_environment(), "HOME": name, "npm_config_cache": str(folder / "cache")}
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False
        )
        assert done.returncode == 0, done.stderr
        yield folder / "node_modules"


def run(argv: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ANTHROPIC", "CLAUDE"))}
    return subprocess.run(
        argv,
        cwd=home,
        env={**node_environment(keep), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN,
        check=False,
    )


def entry(home: Running, server: str, client: str) -> JsonObject:
    command, *args = home.shim(server, client)
    return {"type": "stdio", "command": command, "args": args}


def inspect(programs: Path, home: Running, server: str, options: Mapping[str, str | list[str]]) -> JsonObject:
    """What the Inspector prints for one request."""
    words = [
        word
        for name, values in options.items()
        for value in (values if isinstance(values, list) else [values])
        for word in (f"--{name}", value)
    ]
    argv = [
        str(node_wheel() / "bin/node"),
        str(programs / ".bin/mcp-inspector"),
        "--cli",
        *words,
        "--",
        *home.shim(server, home.newcomer(server)),
    ]
    done = run(argv, home.user)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: JsonObject = json.loads(done.stdout)
    return answer


@pytest.mark.claim("C02")
def test_claude_code_finds_its_servers_healthy(programs: Path, real: Running) -> None:
    client = real.newcomer("files", "time", "everything")
    servers = {name: entry(real, name, client) for name in ("files", "time", "everything")}
    home = real.user / "claude"
    home.mkdir()
    (home / ".claude.json").write_text(json.dumps({"mcpServers": servers}))
    binary = programs / "@anthropic-ai/claude-code-linux-x64/claude"
    done = run([str(binary), "mcp", "list"], home)
    healthy = [line.split(":")[0] for line in done.stdout.splitlines() if "Connected" in line]
    assert sorted(healthy) == ["everything", "files", "time"], done.stdout + done.stderr
    opened = real.desk.receipts(client=client, kind="handshake")
    assert {entry["method"] for entry in opened} & {"initialize", "server/discover"}


@pytest.mark.claim("C02")
def test_the_inspector_lists_and_calls_a_real_server(programs: Path, real: Running) -> None:
    listed = inspect(programs, real, "files", {"method": "tools/list"})
    assert "read_text_file" in {tool["name"] for tool in listed["tools"]}
    plan = documents(real) / FILE
    call: dict[str, str | list[str]] = {
        "method": "tools/call",
        "tool-name": "read_text_file",
        "tool-arg": [f"path={plan}"],
    }
    assert "thursday" in inspect(programs, real, "files", call)["content"][0]["text"]


@pytest.mark.claim("C02", "C03")
def test_the_inspector_speaks_the_new_era_to_a_server_that_does(programs: Path, real: Running) -> None:
    call: dict[str, str | list[str]] = {
        "protocol-era": "modern",
        "method": "tools/call",
        "tool-name": "get_current_time",
        "tool-arg": ["timezone=UTC"],
    }
    assert "UTC" in inspect(programs, real, "time", call)["content"][0]["text"]
