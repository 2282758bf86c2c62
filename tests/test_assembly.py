"""All servers of a client behind one connection: real sessions and links, each with a server of its own."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from broker.config import Bounds
from broker.errors import DeskError
from broker.model import JsonObject
from broker.visit import ALL
from tests.endpoints.front import fronted, message_of
from tests.house import OPEN, QUICK, Rooms, housed, pin_server
from tests.peers import FarEnd, ToyServer, echo
from tests.protocol.stage import INITIALIZE, INITIALIZED, MODERN, call, modern, notice, request
from tests.waiting import WITHIN, until

HELD: Final = b"""version = 1
name = "held"
description = "for tests: clients connect and read notes; writing to another server is a question"
[[rule]]
name = "all"
effect = "allow"
reason = "fine"
[[rule]]
name = "no-writing-to-post"
effect = "deny"
reason = "post is not written to"
server = "post"
target = "write"
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def two(rooms: Rooms) -> None:
    """A second server beside `notes`."""
    pin_server(rooms, "post")


async def entered(rooms: Rooms) -> FarEnd:
    """Connected to all, its handshake done."""
    _, far = rooms.enter(ALL)
    await far.say(INITIALIZE, INITIALIZED)
    assert (await far.hear())["result"]["serverInfo"]["name"] == "bulkhead"
    return far


async def answer_to(far: FarEnd, id: Any) -> JsonObject:
    while True:
        message = await far.hear()
        if message.get("id") == id and "method" not in message:
            return message


async def test_lists_come_from_every_server_and_start_none_and_a_call_starts_its_own(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        two(rooms)
        far = await entered(rooms)
        await far.say(request(1, "tools/list"))
        tools = (await answer_to(far, 1))["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["notes__write", "notes__read", "post__write", "post__read"]
        assert tools[0]["vendorField"] == {"kept": [1, 1.0, None]}
        assert rooms.servers == []
        await far.say(call(2, "post__write", text="hello"))
        assert (await answer_to(far, 2))["result"]["content"][0]["text"] == '{"text": "hello"}'
        assert [str(artifact.server) for artifact, *_ in rooms.spawned] == ["post"]
        assert sorted(link.server.name for link in rooms.sessions.links()) == ["notes", "post"]
        assert len(rooms.sessions.all()) == 1
        far.close()
        await until(lambda: not rooms.sessions.links())
    called = [entry for entry in rooms.receipts() if entry.get("method") == "tools/call"]
    assert {(entry["server"], entry["target"]) for entry in called} == {("post", "write")}


async def test_policy_sees_the_real_server_and_the_real_tool(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=HELD) as rooms:
        two(rooms)
        far = await entered(rooms)
        await far.say(call(1, "post__write", text="x"), call(2, "notes__write", text="x"))
        refused = (await answer_to(far, 1))["result"]
        assert refused["isError"] and "no-writing-to-post" in refused["content"][0]["text"]
        assert (await answer_to(far, 2))["result"]["content"][0]["text"] == '{"text": "x"}'
        far.close()


async def test_what_was_read_from_one_server_counts_against_the_next(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        two(rooms)
        far = await entered(rooms)
        await far.say(call(1, "notes__read"))
        await answer_to(far, 1)
        (session,) = rooms.sessions.all()
        assert {read.server for read in rooms.house.ledgers.view(session.id).reads} == {"notes"}
        far.close()


async def test_modern_clients_reach_all_of_them_too(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=lambda: ToyServer(MODERN, answer=echo)) as rooms:
        two(rooms)
        _, far = rooms.enter(ALL)
        await far.say(modern(1, "server/discover"), modern(2, "tools/list"))
        assert (await answer_to(far, 1))["result"]["supportedVersions"] == ["2025-11-25", "2026-07-28"]
        listed = (await answer_to(far, 2))["result"]
        assert (listed["resultType"], listed["tools"][3]["name"]) == ("complete", "post__read")
        await far.say(modern("s", "subscriptions/listen", notifications={"toolsListChanged": True}))
        assert (await far.hear())["params"]["notifications"] == {"toolsListChanged": True}
        await far.say(modern(3, "tools/call", name="post__read", arguments={"a": 1}))
        assert (await answer_to(far, 3))["result"]["content"][0]["text"] == '{"a": 1}'
        far.close()


async def test_a_server_that_ends_its_link_is_told_of_and_comes_back_with_the_next_call(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        two(rooms)
        far = await entered(rooms)
        await far.say(call(1, "notes__read"))
        await answer_to(far, 1)
        (link,) = rooms.sessions.links("notes")
        link.end("a person ended it")
        for part in ("tools", "prompts", "resources"):
            assert (await far.hear())["method"] == f"notifications/{part}/list_changed"
        await far.say(call(2, "notes__read", again=True))
        assert (await answer_to(far, 2))["result"]["content"][0]["text"] == '{"again": true}'
        assert rooms.sessions.links("notes") != (link,)
        far.close()


async def test_a_client_that_hangs_up_gets_what_it_asked_for_and_leaves_no_link_behind(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        two(rooms)
        far = await entered(rooms)
        await far.say(call(1, "notes__read"), call(2, "post__read"))
        far.stop_talking()
        answers = await far.hear_all()
        assert {message["id"] for message in answers if "id" in message} == {1, 2}
        await until(lambda: not rooms.sessions.links())
        far.close()


async def test_what_is_no_message_is_answered_and_the_connection_lives_on(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await entered(rooms)
        await far.say_bytes(b'{"a":1,"a":2}\n[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n')
        assert (await far.hear())["error"]["code"] == -32700
        assert "2025-03-26" in (await far.hear())["error"]["message"]
        await far.say(request(1, "ping"))
        assert (await far.hear())["result"] == {}
        far.close()


async def test_the_revision_with_batches_has_them(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        _, far = rooms.enter(ALL)
        older = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": "2025-03-26"}}
        await far.say(older)
        assert (await far.hear())["result"]["protocolVersion"] == "2025-03-26"
        await far.say_bytes(b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]\n')
        assert [(await far.hear())["id"] for _ in range(2)] == [1, 2]
        far.close()


async def test_one_client_has_only_so_many_of_these_connections(tmp_path: Path) -> None:
    async with housed(tmp_path, bounds=Bounds(links=1)) as rooms:
        visit, far = rooms.enter(ALL)
        with pytest.raises(DeskError, match="connections open already"):
            rooms.enter(ALL)
        far.close()
        async with asyncio.timeout(WITHIN):
            assert await visit.ended == ""


async def test_a_client_that_reads_nothing_is_left(tmp_path: Path) -> None:
    async with housed(tmp_path, waits=QUICK) as rooms:
        visit, far = rooms.enter(ALL)
        await far.say(INITIALIZE, INITIALIZED)
        sending = asyncio.ensure_future(_flood(far))
        ended = asyncio.ensure_future(visit.ended)
        loop = asyncio.get_running_loop()
        while not ended.done():
            rooms.sessions._assemblies.tick(loop.time())
            await asyncio.sleep(0.01)
        assert "did not read" in await ended
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        far.close()


async def _flood(far: FarEnd) -> None:
    for number in range(100_000):
        await far.say(request(number, "tools/list"))


async def test_news_and_cancelling_cross_it(tmp_path: Path) -> None:
    def silent(_message: JsonObject) -> None:
        return None

    watched = OPEN.replace(b"[[rule]]", b"holds = false\n[[rule]]")  # what a server wants is asked about elsewhere
    async with housed(tmp_path, toy=lambda: ToyServer(answer=silent), policy=watched) as rooms:
        far = await entered(rooms)
        await far.say(request(1, "tools/call", name="notes__read", arguments={}, _meta={"progressToken": "p"}))
        await until(lambda: any(server.heard for server in rooms.servers))
        (server,) = rooms.servers
        await until(lambda: server.heard[-1].get("method") == "tools/call")
        await server.far.say(notice("notifications/progress", progressToken="p", progress=1))
        assert (await far.hear())["params"] == {"progressToken": "p", "progress": 1}
        await server.far.say(request("q", "roots/list"))
        asked = await far.hear()
        assert asked["method"] == "roots/list"
        await far.say({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})
        await until(lambda: server.heard[-1].get("id") == "q")
        await far.say(notice("notifications/cancelled", requestId=1))
        await until(lambda: server.heard[-1].get("method") == "notifications/cancelled")
        far.close()


async def test_clients_by_http_have_one_address_for_all(tmp_path: Path) -> None:
    async with fronted(tmp_path, server=ALL) as front:
        two(front.rooms)
        id = await front.begin()
        listed = message_of(await front.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, id))
        assert [tool["name"] for tool in listed["result"]["tools"]] == [
            "notes__write", "notes__read", "post__write", "post__read",
        ]  # fmt: skip
        called = message_of(await front.post(call(2, "post__write", text="by http"), id))
        assert "by http" in called["result"]["content"][0]["text"]
        modern_list = message_of(await front.modern("tools/list"))
        assert len(modern_list["result"]["tools"]) == 4
