"""A question answered inside the client: where a person turned that on, once, for exactly the call that is held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from broker.model import Call, ClientName, Decision, JsonObject, Peer, ServerName, SessionId, Verdict
from broker.policy.tokens import Tokens
from broker.protocol.catalog import Catalog, View
from broker.protocol.conversation import Conversation
from broker.protocol.inside import NO, PREFIX, YES
from broker.protocol.sight import CLEAR
from tests.house import ME, Rooms, housed, pin_server
from tests.peers import FarEnd, ToyServer
from tests.protocol.stage import (
    CATALOG,
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MAYBE,
    META,
    MODERN,
    Stage,
    call,
    modern,
    questions,
    refusal_of,
    sent,
    shape,
)
from tests.test_judge import ASKS, LETTER, answered, letters, reply
from tests.waiting import until

OTHER: Final = replace(ME, root_pid=77)
FORMS: Final = {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": {"elicitation": {"form": {}}}}}
ACCEPT: Final = {"action": "accept", "content": {"answer": YES}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def asking(folder: Path, *, on: bool = True, view: View = LEGACY) -> AsyncIterator[Rooms]:
    """A house whose policy asks about every call."""
    async with housed(folder, toy=lambda: ToyServer(view, letters), policy=ASKS) as rooms:
        if on:
            rooms.registry.clients.let_answer("desk", on=True)
        yield rooms


async def opened(rooms: Rooms, peer: Peer = ME) -> FarEnd:
    _, far = rooms.enter(peer=peer)
    await far.say(FORMS, INITIALIZED)
    await reply(far, "open")
    return far


async def form(far: FarEnd) -> JsonObject:
    """What the client is asked."""
    while True:
        message = await far.hear()
        if message.get("method") == "elicitation/create":
            return message


async def asked_modern(far: FarEnd, id: Any = 1, words: str = "hello") -> JsonObject:
    await far.say(modern(id, "tools/call", name="write", arguments={"text": words}))
    result: JsonObject = (await reply(far, id))["result"]
    return result


def again(state: str, answer: JsonObject, id: Any = 2, words: str = "hello") -> JsonObject:
    back = {"inputResponses": {"bulkhead": answer}, "requestState": state}
    return modern(id, "tools/call", name="write", arguments={"text": words}, **back)


def called(rooms: Rooms) -> int:
    return sum(message.get("method") == "tools/call" for server in rooms.servers for message in server.heard)


@pytest.mark.claim("C84")
async def test_a_legacy_client_is_asked_beside_the_desk_and_its_yes_lets_this_one_call_go(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        shown = await form(far)
        assert shown["params"]["requestedSchema"]["properties"]["answer"]["enum"] == [NO, YES]
        assert "desk wants to use the tool write of notes" in shown["params"]["message"]
        assert '"hello"' in shown["params"]["message"]
        await until(rooms.house.consent.open)
        await far.say({"jsonrpc": "2.0", "id": shown["id"], "result": ACCEPT})
        assert LETTER in str(await reply(far, 1))
        await until(lambda: not rooms.house.consent.open())
        await far.say({"jsonrpc": "2.0", "id": shown["id"], "result": ACCEPT})  # the same yes once more
        await far.say(call(2, text="hello"))
        assert (await form(far))["id"] != shown["id"], "the yes was for one call"
        assert called(rooms) == 1
        said = [row for row in rooms.receipts() if row["kind"] == "answer"]
        assert [(row["verdict"], "allowed in desk, once (R5 token" in row["reason"]) for row in said] == [
            ("allow", True)
        ]
        far.close()


@pytest.mark.claim("C84")
async def test_it_is_off_until_a_person_turns_it_on(tmp_path: Path) -> None:
    async with asking(tmp_path, on=False) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await answered(rooms, allowed=False)
        message = await far.hear()
        assert (message["id"], "refused by Bulkhead" in refusal_of(message)) == (1, True)
        far.close()


@pytest.mark.claim("C84")
async def test_what_the_ledger_holds_is_never_asked_inside_the_client(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await far.say({"jsonrpc": "2.0", "id": (await form(far))["id"], "result": ACCEPT})
        await reply(far, 1)
        await far.say(call(2, text="write to collect@far.example"))
        why, _ = await answered(rooms, allowed=False)
        assert why.startswith("R4")
        assert (await far.hear())["id"] == 2, "the client was asked nothing"
        far.close()


@pytest.mark.parametrize("answer", [
    {"action": "decline"}, {"action": "accept", "content": {"answer": NO}}, {"action": "accept"},
])  # fmt: skip
async def test_anything_but_the_very_yes_is_a_no(tmp_path: Path, answer: JsonObject) -> None:
    async with asking(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await far.say({"jsonrpc": "2.0", "id": (await form(far))["id"], "result": answer})
        assert "denied in desk" in refusal_of(await reply(far, 1))
        assert called(rooms) == 0
        far.close()


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "accept", "content": {"answer": "yes"}}])
async def test_anything_but_the_very_yes_is_a_no_of_a_modern_client_too(tmp_path: Path, answer: JsonObject) -> None:
    async with asking(tmp_path, view=MODERN) as rooms:
        far = (rooms.enter())[1]
        shown = await asked_modern(far)
        await far.say(again(shown["requestState"], answer))
        assert "denied in desk" in refusal_of(await reply(far, 2))
        assert called(rooms) == 0
        far.close()


async def test_a_form_that_was_closed_leaves_the_question_to_the_desk(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await far.say({"jsonrpc": "2.0", "id": (await form(far))["id"], "result": {"action": "cancel"}})
        await answered(rooms, allowed=True)
        assert LETTER in str(await reply(far, 1))
        far.close()


async def test_a_modern_client_that_comes_again_without_an_answer_is_asked_at_the_desk(tmp_path: Path) -> None:
    async with asking(tmp_path, view=MODERN) as rooms:
        far = (rooms.enter())[1]
        shown = await asked_modern(far)
        assert rooms.house.consent.open() == ()
        await far.say(again(shown["requestState"], {"action": "cancel"}))
        await answered(rooms, allowed=True)
        assert LETTER in str(await reply(far, 2))
        far.close()


async def test_the_desk_answers_first_and_the_clients_late_answer_counts_for_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        shown = await form(far)
        await answered(rooms, allowed=False)
        told = await far.hear()
        assert (told["method"], told["params"]["requestId"]) == ("notifications/cancelled", shown["id"])
        assert "refused by Bulkhead" in refusal_of(await reply(far, 1))
        await far.say({"jsonrpc": "2.0", "id": shown["id"], "result": ACCEPT}, call(2, text="other"))
        await form(far)
        assert called(rooms) == 0
        assert [row["kind"] for row in rooms.receipts() if row["kind"] == "violation"] == []
        far.close()


async def test_a_forged_answer_and_the_answer_of_another_session_let_nothing_go(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        far, other = await opened(rooms), await opened(rooms, OTHER)
        await far.say(call(1, text="hello"))
        await other.say(call(1, text="hello"))
        shown, others = await form(far), await form(other)
        assert len({session.id for session in rooms.sessions.all()}) == 2
        for name in (f"{PREFIX}{'0' * 64}", PREFIX, others["id"], shown["id"] + "0"):
            await far.say({"jsonrpc": "2.0", "id": name, "result": ACCEPT})
        await until(lambda: sum(row["kind"] == "violation" for row in rooms.receipts()) == 4)
        assert called(rooms) == 0 and len(rooms.house.consent.open()) == 2
        far.close()
        other.close()


@pytest.mark.claim("C84")
async def test_a_modern_client_gets_the_question_as_the_answer_and_its_yes_comes_with_the_call(tmp_path: Path) -> None:
    async with asking(tmp_path, view=MODERN) as rooms:
        far = (rooms.enter())[1]
        shown = await asked_modern(far)
        assert shown["resultType"] == "input_required"
        assert shown["inputRequests"]["bulkhead"]["method"] == "elicitation/create"
        state = shown["requestState"]
        for number, (words, mark) in enumerate([("another", state), ("hello", PREFIX + "0" * 64)], 3):
            await far.say(again(mark, ACCEPT, number, words))  # another call; a forged name
            assert "too late, or was for something else" in refusal_of(await reply(far, number))
        elsewhere = (rooms.enter(peer=OTHER))[1]  # another session
        await elsewhere.say(again(state, ACCEPT, 5))
        assert "too late, or was for something else" in refusal_of(await reply(elsewhere, 5))
        assert called(rooms) == 0
        await far.say(again(state, ACCEPT, 6))
        assert LETTER in str(await reply(far, 6))
        (sent,) = (m for s in rooms.servers for m in s.heard if m.get("method") == "tools/call")
        assert not sent["params"].keys() & {"requestState", "inputResponses"}, "the server hears nothing of it"
        await far.say(again(state, ACCEPT, 7))
        assert "too late, or was for something else" in refusal_of(await reply(far, 7))
        far.close()
        elsewhere.close()


async def test_a_modern_client_that_shows_no_forms_is_asked_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path, view=MODERN) as rooms:
        far = (rooms.enter())[1]
        message = modern(1, "tools/call", name="write", arguments={"text": "hello"})
        capabilities: JsonObject = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
        await far.say({**message, "params": {**message["params"], "_meta": {**META, **capabilities}}})
        await answered(rooms, allowed=True)
        assert LETTER in str(await reply(far, 1))
        far.close()


async def test_a_client_of_the_other_era_is_asked_in_its_own_words(tmp_path: Path) -> None:
    async with asking(tmp_path) as rooms:
        pin_server(rooms, "old", Catalog({"legacy/full": LEGACY}))
        far = (rooms.enter("old"))[1]
        shown = await asked_modern(far)
        ((key, wanted),) = shown["inputRequests"].items()
        assert wanted["method"] == "elicitation/create"
        back = {"inputResponses": {key: ACCEPT}, "requestState": shown["requestState"]}
        await far.say(modern(2, "tools/call", name="write", arguments={"text": "hello"}, **back))
        assert LETTER in str(await reply(far, 2))
        far.close()


async def test_a_legacy_client_of_a_modern_server_is_asked_by_a_request(tmp_path: Path) -> None:
    async with asking(tmp_path, view=MODERN) as rooms:
        pin_server(rooms, "new", Catalog({"modern/full": MODERN}))
        _, far = rooms.enter("new")
        await far.say(FORMS, INITIALIZED)
        await reply(far, "open")
        await far.say(call(1, text="hello"))
        await far.say({"jsonrpc": "2.0", "id": (await form(far))["id"], "result": ACCEPT})
        assert LETTER in str(await reply(far, 1))
        far.close()


class Offering:
    """A sight that lets the client answer everything."""

    def __getattr__(self, name: str) -> Any:
        return getattr(CLEAR, name)

    def offer(self, _call: Call, _asked: Decision, /) -> tuple[str, str]:
        return "m", "may it?"


def test_a_client_that_is_asked_hears_that_its_call_goes_on_waiting() -> None:
    stage = Stage(judge=MAYBE)
    stage.conversation = Conversation(
        ClientName("desk"), ServerName("notes"), SessionId("s1"), CATALOG, lambda _: MAYBE, True, Offering()
    )
    stage.client(FORMS, INITIALIZED)
    held = call(1)
    told = stage.client({**held, "params": {**held["params"], "_meta": {"progressToken": "p"}}})
    assert shape(told)[-3:] == ["ask", "record question", "to client"]
    (progress,) = sent(stage.conversation.still_waiting(*questions(told)), "client")
    assert (progress["method"], progress["params"]["progressToken"]) == ("notifications/progress", "p")


def test_the_name_of_an_offer_is_good_once_for_exactly_that_call_in_its_time_and_session() -> None:
    now = [1000.0]
    tokens = Tokens(b"k" * 32, lambda: now[0])
    wanted = Call(ClientName("c"), ServerName("s"), SessionId("one"), "client", "tools/call", "t", {}, "d")
    asked = Decision(Verdict.ASK, "ask-first", "why", ("a",))
    name = tokens.offer(wanted, asked, 120.0)
    assert tokens.answers(wanted, asked) == "", "an offer lets nothing go"
    for call_, decision in (
        (Call(ClientName("c"), ServerName("s"), SessionId("two"), "client", "tools/call", "t", {}, "d"), asked),
        (Call(ClientName("c"), ServerName("s"), SessionId("one"), "client", "tools/call", "t", {}, "e"), asked),
        (wanted, Decision(Verdict.ASK, "ask-first", "why", ("b",))),
    ):
        assert not tokens.redeem(name, call_, decision)
    assert tokens.redeem(name, wanted, asked) and not tokens.redeem(name, wanted, asked)
    late = tokens.offer(wanted, asked, 120.0)
    now[0] += 120.0
    assert not tokens.redeem(late, wanted, asked)
    over = tokens.offer(wanted, asked, 120.0)
    tokens.end_session(SessionId("one"))
    assert not tokens.redeem(over, wanted, asked)
