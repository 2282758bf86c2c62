"""Labels a person accepts: they count for what was shown, from then on, and until they are taken back."""

from pathlib import Path
from typing import Any, Final

import pytest

from broker.api import schema
from broker.errors import DeskError
from broker.labelling import publisher_of, standing
from broker.protocol.catalog import Catalog
from tests.api.test_routes import WILD, Office, edit, office, review
from tests.house import pin_server
from tests.peers import FarEnd
from tests.protocol.stage import CATALOG, INITIALIZE, INITIALIZED, call
from tests.test_judge import reply
from tests.waiting import until

QUIET: Final = schema.ToolLabels(name="write", labels=["M"], level="L", reason="a note on your own disk")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def accept(at: Office, *tools: schema.ToolLabels, catalog: str = "") -> schema.LabelsView:
    shown: schema.LabelsView = await at.ask(schema.LABELS, name="notes")
    rows = [tool.model_dump() for tool in tools]
    view: schema.LabelsView = await at.ask(
        schema.LABELS_ACCEPT, name="notes", catalog=catalog or shown.catalog, tools=rows
    )
    return view


async def opened(at: Office, server: str) -> FarEnd:
    _, far = at.rooms.enter(server)
    await far.say(INITIALIZE, INITIALIZED)
    await reply(far, "open")
    return far


def basis(at: Office) -> tuple[str, str]:
    registry = at.rooms.registry
    pin = registry.pin("notes")
    assert pin is not None
    found = standing(at.rooms.house, registry.server("notes"), pin)
    return found.basis, found.lapsed


async def test_a_proposal_says_what_counts_now_and_what_in_the_definition_speaks_for_what_could(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        view: schema.LabelsView = await at.ask(schema.LABELS, name="notes")
        assert (view.basis, view.publisher) == ("worst", "binary notes")
        write = next(tool for tool in view.tools if tool.now.name == "write")
        assert (write.now.labels, write.now.level) == (["P", "U", "E", "M"], "H")
        assert (write.proposed.labels, write.proposed.level) == (["M"], "L")
        assert write.because == [("M", "its name or description says 'write'")]
        read = next(tool for tool in view.tools if tool.now.name == "read")
        assert (read.proposed.labels, read.proposed.level) == (["P", "U", "E", "M"], "H")  # it says nothing of itself


@pytest.mark.claim("C80")
async def test_accepted_labels_end_the_questions_of_a_running_link_and_taking_them_back_brings_them_again(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as at:
        pin_server(at.rooms, "diary")
        diary, notes = await opened(at, "diary"), await opened(at, "notes")
        await diary.say(call(1, text="dear diary"))
        await reply(diary, 1)
        desk = at.rooms.house.consent

        async def asked(number: int) -> str:
            await notes.say(call(number, text=f"line {number}"))
            await until(desk.open)
            (question,) = desk.open()
            desk.answer(question.id, question.digest, allowed=False, lifetime="once", by="person")
            await reply(notes, number)
            return question.why

        assert "nobody vouches for what this tool does (to look: bulkhead labels notes)" in await asked(2)
        assert (await accept(at, QUIET)).basis == "accepted"
        await notes.say(call(3, text="line 3"))
        assert "result" in await reply(notes, 3)
        assert desk.open() == ()
        back: schema.LabelsView = await at.ask(schema.LABELS_TAKE_BACK, name="notes")
        assert back.basis == "worst"
        assert (await asked(4)).startswith("R3: this session has read from diary")
        said = [(method, target) for method, target in at.receipts("policy") if method.startswith("labels")]
        assert said == [("labels.accept", "notes"), ("labels.take-back", "notes")]
        diary.close()
        notes.close()


async def test_accepted_labels_hold_for_the_definitions_and_the_publisher_they_were_accepted_for(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as at:
        await accept(at, QUIET)
        assert basis(at) == ("accepted", "")
        pin_server(at.rooms, "notes", WILD)
        assert basis(at) == ("worst", "its definitions are not those for which labels were accepted")
        pin = pin_server(at.rooms, "notes", CATALOG)
        assert basis(at) == ("accepted", "")
        accepted = at.rooms.registry.accepted_labels("notes")
        assert accepted is not None and accepted.publisher == publisher_of(pin.artifact)
        text = (at.rooms.paths.config / "labels" / "notes.toml").read_bytes()
        at.rooms.agreed.write("labels/notes.toml", text.replace(b"binary notes", b"npm somebody-else"))
        assert basis(at) == ("worst", "what was accepted was for another publisher")


async def test_a_tool_that_was_left_out_stays_the_worst_case(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        view = await accept(at, QUIET)
        rows = {tool.now.name: tool.now for tool in view.tools}
        assert (rows["write"].level, rows["read"].level) == ("L", "H")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"catalog": "0" * 64}, "changed while you looked"),
        ({"tools": [QUIET.model_copy(update={"name": "erase"})]}, "has no tool 'erase'"),
        ({"tools": [QUIET, QUIET]}, "named twice"),
    ],
)
async def test_what_was_not_shown_cannot_be_accepted(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    async with office(tmp_path) as at:
        with pytest.raises(DeskError, match=said):
            await accept(at, *change.get("tools", [QUIET]), catalog=change.get("catalog", ""))
        assert basis(at) == ("worst", "") and at.receipts("policy") == []


async def test_labels_edited_by_hand_loosen_nothing_until_somebody_says_yes(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await accept(at, QUIET.model_copy(update={"level": "H"}))
        edit(at, "labels/notes.toml", 'class = "H"', 'class = "L"')
        view: schema.LabelsView = await at.ask(schema.LABELS, name="notes")
        assert next(tool.now.level for tool in view.tools if tool.now.name == "write") == "H"
        (item,) = await review(at)
        assert item.name == "labels/notes.toml"
        await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
        again: schema.LabelsView = await at.ask(schema.LABELS, name="notes")
        assert next(tool.now.level for tool in again.tools if tool.now.name == "write") == "L"
        edit(at, "labels/notes.toml", "class =", "klass =")
        (item,) = await review(at)
        with pytest.raises(Exception, match=r"labels/notes.toml, line \d+: unknown key 'tool\[0\].klass'"):
            await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)


async def test_labels_go_with_their_server(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await accept(at, QUIET)
        await at.ask(schema.REMOVE, name="notes")
        pin_server(at.rooms, "notes", Catalog(CATALOG.views))
        assert basis(at) == ("worst", "")
