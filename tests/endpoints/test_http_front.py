"""Clients of every revision through the door by HTTP, to a server of lines."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.errors import DeskError
from broker.model import Decision, Verdict
from tests.endpoints.front import MODERN, Front, call, fronted, message_of, modern, said
from tests.house import ME
from tests.peers import ToyServer, echo
from tests.protocol.stage import INITIALIZE
from tests.protocol.stage import MODERN as MODERN_VIEW
from tests.waiting import WITHIN, until

LISTENING = {"notifications": {"toolsListChanged": True}}


def silent(_message: dict[str, Any]) -> None:
    return None


async def reached(front: Front, method: str = "tools/call", times: int = 1) -> list[dict[str, Any]]:
    """What the server heard, once it heard `method` so often."""

    def heard() -> list[dict[str, Any]]:
        servers = front.rooms.servers
        return [message for server in servers for message in server.heard if message.get("method") == method]

    await until(lambda: len(heard()) >= times, within=6 * WITHIN)
    return heard()


# --- sessions of the legacy era ---


async def test_a_body_is_as_long_as_the_server_was_given_room_for(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        server = front.rooms.registry.server("notes")
        grants = replace(server.grants, limits=replace(server.grants.limits, message=64 << 10))
        long = call(text="x" * (100 << 10))
        id = await front.begin()
        assert (await front.post(long, id)).status_code == 200
        front.rooms.registry.put_server(replace(server, grants=grants))
        refused = await front.post(long, id)
        assert (refused.status_code, "--message-size" in refused.text) == (413, True)
        assert (await front.client.post(front.url.rpartition("/")[0], headers=front.bearer)).status_code >= 400


async def test_a_session_lists_and_calls_and_ends(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin()
        listed = message_of(await front.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, id))
        assert [tool["name"] for tool in listed["result"]["tools"]] == ["write", "read"]
        answer = message_of(await front.post(call(text="hi"), id))
        assert answer["result"]["content"][0]["text"] == '{"text": "hi"}'
        ended = await front.client.delete(front.url, headers={**front.bearer, "mcp-session-id": id})
        assert ended.status_code == 204
        assert (await front.post(call(3), id)).status_code == 404
        await until(lambda: not front.rooms.sessions.links(), within=6 * WITHIN)


async def test_each_session_has_a_server_of_its_own_and_one_bearer_is_one_session(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        ids = [await front.begin(), await front.begin()]
        for id in ids:
            await front.post(call(), id)
        assert len(front.rooms.servers) == 2 and ids[0] != ids[1]
        (session,) = front.rooms.sessions.all()
        assert session.peer.cwd == "/work" and len(session.links) == 2


async def test_two_bearers_of_one_client_are_two_sessions(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        other, guest = front.door.address("desk", "notes", "/elsewhere")
        await front.begin()
        await Front(front.rooms, front.door, other, guest, front.client).begin()
        assert {session.peer.cwd for session in front.rooms.sessions.all()} == {"/work", "/elsewhere"}


async def test_a_session_is_nothing_to_another_bearer(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin()
        other, guest = front.door.address("desk", "notes", "/elsewhere")
        stranger = Front(front.rooms, front.door, other, guest, front.client)
        assert (await stranger.post(call(), id)).status_code == 404
        assert (await front.post(call(), id)).status_code == 200


@pytest.mark.parametrize(
    ("status", "session", "headers"),
    [
        (404, "unknown", {}),
        (400, "", {}),
        (415, "live", {"content_type": "text/plain"}),
        (406, "live", {"accept": "application/json"}),
        (406, "live", {"accept": "text/event-stream;q=1"}),
        (200, "live", {"accept": "*/*"}),
        (200, "live", {"mcp_protocol_version": "2025-06-18"}),
    ],
)
async def test_a_post_that_does_not_fit_is_told_so(
    tmp_path: Path, status: int, session: str, headers: dict[str, str]
) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin() if session == "live" else session
        assert (await front.post(call(), id, **headers)).status_code == status


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        (b"", -32700, "it is not JSON in UTF-8"),
        (b"{", -32700, "it is not JSON in UTF-8"),
        (b"\xff", -32700, "it is not JSON in UTF-8"),
        (b'{"a":1,"a":2}', -32700, "an object has a key twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700, "a number JSON cannot carry"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e309}}', -32700, "a number JSON cannot carry"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}', -32700, "half a surrogate pair"),
        (b"[" * 200 + b"]" * 200, -32700, "deeper than 128 levels"),
        (b"[]", -32600, "the body is no message"),
        (b"7", -32600, "the body is no message"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, "an id that is neither text nor a whole number"),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', -32600, "an id that is neither text nor a whole number"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, "an id that is neither text nor a whole number"),
        (b'{"jsonrpc":"2.0","method":"ping","params":[]}', -32600, "params that are not an object"),
    ],
)
async def test_a_body_that_is_no_message_is_refused_by_name(tmp_path: Path, body: bytes, code: int, why: str) -> None:
    async with fronted(tmp_path) as front:
        response = await front.post(body, await front.begin())
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)
        assert why in response.json()["error"]["message"]


async def test_a_session_is_opened_once_and_answers_nothing_it_was_not_asked(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin()
        again = message_of(await front.post({**INITIALIZE, "id": 7}, id))
        assert "initialize a second time" in again["error"]["message"]
        assert (await front.post({"jsonrpc": "2.0", "id": 9, "result": {}}, id)).status_code == 202
        assert front.rooms.servers == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE"])
async def test_a_method_that_means_nothing_here_is_refused(tmp_path: Path, method: str) -> None:
    async with fronted(tmp_path) as front:
        assert (await front.client.request(method, front.url, headers=front.bearer)).status_code == 405


async def test_an_id_is_taken_until_it_is_answered(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(answer=silent)) as front:
        id = await front.begin()
        async with front.stream("POST", call(7), mcp_session_id=id):
            assert (await front.post(call(7), id)).status_code == 400


async def test_what_a_server_says_about_a_call_comes_on_its_stream(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(answer=silent)) as front:
        id = await front.begin()
        asked = call(7)
        asked["params"]["_meta"] = {"progressToken": "t"}
        async with front.stream("POST", asked, mcp_session_id=id) as events:
            await reached(front)
            progress = {"progressToken": "t", "progress": 1}
            await front.rooms.servers[0].far.say(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress},
                {"jsonrpc": "2.0", "id": 90, "method": "ping"},
                {"jsonrpc": "2.0", "id": 7, "result": {"content": []}},
            )
            assert (await said(events))["params"] == progress
            assert (await said(events))["id"] == 90
            assert (await said(events))["result"] == {"content": []}
            with pytest.raises(EOFError):
                await said(events)


async def test_a_stream_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(answer=silent)) as front:
        id = await front.begin()
        asked = call(7)
        asked["params"]["_meta"] = {"progressToken": 1}
        async with front.stream("POST", asked, mcp_session_id=id) as events:
            first = await anext(events)
            assert (first.data, first.retry) == ("", 1000)
        await reached(front)
        progress = {"jsonrpc": "2.0", "method": "notifications/progress"}
        for step in (1, 2):
            await front.rooms.servers[0].far.say(progress | {"params": {"progressToken": 1, "progress": step}})
        await front.rooms.servers[0].far.say({"jsonrpc": "2.0", "id": 7, "result": {"content": []}})
        async with front.stream("GET", mcp_session_id=id, last_event_id=str(first.id)) as events:
            assert [(await said(events))["params"]["progress"] for _ in range(2)] == [1, 2]
            assert (await said(events))["id"] == 7
        cancelled = [m for m in front.rooms.servers[0].heard if m.get("method") == "notifications/cancelled"]
        assert cancelled == []


async def test_an_event_nobody_was_sent_cannot_be_resumed(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        head = {**front.bearer, "accept": "text/event-stream", "mcp-session-id": await front.begin()}
        response = await front.client.get(front.url, headers={**head, "last-event-id": "9-9"})
        assert response.status_code == 400


async def test_a_cancelled_call_ends_its_stream_and_tells_the_server(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(answer=silent)) as front:
        id = await front.begin()
        async with front.stream("POST", call(7), mcp_session_id=id) as events:
            await reached(front)
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
            assert (await front.post(cancel, id)).status_code == 202
            with pytest.raises(EOFError):
                await said(events)
            assert (await reached(front, "notifications/cancelled"))[0]["params"]["requestId"] == 7


async def test_news_of_a_server_comes_on_the_stream_a_client_opened(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin()
        await front.post(call(), id)
        await front.rooms.servers[0].far.say(
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
        )
        async with front.stream("GET", mcp_session_id=id) as events:
            assert (await said(events))["method"] == "notifications/message"


async def test_a_second_reader_of_a_stream_takes_it_over(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        id = await front.begin()
        await front.post(call(), id)
        async with front.stream("GET", mcp_session_id=id) as old, front.stream("GET", mcp_session_id=id) as new:
            with pytest.raises(EOFError):
                await said(old)
            await front.rooms.servers[0].far.say(
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
            )
            assert (await said(new))["method"] == "notifications/message"


async def test_a_batch_is_taken_in_the_revision_that_had_them_and_in_no_other(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        opening = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": "2025-03-26"}}
        id = (await front.post(opening)).headers["mcp-session-id"]
        await front.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, id)
        async with front.client.stream(
            "POST",
            front.url,
            json=[call(1, a=1), call(2, a=2)],
            headers={**front.bearer, "accept": "application/json, text/event-stream", "mcp-session-id": id},
        ) as response:
            text = (await response.aread()).decode()
        assert response.status_code == 200 and text.count("event: message") == 2
        assert (await front.post([call()], await front.begin())).status_code == 400


async def test_a_handshake_that_is_refused_makes_no_session(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        response = await front.post({**INITIALIZE, "params": {"protocolVersion": "2025-11-25"}})
        assert "mcp-session-id" not in response.headers and "error" in response.json()
        await until(lambda: not front.rooms.sessions.links(), within=6 * WITHIN)


async def test_a_link_that_is_refused_is_told_with_the_way_out(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        front.rooms.registry.set_enabled("notes", "", False)
        for response in (await front.post(INITIALIZE), await front.modern("tools/list")):
            assert response.status_code == 403
            assert "bulkhead enable notes" in response.json()["error"]["message"]


# --- the modern era ---


async def test_modern_requests_share_one_link_and_answer_each_its_own(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(view=MODERN_VIEW, answer=echo)) as front:
        answers = await asyncio.gather(
            *(front.modern("tools/call", {"name": "read", "arguments": {"n": n}}, id=1) for n in range(8))
        )
        assert [message_of(each)["result"]["content"][0]["text"] for each in answers] == [
            f'{{"n": {n}}}' for n in range(8)
        ]
        assert {message_of(each)["id"] for each in answers} == {1}
        assert len(front.rooms.servers) == 1


@pytest.mark.parametrize(
    ("status", "code", "method", "headers"),
    [
        (400, -32020, "tools/list", {"mcp_method": "tools/call"}),
        (400, -32020, "tools/list", {"mcp_protocol_version": "2025-11-25"}),
        (400, -32020, "resources/read", {"mcp_name": "file:///other"}),
        (404, -32601, "initialize", {}),
        (404, -32601, "ping", {}),
        (404, -32601, "nothing/here", {}),
        (200, None, "tools/list", {"mcp_session_id": "ignored"}),
    ],
)
async def test_a_modern_request_that_contradicts_itself_is_refused(
    tmp_path: Path, status: int, code: int | None, method: str, headers: dict[str, str]
) -> None:
    async with fronted(tmp_path, lambda: ToyServer(view=MODERN_VIEW, answer=echo)) as front:
        params = {"uri": "file:///notes/one"} if method == "resources/read" else {}
        response = await front.modern(method, params, **headers)
        assert response.status_code == status
        assert message_of(response).get("error", {}).get("code") == code
        assert front.rooms.servers == []


async def test_a_version_nobody_speaks_is_told_which_are(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        asked = modern("tools/list")
        asked["params"]["_meta"] = {**asked["params"]["_meta"], "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
        response = await front.post(asked, mcp_protocol_version="2099-01-01", mcp_method="tools/list")
        assert response.status_code == 400
        assert response.json()["error"]["code"] == -32022 and MODERN in response.json()["error"]["data"]["supported"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_modern_era_has_nothing_but_post(tmp_path: Path, method: str) -> None:
    async with fronted(tmp_path) as front:
        headers = {**front.bearer, "mcp-protocol-version": MODERN, "accept": "text/event-stream"}
        response = await front.client.request(method, front.url, headers=headers)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_hanging_up_cancels_a_modern_call(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(view=MODERN_VIEW, answer=silent)) as front:
        asked = modern("tools/call", {"name": "read", "arguments": {}})
        headers = {"mcp_protocol_version": MODERN, "mcp_method": "tools/call", "mcp_name": "read"}
        posted = asyncio.ensure_future(front.post(asked, **headers))
        (heard,) = await reached(front)
        posted.cancel()
        (cancel,) = await reached(front, "notifications/cancelled")
        assert cancel["params"]["requestId"] == heard["id"]


async def test_a_subscription_is_told_of_news_until_its_client_hangs_up(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(view=MODERN_VIEW, answer=echo)) as front:
        asked = modern("subscriptions/listen", LISTENING, id="mine")
        headers = {"mcp_protocol_version": MODERN, "mcp_method": "subscriptions/listen"}
        async with front.stream("POST", asked, **headers) as events:
            acknowledged = await said(events)
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "mine"


# --- HTTP+SSE, 2024-11-05 ---


async def test_the_first_transport_by_http_still_works(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        async with front.stream("GET", url=front.url + "/sse") as events:
            place = await anext(events)
            assert place.name == "endpoint"
            url = front.url.partition("/" + front.guest.path)[0] + place.data
            for message in (INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call(5, n=1)):
                assert (await front.client.post(url, json=message, headers=front.bearer)).status_code == 202
            assert (await said(events))["result"]["serverInfo"]["name"] == "notes"
            assert (await said(events))["id"] == 5
        await until(lambda: not front.rooms.sessions.links(), within=6 * WITHIN)
        assert (await front.client.post(url, json=call(6), headers=front.bearer)).status_code == 404


# --- ends ---


async def test_the_end_of_a_link_ends_its_streams_and_its_session(tmp_path: Path) -> None:
    async with fronted(tmp_path, lambda: ToyServer(answer=silent)) as front:
        id = await front.begin()
        async with front.stream("POST", call(7), mcp_session_id=id) as events:
            await reached(front)
            for link in front.rooms.sessions.links():
                link.end("a person said so")
            assert "a person said so" in (await said(events))["error"]["message"]
        await until(lambda: not front.rooms.sessions.links(), within=6 * WITHIN)
        assert (await front.post(call(8), id)).status_code == 404


async def test_a_link_that_needs_a_yes_waits_and_then_goes_on(tmp_path: Path) -> None:
    async with fronted(tmp_path, policy=None, connected=False) as front:
        asked = asyncio.ensure_future(front.begin())
        await until(front.rooms.house.consent.open, within=6 * WITHIN)
        (question,) = front.rooms.house.consent.open()
        assert question.kind == "connection" and question.client == "desk"
        front.rooms.house.consent.answer(question.id, question.digest, allowed=True, lifetime="always", by="me")
        id = await asked
        await until(lambda: all(link.admitted for link in front.rooms.sessions.links()), within=6 * WITHIN)
        listed = message_of(await front.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, id))
        assert len(listed["result"]["tools"]) == 2


async def test_who_is_behind_the_connection_may_answer_no_question_of_ours(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        await front.begin()
        (session,) = front.rooms.sessions.all()
        assert session.peer.uid == front.rooms.house.owner and session.peer.root_pid == os.getpid()
        assert (session.peer.root_pid, session.peer.root_started) in front.rooms.sessions.applications


async def test_nothing_is_opened_while_the_daemon_stops(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        await front.rooms.sessions.close()
        assert (await front.post(INITIALIZE)).status_code == 403
        with pytest.raises(DeskError, match="stopping"):
            front.rooms.sessions.open_by_bearer("desk", "notes", "x", ME, (0, 0))


async def test_a_denied_call_comes_back_as_an_answer_of_ours(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        front.rooms.registry.set_enabled("notes", "read", False)
        for link in front.rooms.sessions.links():
            link.server_changed(front.rooms.registry.server("notes"))
        answer = message_of(await front.post(call(), await front.begin()))
        assert answer["result"]["isError"] and Decision(Verdict.DENY, "disabled", "").rule in str(answer)
        assert front.rooms.servers == []
