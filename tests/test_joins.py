"""A launch that would join what reads private data with what can send it out waits for a person."""

import json
from pathlib import Path

import pytest

from broker.model import Grants
from tests.house import OPEN, Rooms, housed, pin_server
from tests.protocol.stage import call
from tests.test_links import opened, reply
from tests.waiting import until

pytestmark = pytest.mark.anyio
OUT = Path("/data/out")
WAY = "what writer reads could leave through notes: writer to notes through /data/out"
STRICT = OPEN.replace(b'name = "open"', b'name = "strict"')


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def join(rooms: Rooms) -> None:
    pin_server(rooms, grants=Grants(read=(OUT,), hosts=("api.example.com",)))
    pin_server(rooms, "writer", grants=Grants(read=(Path("/data/private"),), write=(OUT,)))


def answer(rooms: Rooms, allowed: bool) -> None:
    (question,) = rooms.house.consent.open()
    assert (question.kind, question.evidence) == ("launch", (WAY,))
    rooms.house.consent.answer(question.id, question.digest, allowed=allowed, by="person")


@pytest.mark.claim("C37")
async def test_a_launch_that_joins_servers_waits_for_a_yes_which_holds_for_later_ones(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        join(rooms)
        far = await opened(rooms)
        await far.say(call(1))
        await until(lambda: rooms.house.consent.open())
        assert rooms.spawned == []
        answer(rooms, True)
        assert "result" in await reply(far, 1)
        again = await opened(rooms)
        await again.say(call(2))
        assert "result" in await reply(again, 2)
        far.close()
        again.close()
    receipts = json.dumps(rooms.receipts())
    assert WAY in receipts and '"allowed": true' in receipts


async def test_a_no_starts_nothing_and_says_which_way_would_have_been_opened(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        join(rooms)
        far = await opened(rooms)
        await far.say(call(1))
        await until(lambda: rooms.house.consent.open())
        answer(rooms, False)
        assert f"notes was not started: {WAY}" in json.dumps(await reply(far, 1))
        assert rooms.spawned == []
        far.close()


async def test_the_strictest_policy_refuses_it_without_a_question(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=STRICT) as rooms:
        join(rooms)
        far = await opened(rooms)
        await far.say(call(1))
        assert "the policy strict never joins" in json.dumps(await reply(far, 1))
        assert rooms.spawned == [] and rooms.house.consent.open() == ()
        far.close()


async def test_servers_that_share_nothing_start_without_a_question(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, grants=Grants(read=(Path("/data/other"),)))
        pin_server(rooms, "writer", grants=Grants(read=(Path("/data/private"),), write=(OUT,)))
        far = await opened(rooms)
        await far.say(call(1))
        assert "result" in await reply(far, 1)
        far.close()
