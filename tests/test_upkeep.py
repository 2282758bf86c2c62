"""What becomes known after a yes ends what runs, or asks; is on record once; and never leaves this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.audit.verify import verify
from broker.model import Question, ServerName
from broker.pin import Interpreter, LaunchRequest, Pin, PinnedArtifact
from broker.protocol.catalog import Catalog
from broker.registry import Registry, Server
from broker.root_book import RootBook
from broker.trust.advisories import Advisories, Intake
from broker.trust.osv import read_record
from broker.upkeep import Sources, Upkeep
from tests.house import Rooms, housed
from tests.trust.advisory_examples import advisory, archive, closure
from tests.waiting import until

pytestmark = pytest.mark.anyio
BAD = advisory("MAL-2026-7", "postmark-mcp", "1.0.16")
WEAK = advisory("GHSA-aaaa", "left-pad", "1.3.0")
WEAKER = advisory("GHSA-bbbb", "left-pad", "1.3.0")
PADS = ServerName("pads")


class FakeLink:
    """A live link: what it was ended with."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def end(self, reason: str) -> None:
        self.reasons.append(reason)


class House:
    """Two pinned servers, each with a live link."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.registry: Registry = rooms.registry
        self.advisories: Advisories = rooms.house.advisories
        self.links = {"mail": FakeLink(), "pads": FakeLink()}
        self.roots = RootBook(rooms.agreed, rooms.paths.data / "roots")
        ended = self.links.__getitem__
        self.upkeep = Upkeep(rooms.house, Sources(rooms.agreed), lambda name: [ended(name)], self.roots)
        self.pin("mail", closure(("postmark-mcp", "1.0.16")))
        self.pin("pads", closure(("left-pad", "1.3.0")))

    def pin(self, name: str, artifact: PinnedArtifact) -> None:
        whole = replace(artifact, tree="a" * 64, entry="i.js", interpreter=Interpreter(Path("/n"), "20", "b" * 64))
        launch = LaunchRequest(("npx", artifact.name), "npx", "npm", artifact.name)
        self.registry.put_pin(Pin(ServerName(name), "2026-01-01", launch, whole), Catalog({}))
        self.registry.put_server(Server(ServerName(name), launch.argv, "2026-01-01"))

    def know(self, *records: dict[str, object]) -> None:
        self.advisories.file.parent.mkdir(exist_ok=True)
        intake = Intake(self.advisories.file)
        intake.add(read_record(json.dumps(record).encode()) for record in records)
        intake.close()

    async def asked(self, *ids: str) -> Question:
        """The one question that is open: about exactly these advisories."""
        wanted = [list(ids)]
        await until(lambda: [[line.split()[-3] for line in each.evidence] for each in self.questions] == wanted)
        return self.questions[0]

    @property
    def questions(self) -> tuple[Question, ...]:
        return self.rooms.house.consent.open()

    async def answer(self, question: Question, allowed: bool) -> None:
        self.rooms.house.consent.answer(question.id, question.digest, allowed=allowed, by="person (process 1)")
        wanted = json.dumps(question.id)
        await until(lambda: any(wanted in json.dumps(receipt) for receipt in self.rooms.receipts()))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def a_house(folder: Path) -> AsyncIterator[House]:
    async with housed(folder) as rooms:
        house = House(rooms)
        try:
            yield house
        finally:
            house.upkeep.close()


async def test_malware_that_became_known_ends_the_links_of_its_server_alone(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(BAD, WEAK)
        found = await house.upkeep.check_all()
        assert {name: [hit.id for hit in hits] for name, hits in found.items()} == {
            "mail": ["MAL-2026-7"], "pads": ["GHSA-aaaa"],
        }  # fmt: skip
        assert house.links["pads"].reasons == []
        (reason,) = house.links["mail"].reasons
        assert "postmark-mcp 1.0.16" in reason and "MAL-2026-7" in reason


async def test_what_is_known_is_recorded_once_and_the_chain_stays_whole(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(WEAK)
        await house.upkeep.check_all()
        await house.upkeep.check_all()
        said = [each for each in house.rooms.receipts() if each["kind"] == "violation"]
        assert [each["body"]["advisories"] for each in said] == [
            ["left-pad 1.3.0 has a known vulnerability: GHSA-aaaa about left-pad"]
        ]
    assert verify(house.rooms.paths.audit, house.rooms.house.audit.keys.public).ok


async def test_nothing_known_does_nothing(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        assert await house.upkeep.check_all() == {}
        house.know(advisory("GHSA-b", "other", "1.0.0"))
        assert await house.upkeep.check_all() == {}
        assert [link.reasons for link in house.links.values()] == [[], []]


async def test_a_refresh_looks_at_every_pin_at_once(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        (tmp_path / "all.zip").write_bytes(archive(BAD))
        await house.upkeep.refresh(str(tmp_path / "all.zip"), {})
        assert len(house.links["mail"].reasons) == 1


async def test_a_database_that_cannot_be_read_ends_nothing_that_runs_and_stops_no_other_work(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(BAD)
        house.advisories.file.write_bytes(b"nonsense" * 1000)
        assert await house.upkeep.check_all() == {}
        assert house.links["mail"].reasons == []


async def test_the_sources_are_a_document_that_counts_only_as_agreed(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        sources = house.upkeep.sources
        assert sources.all() == ()
        sources.use(["https://example.invalid/npm.zip"])
        (house.rooms.paths.config / "advisories.toml").write_text('sources = ["https://evil.invalid/none.zip"]\n')
        assert sources.all() == ("https://example.invalid/npm.zip",)


async def test_a_vulnerability_that_became_known_asks_and_a_yes_stands_in_the_pin(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(WEAK)
        await house.upkeep.check_all()
        question = await house.asked("GHSA-aaaa")
        assert (question.kind, question.server) == ("advisory", "pads")
        await house.answer(question, True)
        pin = house.registry.pin("pads")
        assert pin is not None and pin.accepted == ("GHSA-aaaa",)
        await house.upkeep.check_all()
        assert house.questions == () and house.links["pads"].reasons == []
        house.know(WEAKER)
        await house.upkeep.check_all()
        await house.asked("GHSA-bbbb")


async def test_a_no_switches_its_server_off_and_ends_its_links(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(WEAK)
        await house.upkeep.check_all()
        await house.answer(await house.asked("GHSA-aaaa"), False)
        await until(lambda: house.links["pads"].reasons)
        assert "GHSA-aaaa" in house.links["pads"].reasons[0]
        assert not house.registry.server("pads").enabled
        await house.upkeep.check_all()
        assert house.questions == ()


async def test_more_that_became_known_takes_the_place_of_the_open_question(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(WEAK)
        await house.upkeep.check_all()
        first = await house.asked("GHSA-aaaa")
        await house.upkeep.check_all()
        assert house.questions == (first,)
        house.know(WEAKER)
        await house.upkeep.check_all()
        await house.asked("GHSA-aaaa", "GHSA-bbbb")


async def test_malware_is_stopped_and_nobody_is_asked(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.know(BAD)
        await house.upkeep.check_all()
        await asyncio.sleep(0)
        assert house.questions == () and house.links["mail"].reasons


async def test_what_a_server_is_shown_with_follows_the_database(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        assert house.upkeep.known(PADS) == ()
        house.know(WEAK)
        assert [hit.id for hit in house.upkeep.known(PADS)] == ["GHSA-aaaa"]
        house.advisories.file.write_bytes(b"nonsense" * 1000)
        assert house.upkeep.known(PADS) == ()
