"""Before a start: what became known about a pinned closure waits for a person, and malware for nobody."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.model import Question
from broker.trust.advisories import Intake
from broker.trust.osv import read_record
from tests.house import OPEN, Rooms, housed
from tests.protocol.stage import call
from tests.test_links import opened, reply
from tests.trust.advisory_examples import advisory, closure
from tests.waiting import until

pytestmark = pytest.mark.anyio
WEAK = advisory("GHSA-aaaa", "left-pad", "1.3.0")
OBSERVING = OPEN.replace(b"version = 1", b"version = 1\nholds = false")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def weaken(rooms: Rooms, accepted: tuple[str, ...] = ()) -> None:
    """The server `notes` consists of a package that an advisory is about."""
    pin = rooms.registry.pin("notes")
    assert pin is not None
    artifact = replace(pin.artifact, packages=closure(("left-pad", "1.3.0")).packages)
    rooms.registry.put_pin(replace(pin, artifact=artifact, accepted=accepted), rooms.registry.catalog("notes"))
    rooms.house.advisories.file.parent.mkdir(exist_ok=True)
    intake = Intake(rooms.house.advisories.file)
    intake.add([read_record(json.dumps(WEAK).encode())])
    intake.close()


async def asked(rooms: Rooms) -> Question:
    await until(lambda: rooms.house.consent.open())
    (question,) = rooms.house.consent.open()
    assert question.kind == "advisory"
    assert question.evidence == ("left-pad 1.3.0 has a known vulnerability: GHSA-aaaa about left-pad",)
    assert rooms.spawned == []
    return question


async def test_a_known_vulnerability_asks_before_a_start_and_a_yes_holds_for_later_ones(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        weaken(rooms)
        for number in (1, 2):
            far = await opened(rooms)
            await far.say(call(number))
            if number == 1:
                question = await asked(rooms)
                rooms.house.consent.answer(question.id, question.digest, allowed=True, by="person")
            assert "result" in await reply(far, number)
            far.close()
        pin = rooms.registry.pin("notes")
        assert pin is not None and pin.accepted == ("GHSA-aaaa",)


async def test_a_no_starts_nothing_and_switches_the_server_off(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        weaken(rooms)
        far = await opened(rooms)
        await far.say(call(1))
        question = await asked(rooms)
        rooms.house.consent.answer(question.id, question.digest, allowed=False, by="person")
        assert "notes was not started: left-pad 1.3.0" in json.dumps(await reply(far, 1))
        assert rooms.spawned == [] and not rooms.registry.server("notes").enabled
        far.close()


async def test_no_answer_starts_nothing_and_leaves_the_server_as_it_is(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        weaken(rooms)
        far = await opened(rooms)
        await far.say(call(1))
        rooms.house.consent.withdraw((await asked(rooms)).id)
        assert "notes was not started" in json.dumps(await reply(far, 1))
        assert rooms.spawned == [] and rooms.registry.server("notes").enabled
        far.close()


@pytest.mark.parametrize("policy", [OPEN, OBSERVING])
async def test_what_was_agreed_to_or_is_only_observed_is_not_asked_about(tmp_path: Path, policy: bytes) -> None:
    async with housed(tmp_path, policy=policy) as rooms:
        weaken(rooms, accepted=("GHSA-aaaa",) if policy is OPEN else ())
        far = await opened(rooms)
        await far.say(call(1))
        assert "result" in await reply(far, 1)
        assert rooms.house.consent.open() == ()
        far.close()
