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

from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, TASKS, VERSION_KEY
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
            made.add_toy("asks", "--era", era, "--tasks", name=era, connect=[f"web-{era}", "web-all"])
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
        assert [tool.name for tool in (await sdk.list_tools()).tools] == ["go", "long"]
        waiting = asyncio.create_task(sdk.call_tool("go", {"what": "elicitation"}))
        await enabled(home, server, "R7")
        assert '"password": "no"' in (await waiting).content[0].text  # type: ignore[union-attr]


async def enabled(home: Running, server: str, rule: str) -> str:
    """A person says yes to the one question there is; what it says."""
    question = await asyncio.to_thread(home.desk.question, server=server, within=WITHIN)
    assert rule in question.why
    await asyncio.to_thread(home.desk.approve, question)
    await asyncio.to_thread(home.desk.no_question, question.id, within=WITHIN)
    return question.why


@pytest.mark.parametrize("server", list(ERAS))
async def test_a_no_to_what_a_server_asks_reaches_no_client_of_the_other_era(home: Running, server: str) -> None:
    async with client(home, server, "stdio") as sdk:
        waiting = asyncio.create_task(sdk.call_tool("go", {"what": "sampling"}))
        await asyncio.to_thread(lambda: home.desk.deny(home.desk.question(server=server, within=WITHIN)))
        assert "refused by Bulkhead" in (await waiting).content[0].text  # type: ignore[union-attr]


def say(home: Running, server: str, how: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send these one after another, each after the answer to the one before; the answers."""
    answers: list[dict[str, Any]] = []
    if how == "stdio":
        with home.connect(server, home.newcomer(server)) as client:
            for message in messages:
                client.send(message)
                if "id" in message:
                    answers.append(client.answer_to(message["id"], within=WITHIN))
        return answers
    found = json.loads(home.bulkhead("endpoint", server, "--client", f"web-{server}", "--json").stdout)
    with httpx2.Client(headers=found["headers"], timeout=WITHIN, trust_env=False) as http:
        http.headers["accept"] = "application/json, text/event-stream"
        for message in messages:
            meta = message.get("params", {}).get("_meta", {})
            more = {"mcp-protocol-version": meta.get(VERSION_KEY, "2025-11-25"), "mcp-method": message["method"]}
            if name := message.get("params", {}).get("name", message.get("params", {}).get("taskId")):
                more["mcp-name"] = name
            done = http.post(found["url"], json={"jsonrpc": "2.0", **message}, headers=more)
            if session := done.headers.get("mcp-session-id"):
                http.headers["mcp-session-id"] = session
            if "id" in message:
                lines = [
                    line.removeprefix("data:") for line in done.text.splitlines() if line.startswith(("data:", "{"))
                ]
                answers += [each for line in lines if line.strip() and (each := json.loads(line)).get("id") is not None]
    return answers


@pytest.mark.parametrize("how", ["stdio", "http"])
def test_a_task_of_a_legacy_server_is_one_of_the_extension_to_a_modern_client(home: Running, how: str) -> None:
    meta = {VERSION_KEY: "2026-07-28", CLIENT_CAPABILITIES_KEY: {"extensions": {TASKS: {}}}}
    look = {"method": "tasks/get", "params": {"taskId": "task-1", "_meta": meta}}
    call = {"method": "tools/call", "params": {"name": "long", "arguments": {}, "_meta": meta}}
    made, first, second = say(home, "legacy", how, [{"id": 1, **call}, {"id": 2, **look}, {"id": 3, **look}])
    assert (made["result"]["resultType"], made["result"]["taskId"]) == ("task", "task-1")
    assert (first["result"]["status"], first["result"]["pollIntervalMs"]) == ("working", 100)
    assert second["result"]["status"] == "completed"
    assert second["result"]["result"] == {"content": [{"type": "text", "text": "at last"}], "isError": False}


@pytest.mark.parametrize("how", ["stdio", "http"])
def test_a_task_of_the_extension_is_one_to_a_legacy_client_which_waits_for_its_result(home: Running, how: str) -> None:
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    about = {"params": {"taskId": "task-1"}}
    opened, made, state, answer = say(home, "modern", how, [
        {"id": 1, "method": "initialize", "params": opening},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "long", "arguments": {}, "task": {}}},
        {"id": 3, "method": "tasks/get", **about},
        {"id": 4, "method": "tasks/result", **about},
    ])  # fmt: skip
    assert opened["result"]["capabilities"]["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    assert (made["result"]["task"]["status"], state["result"]["pollInterval"]) == ("working", 100)
    assert answer["result"]["content"] == [{"type": "text", "text": "at last"}]


@pytest.mark.claim("C67")
@pytest.mark.parametrize(("how", "mode"), [("stdio", "2026-07-28"), ("http", "legacy")])
async def test_servers_of_both_eras_are_one_to_a_client_that_takes_one_and_are_still_kept_apart(
    home: Running, how: str, mode: str
) -> None:
    async with client(home, "--all", how, mode) as sdk:
        assert [tool.name for tool in (await sdk.list_tools()).tools] == [
            "legacy__go", "legacy__long", "modern__go", "modern__long"
        ]  # fmt: skip
        first = asyncio.create_task(sdk.call_tool("legacy__go", {"what": "elicitation"}))
        await enabled(home, "legacy", "R7")
        await first
        waiting = asyncio.create_task(sdk.call_tool("modern__go", {"what": "elicitation"}))
        for rule in ("R3", "R7", "R3"):  # the call, what the server wants, and the call that brings it
            why = await enabled(home, "modern", rule)
            assert rule == "R7" or "legacy" in why  # what was read there counts here
        for answer in (await first, await waiting):
            assert '"password": "no"' in answer.content[0].text  # type: ignore[union-attr]
