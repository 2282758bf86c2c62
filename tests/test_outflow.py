"""R8 at work: what a server sends by itself waits for a person where it carries private text of another server."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from broker.flow.labels import UNLABELLED
from broker.model import Lifetime, ServerName
from broker.outflow import Outflow
from broker.policy.store import shipped
from broker.sandbox.egress.leaving import Outgoing
from tests.house import Rooms, housed
from tests.protocol.stage import call
from tests.test_judge import mailbox, opened, reply
from tests.waiting import until

SECRET: Final = "the plan of ours says that we leave in June"
SENT: Final = Outgoing("api.far.example", "POST", "https://api.far.example/v1?key=1", SECRET.encode())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def started(rooms: Rooms) -> Outflow:
    """A server that runs, in a session that has read something private of another one."""
    far = await opened(rooms)
    await far.say(call(1, text="what is new"))
    await reply(far, 1)
    (session,) = rooms.sessions.all()
    labels = UNLABELLED.of("tools/call", "read_file")
    rooms.house.ledgers.note(session.id, ServerName("files"), "tools/call", "read_file", labels, {"text": SECRET})
    assert isinstance(rooms.bodies, Outflow)
    return rooms.bodies


async def answer(rooms: Rooms, allowed: bool, lifetime: Lifetime = "once") -> str:
    desk = rooms.house.consent
    await until(desk.open)
    (question,) = desk.open()
    desk.answer(question.id, question.digest, allowed=allowed, lifetime=lifetime, by="person (process 1)")
    return f"{question.kind}: {question.what}: {question.why}: {question.evidence}: {question.detail}"


async def test_a_request_with_private_text_of_another_server_waits_for_a_person(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        assert await outflow(Outgoing("api.far.example", "POST", "https://api.far.example/", b"hello")) == ""
        leaving = asyncio.create_task(outflow(SENT))
        said = await answer(rooms, allowed=False)
        assert said.startswith("egress: let notes send POST to api.far.example: R8: ")
        assert "files call" in said and "June" not in said
        assert "denied by person" in await leaving
        record = [entry for entry in rooms.receipts() if entry["kind"] == "answer" and entry["method"] == "egress"]
        assert [entry["body"]["allowed"] for entry in record] == [False]


async def test_a_yes_for_the_session_is_for_that_host_and_those_reads(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        leaving = asyncio.create_task(outflow(SENT))
        await answer(rooms, allowed=True, lifetime="session")
        assert await leaving == ""
        assert await outflow(Outgoing("api.far.example", "PUT", "https://api.far.example/2", SECRET.encode())) == ""
        elsewhere = asyncio.create_task(outflow(Outgoing("other.example", "PUT", "//other.example/", SECRET.encode())))
        await answer(rooms, allowed=False)
        assert await elsewhere != ""


async def test_a_yes_for_once_is_asked_again_and_whoever_gives_up_withdraws(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        leaving = asyncio.create_task(outflow(SENT))
        await answer(rooms, allowed=True)
        assert await leaving == ""
        again = asyncio.create_task(outflow(SENT))
        await until(rooms.house.consent.open)
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
        assert rooms.house.consent.open() == ()


async def test_the_name_of_a_host_can_carry_it_too(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        name = f"{SECRET.replace(' ', '-').lower()}.far.example"
        leaving = asyncio.create_task(outflow(Outgoing(name, "a lookup", f"//{name}")))
        await answer(rooms, allowed=False)
        assert await leaving != ""


async def test_the_strictest_policy_asks_nobody(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        rooms.house.policy.use(shipped("strict"), "strict")
        assert "strict" in await outflow(SENT)
        assert rooms.house.consent.open() == ()


async def test_a_policy_that_holds_nothing_lets_it_go(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        rooms.house.policy.use(shipped("observe"), "observe")
        assert await outflow(SENT) == ""


async def test_what_was_let_into_the_server_may_leave_it(tmp_path: Path) -> None:
    async with housed(tmp_path, toy=mailbox) as rooms:
        outflow = await started(rooms)
        provenance = rooms.house.ledgers.provenance(rooms.sessions.all()[0].id)
        marks = provenance.trace((SECRET,), (ServerName("notes"), ""), leaves=True)[0].marks
        outflow._let_in = lambda: marks
        assert await outflow(SENT) == ""
