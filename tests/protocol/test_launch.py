from typing import Any

import pytest

from broker.model import Decision, Verdict
from broker.protocol import dispatch
from broker.protocol.effects import End, Launch
from broker.protocol.events import NotStarted, ServerGone, Started
from tests.protocol.stage import (
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MAYBE,
    META,
    NO,
    READ,
    YES,
    Stage,
    call,
    changed,
    error,
    modern,
    notice,
    questions,
    refusal_of,
    request,
    result,
    sent,
    shape,
    text,
)


def test_the_first_call_launches_the_server_once_and_waits() -> None:
    stage = Stage().opened()
    stage.effects.clear()
    assert shape(stage.client(call(1))) == ["record decision", "record launch", "launch"]
    assert shape(stage.client(call(2))) == ["record decision"]
    assert stage.to_server == []
    assert next(fact for fact in stage.records if fact.kind == "launch").durable


def test_the_clients_own_handshake_is_replayed_and_its_calls_come_last() -> None:
    stage = Stage().opened()
    stage.client(call(1), call(2))
    stage.start()
    methods = [message["method"] for message in stage.to_server]
    assert methods == [
        "initialize", "notifications/initialized",
        "tools/list", "prompts/list", "resources/list", "resources/templates/list",
        "tools/call", "tools/call",
    ]  # fmt: skip
    opening = stage.to_server[0]
    assert opening["params"] == INITIALIZE["params"]
    assert opening["id"] == "bulkhead/1"
    assert stage.to_server[1] == INITIALIZED
    assert [message["id"] for message in stage.to_server[-2:]] == [1, 2]


def test_a_modern_clients_metadata_goes_with_everything_we_ask() -> None:
    stage = Stage()
    stage.client(modern(1, "tools/call", name="write", arguments={"text": "x"}))
    stage.start()
    ours = [message for message in stage.to_server if str(message["id"]).startswith("bulkhead/")]
    assert [message["method"] for message in ours] == [
        "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list",
        "subscriptions/listen",
    ]  # fmt: skip
    assert all(message["params"]["_meta"] == META for message in ours)
    assert ours[-1]["params"]["notifications"] == {"toolsListChanged": True}
    assert stage.to_server[-1]["id"] == 1


def test_no_call_is_sent_before_every_list_was_compared() -> None:
    stage = Stage(live=LEGACY).opened()
    stage.client(call(1))
    asked = sent(stage.feed(Started()), "server")
    while asked:
        message = asked.pop(0)
        assert message["method"] != "tools/call" or not asked
        answer = stage.from_view(message)
        if answer is not None:
            asked.extend(sent(stage.server(answer), "server"))
    assert stage.to_server[-1] == call(1)


def test_starting_is_true_from_the_start_until_everything_was_compared() -> None:
    stage = Stage().opened()
    stage.client(call(1))
    seen = [stage.conversation.starting]
    first = stage.feed(Started())
    seen.append(stage.conversation.starting)
    stage.live = LEGACY
    stage.settle(first)
    seen.append(stage.conversation.starting)
    assert seen == [False, True, False]


def test_a_parked_call_is_judged_again_when_it_leaves() -> None:
    stage = Stage().opened()
    stage.client(call(1))
    stage.decide = NO
    stage.start()
    assert call(1) not in stage.to_server
    assert "no writing" in refusal_of(stage.to_client[-1])


def test_a_yes_given_before_the_launch_still_counts_when_the_call_leaves() -> None:
    stage = Stage(judge=MAYBE).opened()
    (question,) = questions(stage.client(call(1)))
    assert not any(isinstance(effect, Launch) for effect in stage.effects)
    assert shape(stage.answer(question, YES))[-1] == "launch"
    stage.start()
    assert stage.to_server[-1] == call(1)


def test_what_was_read_during_the_launch_raises_the_question_anew() -> None:
    stage = Stage(judge=MAYBE).opened()
    (question,) = questions(stage.client(call(1)))
    stage.answer(question, YES)
    stage.decide = Decision(Verdict.ASK, "cross", "something else was read", ("mail",))
    assert questions(stage.start()) == [2]
    assert call(1) not in stage.to_server


def test_a_cancelled_parked_call_is_never_sent() -> None:
    stage = Stage().opened()
    stage.client(call(1), call(2), notice("notifications/cancelled", requestId=1))
    stage.start()
    assert [message["id"] for message in stage.to_server if message["method"] == "tools/call"] == [2]


def test_parked_calls_are_answered_when_the_server_cannot_be_started_and_the_next_call_tries_again() -> None:
    stage = Stage().opened()
    stage.client(call(1), request(2, "resources/read", uri="file:///notes/one"))
    stage.feed(NotStarted("its store object has changed"))
    assert [answer["id"] for answer in stage.to_client[-2:]] == [1, 2]
    for answer in stage.to_client[-2:]:
        assert answer["error"]["code"] == 503
        assert answer["error"]["message"] == "notes could not be started: its store object has changed"
    assert shape(stage.client(call(3)))[-1] == "launch"


def test_open_requests_are_answered_when_the_server_ends_and_the_next_call_starts_it_again() -> None:
    stage = Stage().running()
    stage.client(call(1))
    effects = stage.feed(ServerGone("it closed its output"))
    assert shape(effects) == ["record exit", "record result", "to client"]
    assert "ended: it closed its output" in stage.to_client[0]["error"]["message"]
    assert shape(stage.client(call(2)))[-1] == "launch"
    stage.start()
    opening = next(message for message in stage.to_server if message["method"] == "initialize")
    assert opening["params"] == INITIALIZE["params"]
    assert stage.to_server[-1] == call(2)


def test_a_server_that_ends_while_it_is_compared_answers_those_who_waited_for_it() -> None:
    stage = Stage().opened()
    stage.client(call(1))
    stage.feed(Started())
    stage.feed(ServerGone("it crashed"))
    assert stage.to_client[-1]["error"]["code"] == 503
    assert not stage.conversation.starting


def test_a_person_who_is_still_asked_when_the_server_ends_is_still_asked() -> None:
    stage = Stage(judge=lambda asked: MAYBE if asked.target == "write" else YES).running()
    (question,) = questions(stage.client(call(1)))
    stage.feed(ServerGone("it crashed"))
    assert stage.to_client == []
    assert shape(stage.answer(question, YES))[-1] == "launch"


def test_a_server_that_keeps_failing_is_not_started_for_ever() -> None:
    stage = Stage().opened()
    for number in range(dispatch.MAX_FAILURES + 3):
        stage.client(call(number))
        stage.feed(NotStarted("it crashed"))
    assert sum(isinstance(effect, Launch) for effect in stage.effects) == dispatch.MAX_FAILURES
    assert "failed 5 times in a row" in stage.to_client[-1]["error"]["message"]


def test_a_server_that_answered_may_fail_again() -> None:
    stage = Stage().opened()
    for number in range(dispatch.MAX_FAILURES * 2):
        stage.client(call(number))
        stage.start()
        stage.server(text(number, "done"))
        stage.feed(ServerGone("it stopped"))
    assert sum(isinstance(effect, Launch) for effect in stage.effects) == dispatch.MAX_FAILURES * 2


def test_more_calls_than_the_waiting_room_holds_are_refused() -> None:
    stage = Stage().opened()
    for number in range(dispatch.MAX_WAITING + 1):
        stage.client(call(number))
    assert [answer["error"]["code"] for answer in stage.to_client[1:]] == [429]
    big = Stage().opened()
    big.client(*(call(number, text="x" * (4 << 20)) for number in range(5)))
    assert [answer["error"]["code"] for answer in big.to_client[1:]] == [429, 429]


def test_a_server_that_refuses_the_handshake_it_took_before_ends_the_link() -> None:
    stage = Stage().opened()
    stage.client(call(1))
    (opening,) = sent(stage.feed(Started()), "server")
    effects = stage.server(error(opening["id"], -32600))
    assert shape(effects)[-2:] == ["to client", "end"]
    end = effects[-1]
    assert isinstance(end, End)
    assert end.blame == "server"
    assert call(1) not in stage.to_server


@pytest.mark.parametrize(
    "broken",
    [
        {"tools": "none"},
        {"tools": [{"name": "x"}]},
        {"tools": [READ, READ]},
    ],
)
def test_a_server_whose_live_lists_cannot_be_read_ends_the_link_unserved(broken: dict[str, Any]) -> None:
    stage = Stage(live=LEGACY).opened()
    stage.client(call(1))
    (opening,) = sent(stage.feed(Started()), "server")
    asked = sent(stage.server(result(opening["id"], **(LEGACY.opening or {}))), "server")
    tools = next(message for message in asked if message["method"] == "tools/list")
    assert shape(stage.server(result(tools["id"], **broken)))[-1] == "end"
    assert call(1) not in stage.to_server


def test_an_instance_nobody_asked_for_ends_the_link() -> None:
    stage = Stage().opened()
    assert shape(stage.feed(Started())) == ["end"]


def test_resource_subscriptions_are_told_again_to_a_server_that_was_restarted() -> None:
    stage = Stage().running()
    stage.client(request(1, "resources/subscribe", uri="file:///notes/one"))
    stage.server(result(1))
    updated = notice("notifications/resources/updated", uri="file:///notes/one")
    stage.server(updated)
    assert stage.to_client[-1] == updated
    stage.feed(ServerGone("it crashed"))
    stage.client(call(2))
    stage.start()
    told = [message["params"] for message in stage.to_server if message["method"] == "resources/subscribe"]
    assert told == [{"uri": "file:///notes/one"}] * 2
    stage.client(request(3, "resources/unsubscribe", uri="file:///notes/one"))
    stage.server(result(3))
    stage.server(updated)
    assert stage.to_client[-1] == result(3)


def test_a_live_list_of_resources_replaces_the_pinned_one_and_the_client_is_told() -> None:
    more = changed(LEGACY, resources=({"uri": "file:///notes/two", "name": "two"},))
    stage = Stage().opened()
    stage.client(call(1))
    stage.start(more)
    assert notice("notifications/resources/list_changed")["method"] in [m.get("method") for m in stage.to_client]
    stage.client(request(2, "resources/list"))
    assert stage.to_client[-1]["result"]["resources"] == list(more.resources)
