"""Clients by HTTP, end to end: `bulkhead endpoint`, the SDK's own client in every era, a sandboxed server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from broker.flow.store import MAX_MARKED
from tests.e2e.processes import daemons
from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes.raw_client import MODERN, PREFIX
from tests.passes.sdk import Kept, provider

pytestmark = pytest.mark.sandbox

WITHIN = 60.0


@pytest.fixture(scope="module")
def http() -> Iterator[Running]:
    """A home with one toy server, which the client `web` may use."""
    with home_of_a_stranger() as made:
        made.up()
        made.add_toy("honest", connect=["web"])
        yield made


def address(home: Running, *more: str) -> tuple[str, dict[str, str]]:
    done = home.bulkhead("endpoint", "honest", "--client", "web", "--json", *more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["url"], found["headers"]


@asynccontextmanager
async def client(url: str, headers: dict[str, str], era: str, **more: Any) -> AsyncIterator[Client]:
    async with asyncio.timeout(WITHIN), httpx2.AsyncClient(headers=headers, timeout=WITHIN, trust_env=False) as http:
        if era == "sse":
            transport, mode = sse_client(url + "/sse", headers=headers), "legacy"
        else:
            transport, mode = streamable_http_client(url, http_client=http), era
        async with Client(transport, mode=mode, **more) as made:
            yield made


@pytest.mark.claim("C63")
@pytest.mark.parametrize(
    ("era", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28",) * 2, ("sse", "2025-11-25")]
)
async def test_the_sdk_lists_calls_and_is_recorded_by_http_in_every_era(http: Running, era: str, version: str) -> None:
    url, headers = await asyncio.to_thread(address, http)
    async with client(url, headers, era) as sdk:
        assert sdk.protocol_version == version
        assert "echo" in [tool.name for tool in (await sdk.list_tools()).tools]
        answer = await sdk.call_tool("echo", {"text": f"by {era}"})
        assert answer.content[0].text == f"by {era}"  # type: ignore[union-attr]
    receipts = await asyncio.to_thread(http.desk.receipts, client="web", server="honest")
    assert ("tools/call", "echo") in {(receipt["method"], receipt["target"]) for receipt in receipts}
    assert f"by {era}" not in json.dumps(receipts)  # what was said is sealed


async def test_progress_arrives_while_a_call_goes_on(http: Running) -> None:
    url, headers = await asyncio.to_thread(address, http)
    steps: list[float] = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    for era in ("legacy", "2026-07-28"):
        async with client(url, headers, era) as sdk:
            await sdk.call_tool("slow", {"seconds": 1}, progress_callback=step)
    assert steps == [1, 2, 3, 4] * 2


def test_the_bearer_is_shown_to_nobody_who_does_not_ask(http: Running) -> None:
    url, headers = address(http)
    bearer = headers["Authorization"].removeprefix("Bearer ")
    quiet = http.bulkhead("endpoint", "honest", "--client", "web")
    assert quiet.returncode == 0 and url in quiet.stdout and bearer not in quiet.stdout + quiet.stderr
    assert bearer in http.bulkhead("endpoint", "honest", "--client", "web", "--show").stdout
    unknown = http.bulkhead("endpoint", "honest", "--client", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr


def test_each_folder_has_a_bearer_of_its_own(http: Running) -> None:
    first, second = address(http), address(http, "--workspace", "/")
    third = address(http, "--workspace", "/tmp")
    assert first == second  # the root is no folder to work in
    assert third[0] != first[0] and third[1] != first[1]


async def test_a_person_chooses_the_port_and_it_is_kept(http: Running) -> None:
    before, headers = await asyncio.to_thread(address, http)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        refused = await asyncio.to_thread(http.bulkhead, "up", "--http", str(taken))
        assert (refused.returncode, "another program holds" in refused.stderr) == (1, True)
    assert (await asyncio.to_thread(address, http)) == (before, headers)
    done = await asyncio.to_thread(http.bulkhead, "up", "--http", str(taken))
    assert done.returncode == 0, done.stderr
    url, same = await asyncio.to_thread(address, http)
    assert (f":{taken}/" in url, same) == (True, headers)
    async with client(url, headers, "legacy") as sdk:
        assert (await sdk.list_tools()).tools


async def test_an_address_holds_over_a_restart_and_the_port_is_held_from_the_start(http: Running) -> None:
    url, headers = await asyncio.to_thread(address, http)
    assert (await asyncio.to_thread(http.bulkhead, "down")).returncode == 0
    await asyncio.to_thread(http.up)
    async with client(url, headers, "legacy") as sdk:  # nobody asked for the address again
        assert (await sdk.list_tools()).tools


@pytest.mark.claim("C69")
async def test_a_client_that_insists_on_oauth_signs_in_and_a_person_repeats_the_number(http: Running) -> None:
    made = await asyncio.to_thread(http.bulkhead, "endpoint", "honest", "--client", "web", "--oauth", "--json")
    url, kept = json.loads(made.stdout)["url"], Kept()
    assert json.loads(made.stdout)["headers"] == {}

    async def answer(page: str) -> None:
        number = page.partition("--number ")[2][:2]
        (question,) = await asyncio.to_thread(http.desk.pending)
        done = await asyncio.to_thread(http.bulkhead, "approve", question.id, "--number", number)
        assert done.returncode == 0, done.stderr

    async with asyncio.timeout(WITHIN), httpx2.AsyncClient(
        auth=provider(url, kept, answer), trust_env=False, timeout=WITHIN
    ) as over, Client(streamable_http_client(url, http_client=over), mode="auto") as sdk:  # fmt: skip
        answered = await sdk.call_tool("echo", {"text": "signed in"})
        assert answered.content[0].text == "signed in"  # type: ignore[union-attr]
    assert kept.tokens is not None and kept.tokens.refresh_token is not None
    (grant,) = [one for one in await asyncio.to_thread(http.desk.grants) if one.kind == "sign-in"]
    assert (grant.client, grant.server, grant.target) == ("web", "honest", "the SDK") and grant.expires
    assert (await asyncio.to_thread(http.bulkhead, "revoke", grant.id)).returncode == 0
    headers = {"authorization": f"Bearer {kept.tokens.access_token}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=WITHIN) as over:
        assert (await over.post(url, headers=headers, json={})).status_code == 401
    files = [file for file in http.paths.home.rglob("*") if file.is_file() and not file.is_symlink()]
    secrets = [kept.tokens.access_token, kept.tokens.refresh_token]
    assert not [file for file in files for secret in secrets if secret.encode() in file.read_bytes()]


@pytest.mark.parametrize("how", ["stdio", "http"])
def test_a_long_message_passes_both_ways_in_little_memory(http: Running, how: str) -> None:
    """More than the marks of a read are made of, in words that differ: what is judged and recorded stays bounded."""
    words = " ".join(f"w{number * 7919 % 10_000_019:x}" for number in range(1_150_000))
    assert len(words) > MAX_MARKED
    done = http.bulkhead("limits", "honest", "--message-size", "32M")
    assert done.returncode == 0, done.stderr
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": words}}}
    (pid,) = daemons(http.paths.home)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # from here on its peak is counted anew
    before = peak(pid)
    if how == "stdio":
        with http.connect("honest", http.newcomer("honest")) as client:
            client.open()
            client.send_bytes(json.dumps(call).encode() + b"\n", within=WITHIN)
            answer = client.answer_to(2, within=WITHIN)
    else:
        url, headers = address(http, "--workspace", "/usr")
        meta = {PREFIX + "protocolVersion": MODERN, PREFIX + "clientCapabilities": {}}
        headers |= {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "echo"}
        call["params"] |= {"_meta": meta}  # type: ignore[operator]
        headers |= {"accept": "application/json, text/event-stream"}
        with httpx2.Client(headers=headers, timeout=WITHIN, trust_env=False) as web:
            said = web.post(url, json=call).text
        answer = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert answer["result"]["content"] == [{"type": "text", "text": words}]
    assert peak(pid) - before < 16 * len(words) // 1024, "each way it is read, judged, recorded and written"


def peak(pid: int) -> int:
    """The most memory a process has had, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
