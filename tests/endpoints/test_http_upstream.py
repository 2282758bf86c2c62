"""Servers that are reached by HTTP: a real one of the SDK in both eras, and toys that do what real ones may."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer

from broker.endpoints.http_reach import Reach, Unreachable, asked, origin_of
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply, Streamed
from broker.endpoints.http_upstream import RemoteInstance
from broker.errors import SandboxError
from broker.protocol.sse import write
from tests.peers import FarEnd
from tests.protocol.stage import INITIALIZE, META
from tests.waiting import WITHIN, until

Json = dict[str, Any]
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
OPENED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "toy", "version": "1"}}
PATIENT = 6 * WITHIN


def listening() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


@asynccontextmanager
async def remote(url: str, **headers: str) -> AsyncIterator[tuple[RemoteInstance, FarEnd]]:
    """An instance and the link's end of it."""
    reach = Reach()
    instance = RemoteInstance(reach, url, headers)
    ends = instance.take_streams()
    far = FarEnd(ends.stdout, ends.stdin)
    try:
        yield instance, far
    finally:
        async with asyncio.timeout(PATIENT):
            await instance.stop()
        far.close()
        os.close(ends.stderr)
        await reach.close()


@asynccontextmanager
async def toy(serve: Callable[[Head, bytes], Awaitable[Answer]]) -> AsyncIterator[str]:
    """A server by HTTP that answers as `serve` says; its address."""
    listener, port = listening()

    def judge(head: Head) -> Callable[[bytes], Awaitable[Answer]]:
        return lambda body: serve(head, body)

    server = HttpServer(judge)
    server.open(listener)
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        await server.close()


def answer(id: Any, result: Json, **headers: str) -> Reply:
    lines = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
    return Reply(200, body, (("content-type", "application/json"), *lines))


def stream(*chunks: bytes) -> Streamed:
    async def events() -> Any:
        for chunk in chunks:
            yield chunk

    return Streamed(events(), (("content-type", "text/event-stream"),))


def ask(id: Any, method: str = "tools/call", **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


# --- a real server ---


@pytest.fixture
async def real() -> AsyncIterator[str]:
    """The SDK's own server, run by uvicorn on this machine."""
    server = MCPServer("real")

    @server.tool()
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    listener, port = listening()
    app = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical", lifespan="on"))
    running = asyncio.ensure_future(app.serve([listener]))
    await until(lambda: app.started, within=PATIENT)
    yield f"http://127.0.0.1:{port}/mcp"
    app.should_exit = True
    async with asyncio.timeout(PATIENT):
        await running


async def test_a_real_server_is_asked_in_the_legacy_era(real: str) -> None:
    async with remote(real) as (instance, far):
        await far.say(INITIALIZE)
        opened = await far.hear(PATIENT)
        assert opened["result"]["serverInfo"]["name"] == "real"
        await far.say(INITIALIZED, ask(2, "tools/list"), ask(3, name="double", arguments={"number": 21}))
        heard = {message["id"]: message for message in [await far.hear(PATIENT), await far.hear(PATIENT)]}
        assert heard[2]["result"]["tools"][0]["name"] == "double"
        assert heard[3]["result"]["content"][0]["text"] == "42"
        assert instance.alive and not instance.ending


async def test_a_real_server_is_asked_in_the_modern_era(real: str) -> None:
    async with remote(real) as (_, far):
        await far.say(ask(1, "server/discover", _meta=META))
        assert "2026-07-28" in (await far.hear(PATIENT))["result"]["supportedVersions"]
        await far.say(ask(2, name="double", arguments={"number": 4}, _meta=META))
        assert (await far.hear(PATIENT))["result"]["content"][0]["text"] == "8"


# --- what servers may do ---


async def test_headers_that_were_given_go_with_every_request() -> None:
    seen: list[list[str]] = []

    async def serve(head: Head, body: bytes) -> Answer:
        seen.append(head.all("authorization"))
        return answer(json.loads(body)["id"], OPENED) if b'"id"' in body else Reply(202 if body else 405)

    async with toy(serve) as url, remote(url, authorization="Bearer mine") as (_, far):
        await far.say(INITIALIZE)
        await far.hear(PATIENT)
        await far.say(INITIALIZED, ask(2, "tools/list"))
        await far.hear(PATIENT)
        await until(lambda: len(seen) == 4, within=PATIENT)
    assert seen == [["Bearer mine"]] * len(seen)


async def test_an_expired_session_is_begun_anew_and_the_request_made_again() -> None:
    sessions: list[str] = []
    ended: list[str] = []

    async def serve(head: Head, body: bytes) -> Answer:
        session = head.one("mcp-session-id")
        if head.method == "DELETE":
            ended.append(session or "")
            return Reply(204)
        if head.method == "GET":
            return Reply(405)
        message = json.loads(body)
        if message["method"] == "initialize":
            sessions.append(f"s{len(sessions) + 1}")
            return answer(message["id"], OPENED, mcp_session_id=sessions[-1])
        if session != sessions[-1] or (message["method"] == "tools/call" and len(sessions) == 1):
            return Reply(404)
        return answer(message["id"], {"by": session}) if "id" in message else Reply(202)

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(INITIALIZE)
        await far.hear(PATIENT)
        await far.say(INITIALIZED, ask(2))
        heard = [await far.hear(PATIENT) for _ in range(4)]
        assert [message.get("method") for message in heard[:3]] == [
            f"notifications/{part}/list_changed" for part in ("tools", "prompts", "resources")
        ]
        assert heard[3]["result"] == {"by": "s2"}
    assert ended == ["s2"]


async def test_an_answer_that_broke_off_is_resumed() -> None:
    asked_from: list[str | None] = []

    async def serve(head: Head, body: bytes) -> Answer:
        if head.method == "GET":
            asked_from.append(head.one("last-event-id"))
            return stream(write(json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"late": True}}), id="b"))
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}}
        return stream(write("", id="a", retry=1), write(json.dumps(progress), id="a2", retry=1))

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert (await far.hear(PATIENT))["method"] == "notifications/progress"
        assert (await far.hear(PATIENT))["result"] == {"late": True}
    assert asked_from == ["a2"]


async def test_an_answer_that_broke_off_for_good_is_an_error_and_no_silence() -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return stream(write("{}", name="other"))

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert "broke off" in (await far.hear(PATIENT))["error"]["message"]


async def test_a_cancelled_modern_call_is_hung_up_and_not_told() -> None:
    posts: list[str] = []
    hung_up = asyncio.Event()

    async def serve(_head: Head, body: bytes) -> Answer:
        posts.append(json.loads(body)["method"])
        try:
            await asyncio.Event().wait()
        finally:
            hung_up.set()
        return Reply(202)

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        await until(lambda: posts, within=PATIENT)
        await far.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        async with asyncio.timeout(PATIENT):
            await hung_up.wait()
    assert posts == ["tools/call"]


async def test_a_sign_in_is_named_and_ends_the_instance() -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return Reply(401, b"", (("www-authenticate", "Bearer"),))

    async with toy(serve) as url, remote(url) as (instance, far):
        await far.say(INITIALIZE)
        assert await far.hear_line(PATIENT) == b""
        assert "needs a sign-in" in instance.ending


@pytest.mark.parametrize("method", ["initialize", "server/discover"])
async def test_a_server_that_is_not_there_ends_the_instance_with_a_reason(method: str) -> None:
    listener, port = listening()
    listener.close()
    async with remote(f"http://127.0.0.1:{port}/mcp") as (instance, far):
        await far.say(ask(1, method, _meta=META))
        assert await far.hear_line(PATIENT) == b""
        assert "could not be reached" in instance.ending


async def test_an_era_a_server_does_not_speak_is_a_refusal_of_that_era() -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return Reply(404)

    async with toy(serve) as url, remote(url) as (instance, far):
        await far.say(ask(1, "server/discover", _meta=META))
        assert (await far.hear(PATIENT))["error"]["code"] == -32601
        assert instance.alive


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/mcp", "http://localhost/mcp", "https://example.com/", "//x/"])
async def test_a_redirect_to_another_place_is_not_followed(place: str) -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return Reply(307, b"", (("location", place),))

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert "nobody agreed to" in (await far.hear(PATIENT))["error"]["message"]


@pytest.mark.parametrize(("status", "follows"), [(307, True), (308, True), (302, False), (303, False)])
async def test_a_redirect_within_the_origin_keeps_the_message_or_is_not_followed(status: int, follows: bool) -> None:
    async def serve(head: Head, body: bytes) -> Answer:
        if head.target == "/mcp":
            return Reply(status, b"", (("location", "/there"),))
        return answer(json.loads(body)["id"], {})

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert ("result" in await far.hear(PATIENT)) is follows


async def test_a_server_that_goes_round_in_circles_is_left() -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return Reply(307, b"", (("location", "/mcp"),))

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert "circles" in (await far.hear(PATIENT))["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b'{"jsonrpc":"2.0","id":7,"id":8,"result":{}}', b"[" * 500, b" " * (4 * 1024 * 1024 + 1)],
)
async def test_an_answer_that_is_none_is_an_error_of_ours(body: bytes) -> None:
    async def serve(_head: Head, _body: bytes) -> Answer:
        return Reply(200, body, (("content-type", "application/json"),))

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(ask(7, _meta=META, name="x"))
        assert (await far.hear(PATIENT))["error"]["message"].startswith("Bulkhead: ")


async def test_the_first_transport_by_http_is_spoken_where_nothing_newer_is() -> None:
    said: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(head: Head, body: bytes) -> Answer:
        if head.method == "GET":

            async def events() -> Any:
                yield write("/messages?session=1", name="endpoint")
                while True:
                    yield await said.get()

            return Streamed(events(), (("content-type", "text/event-stream"),))
        if head.target != "/messages?session=1":
            return Reply(405)
        message = json.loads(body)
        if "id" in message:
            result = OPENED if message["method"] == "initialize" else {"ok": True}
            said.put_nowait(write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})))
        return Reply(202)

    async with toy(serve) as url, remote(url) as (_, far):
        await far.say(INITIALIZE)
        assert (await far.hear(PATIENT))["result"]["serverInfo"]["name"] == "toy"
        await far.say(INITIALIZED, ask(2))
        assert (await far.hear(PATIENT))["result"] == {"ok": True}


# --- where it may go ---


@pytest.mark.parametrize(
    "url",
    ["http://example.com/mcp", "ftp://example.com", "https://u:p@example.com", "https://0x7f.1/", "https:///x", "x"],
)
def test_an_address_that_is_not_encrypted_or_not_clear_is_none(url: str) -> None:
    with pytest.raises(SandboxError):
        origin_of(url)


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest", "https://metadata.google.internal/", "https://0.0.0.0/"]
)
async def test_what_hands_out_credentials_is_never_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "169.254.169.254")
    with pytest.raises(Unreachable, match="which"):
        await look(url)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "192.168.1.1", "169.254.169.254", "100.64.0.1"])
async def test_a_public_name_that_leads_near_the_user_is_not_followed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(Unreachable, match="which"):
        await look("https://mcp.example.com/")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(*_args: Any, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def look(url: str) -> None:
    reach = Reach()
    try:
        async with asked(reach.client(origin_of(url)), "GET", url, {}):
            pass
    finally:
        await reach.close()
