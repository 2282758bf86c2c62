"""Walls and limits on live links: what is refused, what lists show, and what ends."""

import json
from pathlib import Path
from typing import Final

import pytest

from broker.errors import ConfigError, SandboxError
from broker.joins import agree_to_joins
from broker.model import ClientName, Fact, Grants, JsonObject, Origin, SessionId
from broker.policy.walls import Wall
from tests.house import Rooms, housed, pin_server
from tests.peers import FarEnd, ToyServer
from tests.protocol.stage import INITIALIZE, INITIALIZED, call, refusal_of, request, text
from tests.test_judge import reply
from tests.waiting import until

WALL: Final = Wall("money", {"bank": ("bank",), "web": ("notes", "mail")})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def enter(rooms: Rooms, server: str) -> FarEnd:
    _, far = rooms.enter(server)
    await far.say(INITIALIZE, INITIALIZED)
    await reply(far, "open")
    return far


def walled(rooms: Rooms) -> None:
    pin_server(rooms, "bank")
    pin_server(rooms, "mail")
    rooms.house.walls.add_wall(WALL)


@pytest.mark.claim("C86")
async def test_a_session_that_read_on_one_side_is_refused_the_other_and_that_is_on_record(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        walled(rooms)
        bank, notes = await enter(rooms, "bank"), await enter(rooms, "notes")
        await bank.say(call(1))
        assert "result" in await reply(bank, 1)
        await notes.say(call(1))
        assert "refused by Bulkhead (R2): this session has read from bank" in refusal_of(await reply(notes, 1))
        assert len(rooms.servers) == 1, "the other server was not even started"
        rooms.house.audit.append(Origin("desk"), Fact("link-closed", "person", "session.new", "desk"))
        rooms.sessions.new_session("desk")
        again = await enter(rooms, "notes")
        await again.say(call(1))
        assert "result" in await reply(again, 1)
        rules = [entry["rule"] for entry in rooms.receipts() if entry["verdict"] == "deny"]
        assert rules == ["R2"]
        for far in (bank, notes, again):
            far.close()


async def test_of_two_calls_at_once_the_later_result_is_kept_from_meeting_the_first(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=lambda: ToyServer(answer=lambda _: None)) as rooms:
        walled(rooms)
        bank, notes = await enter(rooms, "bank"), await enter(rooms, "notes")
        await bank.say(call(1))
        await until(lambda: rooms.servers and _called(rooms.servers[0]))
        await notes.say(call(1))
        await until(lambda: len(rooms.servers) == 2 and _called(rooms.servers[1]))
        first, second = rooms.servers
        await first.far.say(text(1, "the balance"))
        assert "result" in await reply(bank, 1)
        await second.far.say(text(1, "a page"))
        await second.far.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "a page"}})
        kept = json.dumps(await reply(notes, 1))
        assert "refused by Bulkhead (R2): this session has read from bank" in kept and "a page" not in kept
        await notes.say(request(2, "ping"))
        assert (await notes.hear())["id"] == 2, "and the news went nowhere"
        bank.close()
        notes.close()


def _called(server: ToyServer) -> bool:
    return any(message.get("method") == "tools/call" for message in server.heard)


async def test_a_launch_that_would_open_a_way_through_a_wall_is_refused_without_a_question(tmp_path: Path) -> None:
    shared = Path("/data/shared")
    async with housed(tmp_path) as rooms:
        pin_server(rooms, "bank", grants=Grants(read=(Path("/data/private"),), write=(shared,)))
        pin_server(rooms, grants=Grants(read=(shared,), hosts=("api.example.com",)))
        rooms.house.walls.add_wall(WALL)

        async def record(_: Fact) -> None:
            raise AssertionError("nobody is asked")

        with pytest.raises(SandboxError, match=r"R2.*the wall money stands, and what bank reads could leave"):
            await agree_to_joins(
                rooms.house, ClientName("desk"), SessionId("s"), rooms.registry.server("notes"), record
            )


def shown(answer: JsonObject, field: str) -> list[str]:
    return [item["name"] for item in answer["result"][field]]


@pytest.mark.claim("C87")
async def test_a_limited_client_is_shown_and_may_call_its_named_tools_alone(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        rooms.house.walls.add_limit(ClientName("desk"), ("notes/read",), SessionId(""))
        far = await enter(rooms, "notes")
        await far.say(request(1, "tools/list"), request(2, "prompts/list"), request(3, "resources/list"))
        assert shown(await reply(far, 1), "tools") == ["read"]
        assert shown(await reply(far, 2), "prompts") == [] and shown(await reply(far, 3), "resources") == []
        await far.say(call(4))
        assert "refused by Bulkhead (limit): desk is limited to other tools" in refusal_of(await reply(far, 4))
        assert rooms.servers == []
        pin_server(rooms, "mail")
        with pytest.raises(ConfigError, match="desk is limited to other tools"):
            rooms.enter("mail")
        far.close()


async def test_a_session_that_is_limited_is_told_and_others_of_its_client_are_not(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, "mail")
        notes, mail = await enter(rooms, "notes"), await enter(rooms, "mail")
        (session,) = rooms.sessions.all()
        rooms.house.walls.add_limit(ClientName("desk"), ("notes/read",), session.id)
        for link in rooms.sessions.links():
            link.walls_changed()
        await until(lambda: [link.server.name for link in rooms.sessions.links()] == ["notes"])
        news = [(await notes.hear())["method"] for _ in range(3)]
        assert news == [f"notifications/{part}/list_changed" for part in ("tools", "prompts", "resources")]
        await notes.say(call(1))
        assert "this session is limited to other tools" in refusal_of(await reply(notes, 1))
        rooms.sessions.end_session(session.id)
        assert rooms.house.walls.current.limits == ()
        again = await enter(rooms, "mail")
        for far in (notes, mail, again):
            far.close()
