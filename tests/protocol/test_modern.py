from typing import Any

import pytest

from broker.model import Call, Decision
from broker.protocol.effects import Ask, Launch
from broker.protocol.events import ServerGone
from broker.protocol.inputs import MAX_INPUTS
from broker.protocol.states import MAX_STATE, MAX_STATES, RequestStates
from tests.protocol.stage import (
    MAYBE,
    NO,
    YES,
    Stage,
    call,
    error,
    modern,
    notice,
    questions,
    refusal_of,
    request,
    result,
    shape,
)

TAG = "io.modelcontextprotocol/subscriptionId"
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Which?", "vendorField": 1}}
SAMPLE = {"method": "sampling/createMessage", "params": {"messages": []}}


def write(id: Any = 1, **params: Any) -> dict[str, Any]:
    return modern(id, "tools/call", name="write", arguments={"text": "x"}, **params)


def wants(id: Any = 1, **inputs: Any) -> dict[str, Any]:
    return result(id, resultType="input_required", inputRequests=inputs, requestState="opaque \u2603")


def only(method: str, decision: Decision) -> Any:
    def judge(asked: Call) -> Decision:
        return decision if asked.method == method else YES

    return judge


def test_a_modern_call_passes_and_its_result_comes_back_as_it_was() -> None:
    stage = Stage().running_modern()
    answer = result(1, resultType="complete", content=[], structuredContent=[1, None], vendorField=1)
    stage.client(write())
    assert shape(stage.server(answer)) == ["record result", "read", "to client"]
    assert stage.to_server == [write()]
    assert stage.to_client[0] is answer


def test_what_a_result_asks_for_is_judged_and_passes_with_its_state_intact() -> None:
    stage = Stage().running_modern()
    stage.client(write())
    answer = wants(form=FORM)
    effects = stage.server(answer)
    assert shape(effects) == ["record result", "record decision", "read", "to client"]
    assert stage.to_client[0] is answer
    judged = stage.judged[-1]
    assert (judged.origin, judged.method, judged.arguments) == ("server", "elicitation/create", FORM["params"])


def test_a_result_that_asks_for_something_denied_is_replaced() -> None:
    stage = Stage().running_modern()
    stage.decide = only("sampling/createMessage", NO)
    stage.client(write())
    effects = stage.server(wants(form=FORM, sample=SAMPLE))
    assert shape(effects)[-2:] == ["record result", "to client"]
    assert "read" not in shape(effects)
    assert "no writing" in refusal_of(stage.to_client[0])
    stage.client(modern(2, "resources/read", uri="file:///notes/one"))
    stage.server(wants(2, sample=SAMPLE))
    assert stage.to_client[1]["error"]["code"] == 403


def test_a_person_is_asked_about_each_thing_a_result_asks_for() -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.decide = MAYBE
    answer = wants(form=FORM, sample=SAMPLE)
    (first,) = questions(stage.server(answer))
    assert stage.to_client == []
    (second,) = questions(stage.answer(first))
    asked = [effect.call.method for effect in stage.effects if isinstance(effect, Ask)]
    assert asked == ["elicitation/create", "sampling/createMessage"]
    assert shape(stage.answer(second))[-2:] == ["read", "to client"]
    assert stage.to_client == [answer]


def test_a_no_to_what_a_result_asks_for_replaces_it() -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.decide = MAYBE
    (question,) = questions(stage.server(wants(form=FORM)))
    stage.answer(question, NO)
    assert "no writing" in refusal_of(stage.to_client[0])


def test_a_cancelled_call_takes_the_question_about_its_result_with_it() -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.decide = MAYBE
    (question,) = questions(stage.server(wants(form=FORM)))
    assert shape(stage.client(notice("notifications/cancelled", requestId=1))) == ["record notification", "withdraw"]
    assert stage.answer(question) == []
    assert stage.to_client == []


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        {"a": {"method": "tools/call", "params": {"name": "write"}}},
        {"a": {"method": "ping"}},
        {"a": {"params": {}}},
        {"a": "elicitation/create"},
        {"a": {"method": "roots/list", "params": []}},
        {str(number): FORM for number in range(MAX_INPUTS + 1)},
    ],
)
def test_a_result_that_asks_for_what_no_server_may_ask_for_is_replaced(inputs: Any) -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.server(result(1, resultType="input_required", inputRequests=inputs))
    assert "refused by Bulkhead (input)" in refusal_of(stage.to_client[0])
    assert "violation" in [fact.kind for fact in stage.records]


def test_what_a_task_asks_for_is_judged_too() -> None:
    stage = Stage().running_modern()
    stage.decide = only("elicitation/create", NO)
    stage.client(modern(1, "tasks/get", taskId="t"))
    stage.server(result(1, resultType="complete", status="input_required", inputRequests={"a": FORM}))
    stage.client(modern(2, "tasks/get", taskId="t"))
    stage.server(result(2, resultType="complete", task={"inputRequests": {"a": FORM}}))
    assert [answer["error"]["code"] for answer in stage.to_client] == [403, 403]


def test_a_state_comes_back_once_and_only_for_its_own_call() -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.server(wants(form=FORM))
    retry = write(2, requestState="opaque \u2603", inputResponses={"form": {"action": "accept"}})
    other = modern(3, "resources/read", uri="file:///notes/one", requestState="opaque \u2603")
    stage.client(other, retry, {**retry, "id": 4}, write(5, requestState=7), write(6, requestState="guessed"))
    assert stage.to_server == [write(), retry]
    assert [answer["error"]["code"] for answer in stage.to_client[1:]] == [-32602] * 4


@pytest.mark.parametrize("state", [7, None, "x" * (MAX_STATE + 1)])
def test_a_state_that_is_no_text_or_too_long_is_not_passed_on(state: Any) -> None:
    stage = Stage().running_modern()
    stage.client(write())
    stage.server(result(1, resultType="input_required", requestState=state))
    if state is None:
        assert "requestState" in stage.to_client[0]["result"]
    else:
        assert "requestState" in refusal_of(stage.to_client[0])


def test_states_are_forgotten_oldest_first() -> None:
    states = RequestStates()
    for number in range(MAX_STATES + 1):
        states.give(str(number), "tools/call", "write")
    assert not states.redeem("0", "tools/call", "write")
    assert states.redeem("1", "tools/call", "write")


def test_a_modern_server_may_make_no_requests() -> None:
    stage = Stage().running_modern()
    assert shape(stage.server(request(1, "roots/list"))) == ["record violation"]
    assert stage.to_client == []


def test_a_modern_client_may_answer_nothing() -> None:
    stage = Stage().running_modern()
    assert shape(stage.client(result(1))) == ["record violation"]
    assert stage.to_server == []


# --- subscriptions ---


def listen(id: Any = "l", **notifications: Any) -> dict[str, Any]:
    return modern(id, "subscriptions/listen", notifications=notifications)


def test_a_subscription_is_acknowledged_at_once_and_starts_no_server() -> None:
    stage = Stage().opened_modern()
    stage.effects.clear()
    effects = stage.client(listen(toolsListChanged=True, promptsListChanged=False, unheardOf=True))
    assert shape(effects) == ["record request", "record notification", "to client"]
    assert stage.to_client == [
        notice("notifications/subscriptions/acknowledged", _meta={TAG: "l"}, notifications={"toolsListChanged": True})
    ]
    assert not stage.conversation.awaiting


def test_resources_to_follow_are_judged_acknowledged_and_start_the_server() -> None:
    stage = Stage(judge=lambda asked: NO if asked.target == "b://" else YES).opened_modern()
    stage.effects.clear()
    stage.client(listen(resourceSubscriptions=["a://", "b://", "a://"]))
    assert stage.to_client[0]["params"]["notifications"] == {"resourceSubscriptions": ["a://"]}
    assert any(isinstance(effect, Launch) for effect in stage.effects)
    stage.start()
    told = stage.to_server[-1]
    assert (told["id"], told["method"]) == ("l", "subscriptions/listen")
    assert told["params"]["notifications"] == {"resourceSubscriptions": ["a://"]}
    assert told["params"]["_meta"] == modern(0, "x")["params"]["_meta"]


def test_an_update_reaches_the_subscription_it_is_tagged_with_and_the_servers_own_acknowledgement_nobody() -> None:
    stage = Stage().running_modern()
    stage.client(listen(1, resourceSubscriptions=["a://"]))
    stage.effects.clear()
    updated = notice("notifications/resources/updated", _meta={TAG: 1}, uri="a://b")
    stage.server(notice("notifications/subscriptions/acknowledged", _meta={TAG: 1}, notifications={}), updated)
    for tag in ("1", 2, True, None):
        stage.server(notice("notifications/resources/updated", _meta={TAG: tag}, uri="a://b"))
    stage.server(notice("notifications/resources/updated", uri="a://b"))
    assert stage.to_client == [updated]


def test_a_subscription_is_told_again_to_a_server_that_was_restarted() -> None:
    stage = Stage().running_modern()
    stage.client(listen(resourceSubscriptions=["a://"]))
    stage.feed(ServerGone("it crashed"))
    assert all("id" not in message for message in stage.to_client)  # it goes on: nothing was answered
    stage.client(write())
    stage.start()
    assert [message["id"] for message in stage.to_server].count("l") == 2


def test_a_cancelled_subscription_is_cancelled_at_the_server_and_told_nothing_more() -> None:
    stage = Stage().running_modern()
    cancelled = notice("notifications/cancelled", requestId="l")
    stage.client(listen(resourceSubscriptions=["a://"]), cancelled)
    assert stage.to_server[-1] == cancelled
    stage.effects.clear()
    stage.server(notice("notifications/resources/updated", _meta={TAG: "l"}, uri="a://"), result("l"))
    assert stage.to_client == []
    stage.client(listen("ours", toolsListChanged=True), notice("notifications/cancelled", requestId="ours"))
    assert stage.to_server == []


def test_a_server_may_end_a_subscription_in_both_ways() -> None:
    stage = Stage().running_modern()
    stage.client(listen("a", resourceSubscriptions=["a://"]), listen("b", resourceSubscriptions=["a://"]))
    stage.effects.clear()
    ended = result("a", resultType="complete", _meta={TAG: "a"})
    cancelled = notice("notifications/cancelled", requestId="b")
    stage.server(ended, cancelled)
    assert stage.to_client == [ended, cancelled]
    assert stage.server(cancelled, ended) != []
    assert stage.to_client == [ended, cancelled]


def test_a_server_that_cannot_follow_resources_does_not_end_the_clients_subscription() -> None:
    stage = Stage().running_modern()
    stage.client(listen(toolsListChanged=True, resourceSubscriptions=["a://"]))
    stage.effects.clear()
    stage.server(error("l", -32601))
    assert stage.to_client == []


@pytest.mark.parametrize("notifications", [None, [], {"resourceSubscriptions": "a://"}, {"resourceSubscriptions": [1]}])
def test_a_subscription_to_nothing_sensible_is_refused(notifications: Any) -> None:
    stage = Stage().opened_modern()
    stage.client(modern("l", "subscriptions/listen", notifications=notifications))
    assert stage.to_client[-1]["error"]["code"] == -32602


def test_following_more_resources_than_the_bound_is_refused() -> None:
    stage = Stage().opened_modern()
    stage.client(listen("a", resourceSubscriptions=[str(number) for number in range(1000)]))
    stage.client(listen("b", resourceSubscriptions=[str(number) for number in range(100)]))
    assert stage.to_client[-1]["id"] == "b"
    assert stage.to_client[-1]["error"]["code"] == -32602


def test_a_legacy_request_in_a_modern_conversation_is_refused() -> None:
    stage = Stage().running_modern()
    stage.client(call(1), request(2, "resources/subscribe", uri="a://"), modern(3, "logging/setLevel", level="info"))
    assert [answer["error"]["code"] for answer in stage.to_client] == [-32602, -32601, -32601]
    assert stage.to_server == []
