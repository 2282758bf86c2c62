"""A server asks for a page: a person sees the whole address, and only a yes opens it, once."""

import asyncio
from pathlib import Path

import pytest

from broker.model import ClientName, Fact, ServerName
from broker.pages import Pages
from tests.house import Rooms, housed
from tests.waiting import until

ADDRESS = "https://far.example/authorize?client_id=abc"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asking:
    """A link's pages, with an opener that writes down what it opened."""

    def __init__(self, rooms: Rooms) -> None:
        self.opened: list[str] = []
        self.facts: list[Fact] = []
        self.rooms = rooms
        session = next(iter(rooms.sessions.all())).id
        self.pages = Pages(
            rooms.house, ClientName("desk"), session, ServerName("notes"), self.facts.append, self._durably
        )
        self.pages.opener = self._open

    async def _durably(self, fact: Fact) -> None:
        assert self.opened == []  # on record before it is done
        self.facts.append(fact)

    async def _open(self, address: str) -> str:
        self.opened.append(address)
        return ""

    async def answered(self, allowed: bool) -> str:
        desk = self.rooms.house.consent
        await until(desk.open)
        (question,) = desk.open()
        desk.answer(question.id, question.digest, allowed=allowed, by="person (process 1)")
        await until(lambda: any(fact.kind == "answer" for fact in self.facts))
        return f"{question.kind}: {question.what}: {question.detail}"


async def asking(rooms: Rooms) -> Asking:
    rooms.enter()
    await until(rooms.sessions.all)
    return Asking(rooms)


async def test_a_yes_opens_exactly_the_address_that_was_shown(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        one = await asking(rooms)
        one.pages(ADDRESS)
        assert await one.answered(allowed=True) == f"open: open a page of far.example in your browser: {ADDRESS}"
        await until(lambda: one.opened)
        assert one.opened == [ADDRESS]


async def test_a_no_opens_nothing_and_another_one_meanwhile_is_let_go(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        one = await asking(rooms)
        one.pages(ADDRESS)
        await until(rooms.house.consent.open)
        one.pages("https://other.example/")
        assert [str(fact.decision.reason) for fact in one.facts if fact.decision] == [
            "a page was not opened: another one is being asked about"
        ]
        await one.answered(allowed=False)
        await asyncio.sleep(0)
        assert one.opened == []


async def test_what_is_no_address_is_recorded_and_asks_nobody(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        one = await asking(rooms)
        one.pages("file:///etc/passwd")
        assert rooms.house.consent.open() == ()
        assert [fact.method for fact in one.facts] == ["open"] and "passwd" not in str(one.facts)


async def test_the_question_goes_with_the_link(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        one = await asking(rooms)
        one.pages(ADDRESS)
        await until(rooms.house.consent.open)
        one.pages.close()
        await until(lambda: not rooms.house.consent.open())
        assert one.opened == []
