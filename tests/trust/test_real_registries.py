"""Real servers from the registries the machine is configured for: pinned, kept, verified, and answering."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.model import ServerName
from broker.pin import Pin
from broker.trust.launch_spec import parse
from broker.trust.pins import describe, from_text, to_text
from broker.trust.resolve import resolve
from broker.trust.store import Store
from tests.fakes.launchers import node_environment

pytestmark = pytest.mark.registry

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "program", "packages"),
    [
        ("npx -y @modelcontextprotocol/server-filesystem {folder}", "secure-filesystem-server", 50),
        ("npx -y @modelcontextprotocol/server-everything", "mcp-servers/everything", 50),
        ("uvx mcp-server-time", "mcp-time", 20),
    ],
)
async def test_a_real_server_is_pinned_and_answers_from_the_store(
    line: str, program: str, packages: int, store: Store, tmp_path: Path
) -> None:
    request = parse(line.format(folder=tmp_path).split(), exists=os.path.exists)
    said: list[str] = []
    artifact = await resolve(request, store=store, environment=node_environment(), progress=said.append)
    assert len(artifact.packages) > packages
    pin = from_text(to_text(Pin(ServerName("real"), "now", request, artifact)))
    found = await store.verified(pin)
    assert describe(artifact, request)[0].startswith("runs: /")
    argv = [word.replace("/opt/bulkhead/package", str(store.object(found.tree))) for word in found.argv]
    answer = answer_of(argv, tmp_path)
    assert answer["result"]["serverInfo"]["name"] == program
    assert (await store.verified(pin)) == found


def answer_of(argv: list[str], home: Path) -> dict[str, dict[str, dict[str, str]]]:
    done = subprocess.run(
        argv,
        input=json.dumps(INITIALIZE) + "\n",
        env={"HOME": str(home)},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        timeout=60,
    )
    answer: dict[str, dict[str, dict[str, str]]] = json.loads(done.stdout.splitlines()[0])
    return answer


TUTORIAL = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("weather")


@server.tool()
def forecast(city: str) -> str:
    return f"sun over {city}"


if __name__ == "__main__":
    server.run()
"""


async def test_the_uv_project_of_a_tutorial_is_pinned_and_answers_from_its_place(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "weather"
    root.mkdir()
    (root / "server.py").write_text(TUTORIAL)
    (root / "pyproject.toml").write_text(
        '[project]\nname = "weather"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = ["mcp[cli]>=1.2,<2"]\n'
    )
    request = parse(["uv", "--directory", str(root), "run", "server.py"], exists=os.path.exists)
    artifact = await resolve(request, store=store, environment=node_environment(), progress=lambda text: None)
    pin = from_text(to_text(Pin(ServerName("weather"), "now", request, artifact)))
    found = await store.verified(pin)
    argv = [word.replace("/opt/bulkhead/package", str(store.object(artifact.tree))) for word in found.argv]
    assert answer_of(argv, tmp_path)["result"]["serverInfo"]["name"] == "weather"
    assert sorted(os.listdir(root)) == ["pyproject.toml", "server.py"]
    assert (await store.verified(pin)) == found
