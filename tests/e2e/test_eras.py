"""Clients of one era at servers that speak only the other, end to end, with the SDK's own client."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.session import ClientRequestContext
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult

from tests.e2e.running import Running, home_of_a_stranger

pytestmark = pytest.mark.sandbox

WITHIN = 60.0
ERAS = {"modern": "2025-11-25", "legacy": "2026-07-28"}  # what a server speaks, and what its client then speaks


@pytest.fixture(scope="module")
def home() -> Iterator[Running]:
    """A home with one server of each era."""
    with home_of_a_stranger() as made:
        made.up()
        for era in ERAS:
            made.add_toy("asks", "--era", era, name=era, connect=[f"web-{era}", "web-all"])
        yield made


async def _elicited(_: ClientRequestContext, asked: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"password": "no"})


async def _sampled(_: ClientRequestContext, asked: CreateMessageRequestParams) -> CreateMessageResult:
    raise AssertionError("nobody may ask this client for a model's words")


CALLBACKS: dict[str, Any] = {"elicitation_callback": _elicited, "sampling_callback": _sampled}


@asynccontextmanager
async def client(home: Running, server: str, how: str, mode: str = "") -> AsyncIterator[Client]:
    """The SDK's client at a server or at `--all`; by default told to speak only the era its server does not."""
    mode = mode or ("legacy" if server == "modern" else "2026-07-28")
    async with asyncio.timeout(WITHIN):
        if how == "stdio":
            newcomer = await asyncio.to_thread(home.newcomer, *([server] if server in ERAS else ERAS))
            line = home.home.argv("connect", server, "--client", newcomer)
            transport = stdio_client(StdioServerParameters(command=line[0], args=line[1:], env=dict(home.environment)))
            async with Client(transport, mode=mode, **CALLBACKS) as made:
                yield made
            return
        name = f"web-{server.strip('-')}"
        done = await asyncio.to_thread(home.bulkhead, "endpoint", server, "--client", name, "--json")
        found = json.loads(done.stdout)
        async with httpx2.AsyncClient(headers=found["headers"], timeout=WITHIN, trust_env=False) as http:
            transport = streamable_http_client(found["url"], http_client=http)
            async with Client(transport, mode=mode, **CALLBACKS) as made:
                yield made


@pytest.mark.claim("C04")
@pytest.mark.parametrize("how", ["stdio", "http"])
@pytest.mark.parametrize("server", list(ERAS))
async def test_a_client_uses_a_server_of_the_other_era_and_answers_what_it_asks(
    home: Running, server: str, how: str
) -> None:
    async with client(home, server, how) as sdk:
        assert sdk.protocol_version == ERAS[server]
        assert [tool.name for tool in (await sdk.list_tools()).tools] == ["go"]
        answer = await sdk.call_tool("go", {"what": "elicitation"})
        assert '"password": "no"' in answer.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("server", list(ERAS))
async def test_a_no_to_what_a_server_asks_reaches_no_client_of_the_other_era(home: Running, server: str) -> None:
    async with client(home, server, "stdio") as sdk:
        waiting = asyncio.create_task(sdk.call_tool("go", {"what": "sampling"}))
        await asyncio.to_thread(lambda: home.desk.deny(home.desk.question(server=server, within=WITHIN)))
        assert "refused by Bulkhead" in (await waiting).content[0].text  # type: ignore[union-attr]


@pytest.mark.claim("C67")
@pytest.mark.parametrize(("how", "mode"), [("stdio", "2026-07-28"), ("http", "legacy")])
async def test_servers_of_both_eras_are_one_to_a_client_that_takes_one_and_are_still_kept_apart(
    home: Running, how: str, mode: str
) -> None:
    async with client(home, "--all", how, mode) as sdk:
        assert [tool.name for tool in (await sdk.list_tools()).tools] == ["legacy__go", "modern__go"]
        first = await sdk.call_tool("legacy__go", {"what": "elicitation"})
        waiting = asyncio.create_task(sdk.call_tool("modern__go", {"what": "elicitation"}))
        for _ in ("the call", "what the server asks"):  # what was read there counts here
            question = await asyncio.to_thread(home.desk.question, server="modern", within=WITHIN)
            assert "R3" in question.why
            assert "legacy" in question.why
            await asyncio.to_thread(home.desk.approve, question)
            await asyncio.to_thread(home.desk.no_question, question.id, within=WITHIN)
        for answer in (first, await waiting):
            assert '"password": "no"' in answer.content[0].text  # type: ignore[union-attr]
