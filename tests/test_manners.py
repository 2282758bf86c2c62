"""The manners of a gateway: at once, in time, not too large, not again and again, and not at a server that is down."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.manners.book import MannersBook, NoDocuments
from broker.manners.breaker import Breaker
from broker.manners.calls import Calls
from broker.manners.courtesies import Courtesies
from broker.manners.kept import MAX_ANSWERS, MAX_BYTES, Kept
from broker.manners.rules import MANNERS, Bounds, MannersText, parse_manners
from broker.model import Call, ClientName, Decision, Fact, JsonObject, ServerName, SessionId, Verdict
from broker.protocol.catalog import Catalog
from broker.protocol.effects import Effect, Record
from broker.protocol.events import Due, Event
from broker.protocol.replies import UNAVAILABLE
from tests.house import Rooms, housed, pin_server
from tests.peers import ToyServer, echo
from tests.protocol.stage import (
    CATALOG,
    LEGACY,
    READ,
    WRITE,
    Stage,
    changed,
    error,
    modern,
    notice,
    refusal_of,
    request,
    result,
)
from tests.protocol.stage import call as call_of
from tests.test_links import ASKS, answer, only_link, opened, reply
from tests.waiting import until

YES: Final = Decision(Verdict.ALLOW, "agreed", "fine")
HEAD: Final = b"version = 1\nfailures = 2\nrest = 1000\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def call(tool: str = "read", digest: str = "") -> Call:
    return Call(
        ClientName("desk"), ServerName("notes"), SessionId("s"), "client", "tools/call", tool, {}, digest or tool
    )


def passes(calls: Calls, what: Call, turn: int, now: float, bounds: Bounds | None = None) -> Decision | None:
    """Judge a call and, if it may go, have it recorded as it is."""
    refusal = calls.judged(what, bounds or Bounds(), now)
    calls.heard(Fact("decision", "client", "tools/call", what.target, 1, refusal or YES, digest=what.digest), turn, now)
    return refusal


def answered(calls: Calls, turn: int, now: float, *, by: str = "server", error: bool = False) -> None:
    body: JsonObject = {"error": {}} if error else {"result": {}}
    calls.heard(Fact("result", by, "tools/call", body=body), turn, now)  # type: ignore[arg-type]


# --- the breaker ------------------------------------------------------------------------------------------------------


def test_a_breaker_opens_after_so_many_failures_tries_once_and_closes_when_that_works() -> None:
    breaker = Breaker(failures=2, seconds=30)
    breaker.broke(0)
    assert breaker.state(0) == "closed" and breaker.admits(0)
    breaker.broke(1)
    assert breaker.state(1) == "open" and not breaker.admits(30.9) and breaker.left(11) == 20
    assert breaker.state(31) == "half-open"
    assert [breaker.admits(31), breaker.admits(31)] == [True, False], "one trial"
    breaker.worked()
    assert breaker.state(31) == "closed" and breaker.admits(31)


def test_a_trial_that_fails_opens_it_again_and_one_that_was_given_up_lets_another_try() -> None:
    breaker = Breaker(failures=1, seconds=30)
    breaker.broke(0)
    assert breaker.admits(30)
    breaker.broke(31)
    assert not breaker.admits(60) and breaker.admits(61)
    breaker.withdrawn()
    assert breaker.admits(61)


@given(st.lists(st.sampled_from(["broke", "worked", "withdrawn", "ask"]), max_size=40), st.integers(1, 4))
def test_whatever_happens_a_server_that_works_is_asked_and_one_that_does_not_is_left_alone(
    steps: list[str], failures: int
) -> None:
    breaker, row = Breaker(failures, 10.0), 0
    for now, step in enumerate(steps):
        match step:
            case "broke":
                breaker.broke(float(now))
                row += 1
            case "worked":
                breaker.worked()
                row = 0
            case "withdrawn":
                breaker.withdrawn()
            case _:
                admitted = breaker.admits(float(now))
                assert admitted or row >= failures
                assert not (admitted and row >= failures and now < breaker.opened + 10)


# --- calls of one link ------------------------------------------------------------------------------------------------


def test_no_more_calls_of_a_tool_than_agreed_are_under_way_and_an_answer_makes_room() -> None:
    calls, two = Calls(Breaker()), Bounds(at_once=2)
    assert [passes(calls, call(digest=str(n)), n, 0, two) is None for n in (1, 2, 3)] == [True, True, False]
    assert passes(calls, call("other"), 4, 0, two) is None, "another tool has its own places"
    answered(calls, 1, 1)
    assert passes(calls, call(digest="5"), 5, 1, two) is None


def test_a_call_that_is_judged_again_keeps_its_place() -> None:
    calls, one = Calls(Breaker()), Bounds(at_once=1, again=1)
    held = call()
    assert [passes(calls, held, 1, now, one) for now in (0, 5)] == [None, None]


def test_the_same_call_again_and_again_is_a_loop_until_time_has_gone_by() -> None:
    calls, thrice = Calls(Breaker()), Bounds(again=3, within=60)
    said = []
    for turn, now in enumerate((0, 1, 2, 3, 61.5), 1):
        said.append(passes(calls, call(), turn, now, thrice))
        answered(calls, turn, now)
    assert [one is None for one in said] == [True, True, True, False, True]
    assert said[3] is not None and "this looks like a loop" in said[3].reason
    assert passes(calls, call(digest="another"), 9, 3, thrice) is None


def test_what_takes_too_long_is_told_once() -> None:
    calls, quick = Calls(Breaker()), Bounds(seconds=5)
    passes(calls, call(), 7, 0, quick)
    assert [calls.overdue(now) for now in (5, 5.1, 6)] == [[], [(7, 5)], []]


@pytest.mark.parametrize(
    ("end", "failed"),
    [
        (lambda calls: answered(calls, 1, 0), 0),
        (lambda calls: answered(calls, 1, 0, error=True), 0),  # it answered: it is there
        (lambda calls: answered(calls, 1, 0, by="broker", error=True), 1),
        (lambda calls: answered(calls, 1, 0, by="broker"), 0),
        (lambda calls: calls.heard(Fact("notification", "client", "notifications/cancelled"), 1, 0), 0),
        (lambda calls: calls.heard(Fact("decision", "client", decision=Decision(Verdict.DENY, "r", "")), 1, 0), 0),
    ],
)
def test_only_a_call_that_its_server_did_not_answer_counts_against_it(
    end: Callable[[Calls], None], failed: int
) -> None:
    calls = Calls(Breaker())
    passes(calls, call(), 1, 0)
    end(calls)
    assert calls.breaker.failed == failed
    assert passes(calls, call(), 2, 0, Bounds(at_once=1)) is None, "its place is free again"


# --- the document -----------------------------------------------------------------------------------------------------


def test_of_all_rules_that_match_the_strictest_counts() -> None:
    manners = parse_manners(
        HEAD
        + b"[[manner]]\nat_once = 8\nseconds = 60\nagain = {calls = 10, seconds = 60}\n"
        + b'[[manner]]\nserver = "no*"\nat_once = 2\nagain = {calls = 1, seconds = 60}\n'
        + b'[[manner]]\ntool = "write"\nresult_bytes = 10\n',
        MANNERS,
    )
    assert manners.bounds(call()) == Bounds(2, 60, None, 1, 60)
    assert manners.bounds(call("write")).result_bytes == 10
    assert MannersText(version=1).bounds(call()) == Bounds()


@pytest.mark.parametrize(
    "text", [b"", b"version = 2", b"version = 1\nmore = 1", b"version = 1\n[[manner]]\nat_once = 0", b"\xff", b"[["]
)
def test_a_document_that_is_not_understood_is_refused_with_its_name(text: bytes) -> None:
    with pytest.raises(PolicyError, match=r"manners\.toml"):
        parse_manners(text, MANNERS)


# --- in a house -------------------------------------------------------------------------------------------------------


def agreed(rooms: Rooms, text: bytes) -> None:
    rooms.agreed.write(MANNERS, HEAD + text)
    object.__setattr__(rooms.house.manners, "_documents", rooms.agreed)
    assert rooms.house.manners.reload() == ""


def mute(message: JsonObject) -> JsonObject | None:
    """A server that takes calls and answers none."""
    return None if message.get("method") == "tools/call" else echo(message)


@pytest.mark.claim("C49")
async def test_a_call_that_takes_too_long_is_ended_and_the_server_is_left_alone(tmp_path: Path) -> None:
    heard: list[JsonObject] = []

    def listen(message: JsonObject) -> JsonObject | None:
        heard.append(message)
        return mute(message)

    async with housed(tmp_path, toy=lambda: ToyServer(answer=listen)) as rooms:
        agreed(rooms, b"[[manner]]\nseconds = 0.01\n")
        far = await opened(rooms)
        link = only_link(rooms)
        for number in (1, 2):
            await far.say(call_of(number))
            await until(lambda: sum(m.get("method") == "tools/call" for m in heard) == number)  # noqa: B023

            def ticked() -> bool:
                link.tick(asyncio.get_running_loop().time())
                told: int = sum(m.get("method") == "notifications/cancelled" for m in heard)
                return told == number  # noqa: B023

            await until(ticked)
            assert "did not answer within 0.01 s" in json.dumps(await reply(far, number))
        await far.say(call_of(3))
        said = refusal_of(await reply(far, 3))
        assert "breaker" in said and "failed 2 times in a row and is left alone" in said
        assert sum(m.get("method") == "tools/call" for m in heard) == 2, "it fails fast"
        far.close()
    rules = [entry["rule"] for entry in rooms.receipts() if entry["verdict"] == "deny"]
    assert rules == ["breaker"]


async def test_an_answer_that_is_too_large_does_not_reach_the_client(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        agreed(rooms, b"[[manner]]\nresult_bytes = 20\n")
        far = await opened(rooms)
        await far.say(call_of(1))
        said = json.dumps(await reply(far, 1))
        assert "refused by Bulkhead (manners): the answer has" in said and "hello" not in said
        far.close()


AGAIN: Final = {**READ, "annotations": {"idempotentHint": True}}
SAFE: Final = changed(LEGACY, tools=(WRITE, AGAIN))
RETRY: Final = b"[[manner]]\nretry = {times = 1, wait = 0}\n"
KEEP: Final = b'[[manner]]\ntool = "read"\ncache = {seconds = 1000}\n'


@pytest.mark.claim("C49")
async def test_a_yes_of_a_person_is_no_way_around_a_server_that_rests_and_is_not_used_up(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        agreed(rooms, b"")
        breaker = rooms.house.manners.calls(ServerName("notes")).breaker
        breaker.broke(1e12)
        breaker.broke(1e12)
        far = await opened(rooms)
        await far.say(call_of(1))
        await until(rooms.house.consent.open)
        answer(rooms, True)
        assert "breaker" in refusal_of(await reply(far, 1))
        assert all(message.get("method") != "tools/call" for toy in rooms.servers for message in toy.heard)
        breaker.worked()
        await far.say(call_of(2))
        assert "content" in (await reply(far, 2))["result"], "the same yes lets it go now"
        far.close()


def dying(rooms: list[Rooms], times: int) -> Callable[[], ToyServer]:
    """Servers of which the first so many end at their first call."""

    def toy() -> ToyServer:
        number = len(rooms[0].servers)

        def hear(message: JsonObject) -> JsonObject | None:
            if message.get("method") == "tools/call" and number < times:
                rooms[0].servers[number].leave()
                return None
            return echo(message)

        return ToyServer(SAFE, hear)

    return toy


@pytest.mark.claim("C96")
@pytest.mark.parametrize(
    ("tool", "manners", "tries"),
    [("read", RETRY, 2), ("read", b"", 1), ("write", RETRY, 1)],
    ids=["safe and agreed to", "safe, and nobody agreed", "agreed to, and not safe"],
)
async def test_a_call_whose_server_ends_is_tried_again_only_if_that_is_safe_and_agreed_to(
    tmp_path: Path, tool: str, manners: bytes, tries: int
) -> None:
    inside: list[Rooms] = []
    async with housed(tmp_path, toy=dying(inside, 1)) as rooms:
        inside.append(rooms)
        pin_server(rooms, catalog=Catalog({"legacy/full": SAFE}))
        agreed(rooms, manners)
        rooms.house.manners.calls(ServerName("notes")).breaker.failures = 9
        far = await opened(rooms)
        link = only_link(rooms)
        await far.say(call_of(1, tool))
        waiting = asyncio.ensure_future(reply(far, 1))

        def answered_by_now() -> bool:
            link.tick(asyncio.get_running_loop().time())
            return waiting.done()

        await until(answered_by_now)
        said = await waiting
        assert ("result" in said) is (tries == 2), said
        called = sum(message.get("method") == "tools/call" for toy in rooms.servers for message in toy.heard)
        assert called == tries
        far.close()
    tried = [entry["body"] for entry in rooms.receipts() if entry["kind"] == "policy"]
    assert tried == [{"retry": 1, "in_seconds": 0.0}] * (tries - 1)


def test_tries_are_bounded_further_and_further_apart_and_count_against_the_server() -> None:
    calls, thrice = Calls(Breaker(failures=3)), Bounds(tries=3, wait=2)
    one = call()
    assert passes(calls, one, 4, 0, thrice) is None
    assert calls.again(one, 10) == (1, 2.0)
    assert [calls.due(now) for now in (11.9, 12, 12.1)] == [[], [4], []]
    assert passes(calls, one, 4, 12, thrice) is None, "it is judged again, and keeps its place"
    assert calls.again(one, 20) == (2, 4.0)
    assert calls.due(24) == [4] and calls.again(one, 30) is None, "the server rests after the third failure"
    assert calls.breaker.failed == 2


def test_a_call_that_rests_is_not_overdue_and_a_rule_without_tries_forbids_them() -> None:
    calls, one = Calls(Breaker()), call()
    passes(calls, one, 1, 0, Bounds(seconds=5, tries=1, wait=30))
    assert calls.again(one, 1) == (1, 30.0) and calls.overdue(20) == []
    manners = parse_manners(HEAD + RETRY + b"[[manner]]\nretry = {times = 0}\ncache = {seconds = 0}\n" + KEEP, MANNERS)
    assert (manners.bounds(call()).tries, manners.bounds(call()).kept) == (0, 0)


@pytest.mark.claim("C96")
async def test_an_answer_marked_so_is_given_again_until_something_may_have_changed(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        agreed(rooms, KEEP)
        far = await opened(rooms)

        async def called(number: int, tool: str = "read", **arguments: str) -> int:
            """Makes the call; how many calls the server has heard so far."""
            await far.say(call_of(number, tool, **arguments))
            assert "content" in (await reply(far, number))["result"]
            return sum(message.get("method") == "tools/call" for message in rooms.servers[0].heard)

        assert [await called(1), await called(2), await called(3, text="other")] == [1, 1, 2]
        assert [await called(4, "write"), await called(5), await called(6)] == [3, 4, 4], "a write may change it"
        await rooms.servers[0].far.say(notice("notifications/tools/list_changed"))
        lists = sum(message.get("method") == "tools/list" for message in rooms.servers[0].heard)
        await until(lambda: sum(m.get("method") == "tools/list" for m in rooms.servers[0].heard) > lists)
        assert await called(7) == 5, "the server says it has changed"
        far.close()
        other = await opened(rooms)
        await other.say(call_of(1))
        assert "content" in (await reply(other, 1))["result"]
        assert sum(message.get("method") == "tools/call" for message in rooms.servers[-1].heard) == 1, "another link"
        other.close()
    kept = [entry for entry in rooms.receipts() if "kept" in (entry["body"] or ())]
    assert [(entry["request"], entry["side"]) for entry in kept] == [(2, "broker"), (6, "broker")]
    assert all(entry["labels"] for entry in kept), "it counts as read all the same"


@pytest.mark.parametrize(
    "result",
    [
        {"content": [], "isError": True},
        {"content": [], "ttlMs": 0},
        {"resultType": "input_required", "inputRequests": {}},
        {"content": [], "requestState": "x"},
        {"task": {"taskId": "1"}},
        {"content": ["x" * 300_000]},
    ],
)
def test_what_is_no_whole_answer_is_not_kept(result: JsonObject) -> None:
    kept = Kept()
    kept.put("d", result, 60, 0)
    assert kept.get("d", 0) is None


def test_an_answer_is_kept_as_long_as_was_agreed_or_as_its_server_says() -> None:
    kept = Kept()
    kept.put("long", {"content": []}, 60, 0)
    kept.put("short", {"content": [], "ttlMs": 5000}, 60, 0)
    assert [kept.get("long", now) is not None for now in (59.9, 60)] == [True, False]
    assert [kept.get("short", now) is not None for now in (4.9, 5)] == [True, False]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 250_000)), max_size=60))
def test_what_is_kept_never_grows_beyond_its_bounds(answers: list[tuple[int, int]]) -> None:
    kept = Kept()
    for number, size in answers:
        kept.put(str(number), {"text": "x" * size}, 60, 0)
        assert len(kept._answers) <= MAX_ANSWERS
        assert kept._bytes == sum(len(words) for _, _, words in kept._answers.values()) <= MAX_BYTES


def test_a_list_is_old_once_its_servers_own_time_is_over_and_never_at_once() -> None:
    now = [0.0]
    manners = Courtesies(MannersBook(NoDocuments()), ServerName("notes"), lambda: now[0])
    assert not manners.is_old("tools"), "a server that says nothing tells of changes itself"
    manners.listed({"tools": 60_000, "prompts": 0})
    said = []
    for now[0] in (29, 31, 59, 61, 62):
        said.append((manners.is_old("tools"), manners.is_old("prompts")))
    assert said == [(False, False), (False, True), (False, False), (True, False), (False, False)]


class Fresh(Stage):
    """A stage whose server says how long its lists are fresh, and whose conversation minds its manners."""

    def __init__(self, manners: MannersBook, clock: Callable[[], float], catalog: Catalog) -> None:
        super().__init__(catalog)
        self.courtesy = Courtesies(manners, ServerName("notes"), clock)
        self.conversation._link.courtesy = self.courtesy
        self.decide = lambda call: self.courtesy.judged(call) or YES

    def from_view(self, message: JsonObject) -> JsonObject | None:
        said = super().from_view(message)
        if said is not None and message["method"].endswith("/list"):
            said["result"] |= {"ttlMs": 60_000, "cacheScope": "private"}
        return said

    def feed(self, event: Event) -> list[Effect]:
        effects = super().feed(event)
        for effect in effects:
            if isinstance(effect, Record):
                self.courtesy.heard(effect.fact, effect.turn)
        return effects


def asked_for(stage: Stage, method: str) -> int:
    return sum(message.get("method") == method for message in stage.to_server)


def test_a_list_whose_time_is_over_is_read_anew_when_its_client_asks_and_nobody_waits_for_that() -> None:
    now = [0.0]
    stage = Fresh(MannersBook(NoDocuments()), lambda: now[0], CATALOG)
    stage.running_modern()
    for number, now[0] in enumerate((1.0, 59.0, 61.0, 62.0)):
        stage.settle(stage.client(modern(number, "tools/list")))
    assert [message["id"] for message in stage.to_client if "result" in message] == [0, 1, 2, 3]
    assert asked_for(stage, "tools/list") == 1


class AgainBook:
    """Everything may be tried again once, after a second."""

    def load(self, _name: str) -> bytes:
        return b"version = 1\n[[manner]]\nretry = {times = 1, wait = 1}\n"


@pytest.mark.claim("C96")
@pytest.mark.parametrize(
    ("tool", "failure", "times"),
    [("read", UNAVAILABLE, 2), ("read", -32603, 1), ("write", UNAVAILABLE, 1)],
    ids=["nobody answered", "the server said no", "not safe"],
)
def test_a_call_that_could_not_be_delivered_is_judged_and_sent_once_more(tool: str, failure: int, times: int) -> None:
    now = [0.0]
    stage = Fresh(MannersBook(AgainBook()), lambda: now[0], Catalog({"legacy/full": SAFE}))
    stage.opened()
    stage.client(request("warm", "tasks/list"))
    stage.start(SAFE)
    stage.server(result("warm", tasks=[]))
    stage.effects.clear()
    stage.client(call_of(1, tool))
    stage.server(error(1, failure))
    assert (stage.to_client == []) is (times == 2)
    now[0] = 2.0
    for turn in stage.courtesy.due():
        stage.feed(Due(turn))
    assert asked_for(stage, "tools/call") == times == len([1 for fact in stage.records if fact.kind == "decision"])
    if times == 2:
        stage.server(error(1, failure))
    assert [message["error"]["code"] for message in stage.to_client] == [failure]
    assert stage.courtesy._calls.breaker.failed == (0 if failure != UNAVAILABLE else times)
