"""A house whose door by HTTP is open, and a client of it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from broker.api.http_door import HttpDoor
from broker.guest_book import GuestBook
from broker.protocol.http_gate import Guest
from broker.protocol.sse import Event, EventDecoder
from tests.house import OPEN, Rooms, housed
from tests.peers import ToyServer, echo
from tests.protocol.stage import INITIALIZE, META
from tests.waiting import WITHIN

BOTH: Final = "application/json, text/event-stream"
MODERN: Final = "2026-07-28"
Json = dict[str, Any]


@dataclass
class Front:
    """An open door, and one guest's own address."""

    rooms: Rooms
    door: HttpDoor
    url: str
    guest: Guest
    client: httpx2.AsyncClient

    @property
    def sign_in(self) -> str:
        """An address of the same client for an application that signs in."""
        return self.door.address("desk", "notes", "/work", signs_in=True)[0]

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.guest.bearer}"}

    async def post(self, message: Any, session: str = "", **headers: str) -> httpx2.Response:
        """One post, answered whole."""
        head = {**self.bearer, "accept": BOTH, "content-type": "application/json", **_dashed(headers)}
        if session:
            head["mcp-session-id"] = session
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.client.post(self.url, content=body, headers=head)

    async def modern(self, method: str, params: Json | None = None, *, id: Any = 1, **headers: str) -> httpx2.Response:
        """One request of the modern era, headers and all."""
        made = modern(method, params, id=id)
        head = {"mcp-protocol-version": MODERN, "mcp-method": method}
        name = (params or {}).get("name", (params or {}).get("uri"))
        return await self.post(made, **{**head, **({"mcp-name": name} if name else {}), **_dashed(headers)})

    async def begin(self) -> str:
        """A session of the legacy era, its handshake done; its id."""
        opened = await self.post(INITIALIZE)
        assert opened.status_code == 200, opened.text
        id: str = opened.headers["mcp-session-id"]
        done = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, id)
        assert done.status_code == 202
        return id

    @asynccontextmanager
    async def stream(
        self, method: str, message: Json | None = None, url: str = "", **headers: str
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """A response that goes on, event by event."""
        head = {**self.bearer, "accept": BOTH, **_dashed(headers)}
        content = None
        if message is not None:
            content, head["content-type"] = json.dumps(message).encode(), "application/json"
        async with self.client.stream(method, url or self.url, content=content, headers=head) as response:
            assert response.status_code == 200, (response.status_code, await response.aread())
            assert response.headers["content-type"] == "text/event-stream"
            yield _events(response)


@asynccontextmanager
async def fronted(
    folder: Path,
    toy: Callable[[], ToyServer] = lambda: ToyServer(answer=echo),
    *,
    policy: bytes | None = OPEN,
    connected: bool = True,
    server: str = "notes",
) -> AsyncIterator[Front]:
    """A house with an open door to `server`; `desk` may use `notes` if it is `connected`."""
    async with housed(folder, toy=toy, policy=policy) as rooms:
        desk, notes = rooms.registry.clients.find("desk"), rooms.registry.server("notes")
        if connected:
            rooms.house.grants.connect(desk.name, notes.name, rooms.house.policy.current)
        door = HttpDoor(GuestBook(rooms.paths.config), rooms.house, rooms.sessions)
        door.hold()
        url, guest = door.address("desk", server, "/work")
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=6 * WITHIN) as client:
                yield Front(rooms, door, url, guest, client)
        finally:
            await rooms.sessions.close()
            await door.close()


async def said(events: AsyncIterator[Event]) -> Json:
    """The next message of a stream; events without one are passed over."""
    async with asyncio.timeout(6 * WITHIN):
        async for event in events:
            if event.data:
                message: Json = json.loads(event.data)
                return message
    raise EOFError


def message_of(response: httpx2.Response) -> Json:
    """The last message of a whole response, however it was sent."""
    if response.headers["content-type"] == "application/json":
        found: Json = response.json()
        return found
    last: Json = json.loads([event for event in EventDecoder("server").feed(response.content) if event.data][-1].data)
    return last


def call(id: Any = 2, tool: str = "read", **arguments: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def modern(method: str, params: Json | None = None, *, id: Any = 1) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**(params or {}), "_meta": META}}


def raw(url: str, data: bytes) -> bytes:
    """Everything that comes back for these very bytes."""
    port = httpx2.URL(url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=6 * WITHIN) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
    return heard


async def _events(response: httpx2.Response) -> AsyncIterator[Event]:
    decoder = EventDecoder("server")
    async for data in response.aiter_bytes():
        for event in decoder.feed(data):
            yield event


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
