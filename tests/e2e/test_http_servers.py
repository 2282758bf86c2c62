"""Servers that run elsewhere, end to end: added by their address, pinned by what they offer, used by every client."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer

from tests.clients.examples import put
from tests.e2e.running import Running, home_of_a_stranger
from tests.e2e.test_http import client
from tests.fakes.raw_client import RawClient

WITHIN = 60.0
KEY = "s3cret-key-of-the-user"


@dataclass
class Elsewhere:
    """The SDK's own server behind a check of one header, and the headers it saw."""

    port: int = 0
    seen: list[str] = field(default_factory=list)
    guarded: bool = True
    tools: MCPServer = field(default_factory=lambda: MCPServer("elsewhere"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def app(self) -> Any:
        inner = self.tools.streamable_http_app()

        async def checked(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                key = dict(scope["headers"]).get(b"x-key", b"").decode()
                self.seen.append(key)
                if self.guarded and key != KEY:
                    await send({"type": "http.response.start", "status": 401, "headers": []})
                    await send({"type": "http.response.body", "body": b""})
                    return
            await inner(scope, receive, send)

        return checked


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()

    @made.tools.tool()
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    listener = socket.create_server(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(made.app(), log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + WITHIN
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield made
    server.should_exit = True
    thread.join(WITHIN)


@pytest.fixture(scope="module")
def home(elsewhere: Elsewhere) -> Iterator[Running]:
    """A home with that server in it, which the client `web` may use."""
    with home_of_a_stranger() as made:
        made.up()
        made.add("far", [elsewhere.url], env={"X-Key": KEY}, connect=["web"])
        yield made


@pytest.mark.claim("C18")
def test_a_server_is_added_by_its_address_and_its_key_is_in_no_document(home: Running, elsewhere: Elsewhere) -> None:
    shown = json.loads(home.bulkhead("show", "far", "--json").stdout)
    assert (shown["kind"], shown["argv"]) == ("remote", [elsewhere.url])
    assert [tool["name"] for tool in shown["tools"]] == ["double"]
    written = [path for path in home.paths.home.rglob("*") if path.is_file() and not path.is_symlink()]
    holding = [path for path in written if KEY.encode() in path.read_bytes()]
    assert holding == []


@pytest.mark.claim("C18")
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_client_by_http_uses_a_server_by_http_in_both_eras(
    home: Running, elsewhere: Elsewhere, era: str
) -> None:
    done = await asyncio.to_thread(home.bulkhead, "endpoint", "far", "--client", "web", "--json")
    found = json.loads(done.stdout)
    elsewhere.seen.clear()
    async with client(found["url"], found["headers"], era) as sdk:
        assert [tool.name for tool in (await sdk.list_tools()).tools] == ["double"]
        assert elsewhere.seen == []  # lists come from what was agreed to
        answer = await sdk.call_tool("double", {"number": 21})
        assert answer.content[0].text == "42"  # type: ignore[union-attr]
    assert set(elsewhere.seen) == {KEY}
    bearer = found["headers"]["Authorization"].removeprefix("Bearer ")
    assert not any(bearer in seen for seen in elsewhere.seen)


def test_what_would_only_look_like_a_wall_is_refused_for_a_server_elsewhere(home: Running, tmp_path: Path) -> None:
    for words in (["--read", str(tmp_path)], ["--host", "api.example.com"]):
        done = home.bulkhead("grant", "far", *words)
        assert done.returncode == 1, done
        assert "far runs elsewhere" in done.stderr and words[1] in done.stderr and "try: " in done.stderr


def test_a_client_by_stdio_uses_a_server_by_http(home: Running) -> None:
    with home.connect("far", "web") as shim:
        shim.open()
        assert shim.call_text("double", {"number": 4}) == "8"


@pytest.mark.claim("C18")
def test_a_tool_that_changed_elsewhere_is_held(home: Running, elsewhere: Elsewhere) -> None:
    @elsewhere.tools.tool()
    def triple(number: int) -> int:
        """Three times the number."""
        return 3 * number

    try:
        with home.connect("far", home.newcomer("far")) as shim:
            shim.open()
            assert shim.call_text("double", {"number": 1}) == "2"
            assert [tool["name"] for tool in shim.tools()] == ["double"]
        assert "far" in home.bulkhead("review", "--json").stdout
    finally:
        elsewhere.tools.remove_tool("triple")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["http://example.com/mcp"], "not encrypted"),
        (["https://user:word@example.com/mcp"], "no user name"),
        (["https://example.com/mcp", "--insecure"], "means nothing"),
        (["npx", "mcp-remote", "https://example.com/mcp", "--evil"], "not understood"),
    ],
)
def test_an_address_that_may_not_be_asked_is_refused_before_it_is(home: Running, line: list[str], said: str) -> None:
    done = home.bulkhead("add", "other", "--yes", "--", *line)
    assert done.returncode == 1 and said in done.stderr
    assert "other" not in home.bulkhead("servers").stdout


def test_a_server_that_wants_a_sign_in_says_so(home: Running, elsewhere: Elsewhere) -> None:
    done = home.bulkhead("add", "locked", "--yes", "--url", elsewhere.url)
    assert done.returncode == 1 and "needs a sign-in, and does not say where" in done.stderr


def test_a_line_of_mcp_remote_is_the_server_it_leads_to(home: Running, elsewhere: Elsewhere) -> None:
    line = ["npx", "-y", "mcp-remote@latest", elsewhere.url, "--header", f"X-Key: {KEY}", "--allow-http"]
    done = home.bulkhead("add", "carried", "--yes", "--", *line)
    assert done.returncode == 0, done.stderr
    shown = json.loads(home.bulkhead("show", "carried", "--json").stdout)
    assert (shown["argv"], shown["env"]) == ([elsewhere.url], ["X-Key"])
    assert KEY not in done.stdout + done.stderr


@pytest.mark.claim("C18", "C60")
def test_an_entry_for_a_server_elsewhere_moves_in_and_its_headers_are_nowhere_in_the_open(
    home: Running, elsewhere: Elsewhere
) -> None:
    team = "blue-canary-of-the-team"  # neither its name nor its look says that it is a secret
    headers = {"X-Key": KEY, "X-Team": team}
    entry = {"url": elsewhere.url, "headers": headers, "timeout": 9}
    path = put(home.user, "cursor", json.dumps({"mcpServers": {"calculator": entry}}, indent=1))
    before = path.read_bytes()
    shown = home.bulkhead("import", "cursor", "--dry-run")
    done = home.bulkhead("import", "cursor", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (shown, done):
        assert '"X-Team": "[moved]"' in said.stdout and elsewhere.url in said.stdout
        assert not any(secret in said.stdout + said.stderr for secret in headers.values())
    kept = [each for each in home.paths.home.rglob("*") if each.is_file() and not each.is_symlink()]
    holding = {each.parent for each in kept if any(secret.encode() in each.read_bytes() for secret in headers.values())}
    assert holding == {home.paths.state / "imports"}, "only for undo"
    written = json.loads(path.read_text())["mcpServers"]["calculator"]
    assert written["timeout"] == 9 and not written.keys() & {"url", "headers"}
    with RawClient([written["command"], *written["args"]], env=home.environment) as link:
        link.open()
        assert link.call_text("double", {"number": 5}) == "10"
    receipts = json.dumps(home.desk.receipts(client="cursor"))
    assert "calculator" in receipts and team not in receipts
    assert home.bulkhead("undo", "cursor").returncode == 0
    assert path.read_bytes() == before
