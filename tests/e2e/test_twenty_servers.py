"""Twenty servers people use, from npm and PyPI: each is pinned, starts from the store in its sandbox, and is listed.

Those that want a key get one that opens nothing: none of them needs it to say what it offers.
"""

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.e2e.conftest import ADD_WITHIN
from tests.e2e.running import Running, home_of_a_stranger, with_registries

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]

AT_ONCE: Final = 2  # each keeps a core busy with unpacking and hashing


@dataclass(frozen=True, slots=True)
class Listed:
    """A server's line, what it is given, and a tool it must have."""

    line: str
    tool: str
    env: Mapping[str, str] = field(default_factory=dict)


PINNED_ALREADY: Final = {"files": "read_text_file", "everything": "get-sum", "time": "get_current_time"}
"""The three that every test of real servers shares."""
SERVERS: Final = {
    "memory": Listed("npx -y @modelcontextprotocol/server-memory", "create_entities"),
    "thinking": Listed("npx -y @modelcontextprotocol/server-sequential-thinking", "sequentialthinking"),
    "context7": Listed("npx -y @upstash/context7-mcp", "resolve-library-id"),
    "notion": Listed("npx -y @notionhq/notion-mcp-server", "API-get-user", {"NOTION_TOKEN": "none"}),
    "chrome": Listed("npx -y chrome-devtools-mcp", "navigate_page"),
    "playwright": Listed("npx -y @playwright/mcp", "browser_navigate"),
    "github": Listed(
        "npx -y @modelcontextprotocol/server-github", "create_issue", {"GITHUB_PERSONAL_ACCESS_TOKEN": "none"}
    ),
    "brave": Listed("npx -y @modelcontextprotocol/server-brave-search", "brave_web_search", {"BRAVE_API_KEY": "none"}),
    "slack": Listed(
        "npx -y @modelcontextprotocol/server-slack", "slack_post_message",
        {"SLACK_BOT_TOKEN": "none", "SLACK_TEAM_ID": "none"},
    ),
    "gitlab": Listed(
        "npx -y @modelcontextprotocol/server-gitlab", "create_issue", {"GITLAB_PERSONAL_ACCESS_TOKEN": "none"}
    ),
    "maps": Listed("npx -y @modelcontextprotocol/server-google-maps", "maps_geocode", {"GOOGLE_MAPS_API_KEY": "none"}),
    "tavily": Listed("npx -y tavily-mcp", "tavily_search", {"TAVILY_API_KEY": "none"}),
    "git": Listed("uvx mcp-server-git", "git_status"),
    "fetch": Listed("uvx mcp-server-fetch", "fetch"),
    "sqlite": Listed("uvx --with mcp<2 mcp-server-sqlite --db-path /tmp/notes.db", "read_query"),
    "calculator": Listed("uvx mcp-server-calculator", "calculate"),
    "duckduckgo": Listed("uvx duckduckgo-mcp-server", "search"),
}  # fmt: skip


@pytest.fixture(scope="module")
def twenty() -> Iterator[Running]:
    """One home and one store for all of them."""
    with home_of_a_stranger() as made:
        with_registries(made.user)
        made.up()

        def add(name: str) -> None:
            wanted = SERVERS[name]
            given = [word for key, value in wanted.env.items() for word in ("--env", f"{key}={value}")]
            words = ("add", name, "--yes", *given, "--", *wanted.line.split())
            try:
                done = made.bulkhead(*words, within=ADD_WITHIN / 2)
            except subprocess.TimeoutExpired:  # a registry that stalled; an add that was cut off can be made again
                done = made.bulkhead(*words, within=ADD_WITHIN / 2)
            assert done.returncode == 0, f"{name}: {done.stderr}"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(add, SERVERS))
        yield made


def test_there_are_twenty() -> None:
    assert len(SERVERS) + len(PINNED_ALREADY) == 20


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_people_use_is_pinned_and_starts_from_the_store_in_its_sandbox(twenty: Running, name: str) -> None:
    listed(twenty, name, SERVERS[name].tool)


@pytest.mark.parametrize("name", PINNED_ALREADY)
def test_so_do_the_ones_that_every_test_shares(real: Running, name: str) -> None:
    listed(real, name, PINNED_ALREADY[name])


def listed(home: Running, name: str, tool: str) -> None:
    """It ran in a sandbox from exactly the pinned tree, and a client is told what it said there."""
    server = home.desk.server(name)
    assert tool in {each.name for each in server.tools}
    runs = [entry for entry in home.desk.receipts(server=name, kind="launch") if entry["method"] == "pin"]
    assert runs
    assert {(entry["digest"], entry["tier"]) for entry in runs} == {(server.tree, home.desk.status().tier)}
    assert home.desk.receipts(server=name, kind="violation") == []
    done = home.bulkhead("verify", "--offline", name)
    assert (done.returncode, "as pinned" in done.stdout) == (0, True), done.stdout
    with home.connect(name, home.newcomer(name)) as link:
        assert "result" in link.open()
        assert tool in {each["name"] for each in link.tools()}
