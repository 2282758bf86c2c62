"""A client of one era and a server of the other, message by message."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import ClientName, Decision, JsonObject, ServerName, SessionId
from broker.protocol.bridge import Bridge
from broker.protocol.bridge_legacy import MAX_ROUNDS
from broker.protocol.carried import MAX_PARKED
from broker.protocol.catalog import Catalog, View
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Effect, Read
from broker.protocol.events import Admitted, FromClient, ServerGone
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, OWN_PREFIX, VERSION_KEY
from tests.protocol.crossed import EVERYTHING, NOW, Crossed, legacy_server, modern, modern_server, write
from tests.protocol.stage import (
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MODERN,
    NO,
    YES,
    call,
    error,
    notice,
    questions,
    request,
    result,
    shape,
    text,
)

LEVEL = "io.modelcontextprotocol/logLevel"
TAG = "io.modelcontextprotocol/subscriptionId"
FORM: JsonObject = {"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}, "vendorField": 1}


# --- a modern client at a legacy server ---


def test_a_modern_client_discovers_what_a_legacy_server_has_and_may_still_choose_its_era() -> None:
    stage = legacy_server()
    stage.client(modern("probe", "server/discover"))
    found = stage.to_client[0]["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["resultType"] == "complete"
    assert found["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "notes", "version": "1"}}
    assert (found["instructions"], found["vendorField"]) == ("Keep it short", 1)
    assert not found.keys() & {"protocolVersion", "serverInfo"}
    stage.client(INITIALIZE)
    assert stage.to_client[1]["result"]["protocolVersion"] == "2025-11-25"
    assert stage.conversation.era == "legacy"


def test_a_modern_clients_lists_come_from_the_pin_and_start_nothing() -> None:
    stage = legacy_server()
    stage.client(modern("a", "tools/list"), modern("b", "server/discover"))
    listed, found = stage.to_client
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["write", "read"]
    assert listed["result"]["tools"][0]["vendorField"] == {"kept": [1, 1.0, None]}
    assert {name: listed["result"][name] for name in ("resultType", "ttlMs", "cacheScope")} == {
        "resultType": "complete", "ttlMs": 0, "cacheScope": "private"
    }  # fmt: skip
    assert found["result"]["supportedVersions"] == ["2026-07-28"]
    assert "launch" not in shape(stage.effects)
    assert stage.conversation.era == "modern"


def test_a_modern_call_opens_a_legacy_server_in_its_clients_own_words() -> None:
    stage = legacy_server()
    info = {"name": "desk", "version": "9", "vendorField": 1}
    stage.client(write(1, {"io.modelcontextprotocol/clientInfo": info, "traceparent": "t", "progressToken": 7}))
    stage.start(LEGACY)
    opening, initialized = stage.to_server[:2]
    assert opening["method"] == "initialize"
    assert opening["params"] == {"protocolVersion": "2025-11-25", "capabilities": EVERYTHING, "clientInfo": info}
    assert initialized["method"] == "notifications/initialized"
    sent = stage.to_server[-1]
    assert sent["params"] == {
        "name": "write", "arguments": {"text": "x"}, "_meta": {"traceparent": "t", "progressToken": 7}
    }  # fmt: skip
    stage.server(result(1, content=[], structuredContent={"a": 1}, vendorField=[None]))
    assert stage.to_client[-1] == result(
        1, resultType="complete", content=[], structuredContent={"a": 1}, vendorField=[None]
    )


def test_a_translated_call_is_judged_recorded_and_read_like_any_other() -> None:
    stage = legacy_server().up()
    stage.client(write(2))
    assert [(asked.method, asked.target, asked.arguments) for asked in stage.judged] == [
        ("tools/call", "write", {"text": "x"})
    ]
    assert shape(stage.server(text(2, "secret"))) == ["record result", "read", "to client"]
    stage.decide = NO
    stage.effects.clear()
    stage.client(write(3))
    assert stage.to_server == []
    assert stage.to_client[0]["result"]["resultType"] == "complete"
    assert "no writing" in stage.to_client[0]["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        ("elicitation/create", FORM, {"action": "accept", "content": {"a": 1}}),
        (
            "sampling/createMessage",
            {"messages": [], "maxTokens": 3},
            {"role": "assistant", "model": "m", "content": {}},
        ),
        ("roots/list", None, {"roots": [{"uri": "file:///a"}]}),
    ],
)
def test_what_a_legacy_server_asks_becomes_a_modern_result_and_the_retry_its_answer(
    method: str, params: Any, answer: JsonObject
) -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    asked = (
        request("s-1", method, **params) if params is not None else {"jsonrpc": "2.0", "id": "s-1", "method": method}
    )
    stage.server(asked)
    required = stage.to_client[-1]
    assert required["id"] == 1
    ((key, entry),) = required["result"]["inputRequests"].items()
    assert entry == ({"method": method, "params": params} if params is not None else {"method": method})
    assert required["result"]["resultType"] == "input_required"
    stage.client(write(2, requestState=required["result"]["requestState"], inputResponses={key: answer}))
    assert stage.to_server[-1] == {"jsonrpc": "2.0", "id": "s-1", "result": answer}
    stage.server(result(1, content=[]))
    assert stage.to_client[-1] == result(2, resultType="complete", content=[])
    assert [each.method for each in stage.judged] == ["tools/call", method]


def test_what_a_legacy_server_asks_is_refused_to_it_where_policy_says_no() -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    stage.decide = lambda asked: NO if asked.method == "elicitation/create" else YES
    stage.server(request("s-1", "elicitation/create", **FORM))
    assert stage.to_client == []
    assert stage.to_server[-1]["error"]["code"] == 403


def test_a_state_counts_once_and_only_for_its_own_call() -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    stage.server(request("s-1", "roots/list"))
    required = stage.to_client[-1]["result"]
    (key,) = required["inputRequests"]
    told: JsonObject = {"requestState": required["requestState"], "inputResponses": {key: {"roots": []}}}
    other = modern(2, "tools/call", name="write", arguments={"text": "other"}, **told)
    stage.effects.clear()
    stage.client(other, modern(3, "prompts/get", name="summary", **told), write(4, requestState="guessed"))
    stage.client(write(5, inputResponses={}), write(6, requestState=7), write(7, **{**told, "inputResponses": [1]}))
    assert [answer["error"]["code"] for answer in stage.to_client] == [-32602] * 6
    assert stage.to_server == []
    stage.client(write(8, **told))
    assert stage.to_server == [{"jsonrpc": "2.0", "id": "s-1", "result": {"roots": []}}]
    stage.effects.clear()
    stage.client(write(9, **told))
    assert stage.to_client[0]["error"]["code"] == -32602
    assert stage.to_server == []


def test_two_things_asked_at_once_are_asked_one_after_the_other_and_what_was_left_out_again() -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    stage.server(request("s-1", "roots/list"), request("s-2", "elicitation/create", **FORM))
    first = stage.to_client[-1]["result"]
    assert len(stage.to_client) == 1
    (key,) = first["inputRequests"]
    stage.client(write(2, requestState=first["requestState"], inputResponses={key: {"roots": []}}))
    second = stage.to_client[-1]
    assert (second["id"], [each["method"] for each in second["result"]["inputRequests"].values()]) == (
        2, ["elicitation/create"]
    )  # fmt: skip
    stage.client(write(3, requestState=second["result"]["requestState"]))
    again = stage.to_client[-1]
    assert again["result"]["inputRequests"] == second["result"]["inputRequests"]
    assert again["result"]["requestState"] != second["result"]["requestState"]


def test_an_answer_that_comes_while_the_client_is_asked_waits_for_its_retry() -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    stage.server(request("s-1", "roots/list"))
    required = stage.to_client[-1]["result"]
    stage.server(notice("notifications/cancelled", requestId="s-1"), text(1, "never mind"))
    assert len(stage.to_client) == 1
    assert not stage.conversation.awaiting
    stage.client(write(2, requestState=required["requestState"], inputResponses={}))
    assert stage.to_client[-1]["id"] == 2
    assert stage.to_client[-1]["result"]["content"][0]["text"] == "never mind"


def test_a_server_that_ends_while_its_client_is_asked_is_told_at_the_retry() -> None:
    stage = legacy_server().up()
    stage.client(write(1))
    stage.server(request("s-1", "roots/list"))
    required = stage.to_client[-1]["result"]
    stage.feed(ServerGone("it crashed"))
    stage.client(write(2, requestState=required["requestState"], inputResponses={}))
    assert stage.to_client[-1]["error"]["code"] == 503


def test_a_legacy_server_is_told_why_its_request_cannot_be_asked() -> None:
    stage = legacy_server().up()
    stage.server(request("s-1", "roots/list"))
    stage.client(write(1, {CLIENT_CAPABILITIES_KEY: {"elicitation": {"form": {}}}}))
    stage.server(request("s-2", "roots/list"), request("s-3", "elicitation/create", mode="url", url="https://a"))
    stage.server(request("s-4", "ping"), request("s-5", "tasks/list"))
    answers = {each["id"]: each for each in stage.to_server if "method" not in each}
    assert [answers[f"s-{number}"]["error"]["code"] for number in (1, 2, 3, 5)] == [-32601] * 4
    assert "no call is open" in answers["s-1"]["error"]["message"]
    assert answers["s-4"] == result("s-4")
    assert stage.to_client == []


def test_calls_that_wait_for_input_are_bounded_and_the_oldest_is_given_up() -> None:
    stage = legacy_server().up()
    for number in range(MAX_PARKED + 1):
        stage.client(write(number))
        stage.server(request(f"s-{number}", "roots/list"))
    given_up = [each for each in stage.to_server if each.get("id") == "s-0" or each["method"].endswith("cancelled")]
    assert [sorted(each) for each in given_up] == [["error", "id", "jsonrpc"], ["jsonrpc", "method", "params"]]
    state = stage.to_client[0]["result"]["requestState"]
    stage.client(write("late", requestState=state))
    assert stage.to_client[-1]["error"]["code"] == -32602


def test_progress_follows_a_call_to_its_retry() -> None:
    stage = legacy_server().up()
    stage.client(write(1, {"progressToken": "one"}))
    stage.server(notice("notifications/progress", progressToken="one", progress=1))
    assert stage.to_client[-1]["params"] == {"progressToken": "one", "progress": 1}
    stage.server(request("s-1", "roots/list"))
    required = stage.to_client[-1]["result"]
    stage.effects.clear()
    stage.server(notice("notifications/progress", progressToken="one", progress=2))
    assert stage.to_client == []
    stage.client(write(2, {"progressToken": "two"}, requestState=required["requestState"]))
    stage.server(notice("notifications/progress", progressToken="one", progress=3))
    assert all(each.get("params", {}).get("progress") != 3 for each in stage.to_client)  # it is asked again meanwhile
    again = stage.to_client[-1]["result"]
    (key,) = again["inputRequests"]
    answers: JsonObject = {key: {"roots": []}}
    stage.client(write(3, {"progressToken": "three"}, requestState=again["requestState"], inputResponses=answers))
    stage.server(notice("notifications/progress", progressToken="one", progress=4))
    assert stage.to_client[-1]["params"] == {"progressToken": "three", "progress": 4}


def test_a_cancelled_modern_call_is_cancelled_at_the_legacy_server() -> None:
    stage = legacy_server().up()
    stage.client(write(1), notice("notifications/cancelled", requestId=1, reason="enough"))
    assert stage.to_server[-1] == notice("notifications/cancelled", requestId=1, reason="enough")
    stage.server(text(1, "late"))
    assert stage.to_client == []


def test_log_lines_go_only_to_those_who_asked_for_them() -> None:
    stage = legacy_server().up()
    line = notice("notifications/message", level="info", data="words")
    stage.client(write(1))
    stage.server(line)
    assert stage.to_client == []
    stage.client(write(2, {LEVEL: "info"}))
    assert [each["params"] for each in stage.to_server if each["method"] == "logging/setLevel"] == [{"level": "info"}]
    stage.server(line, notice("notifications/message", level="debug", data="words"))
    assert stage.to_client == [line]
    stage.client(write(3, {LEVEL: "loud"}))
    assert stage.to_client[-1]["error"]["code"] == -32602


def test_a_modern_subscription_is_acknowledged_first_and_told_under_its_own_tag() -> None:
    stage = legacy_server(judge=lambda asked: NO if asked.target == "b://" else YES).up()
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a://", "b://"]}
    stage.client(modern("l", "subscriptions/listen", notifications=wanted))
    assert stage.to_client == []
    (asked,) = [each for each in stage.to_server if each["method"] == "resources/subscribe"]
    assert asked["params"] == {"uri": "a://"}
    stage.server(result(asked["id"]))
    acknowledged = stage.to_client[0]["params"]
    assert acknowledged["_meta"] == {TAG: "l"}
    assert acknowledged["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a://"]}
    stage.server(
        notice("notifications/resources/updated", uri="a://b"), notice("notifications/resources/updated", uri="c")
    )
    assert stage.to_client[1:] == [notice("notifications/resources/updated", uri="a://b", _meta={TAG: "l"})]
    stage.client(notice("notifications/cancelled", requestId="l"))
    assert (stage.to_server[-1]["method"], stage.to_server[-1]["params"]) == ("resources/unsubscribe", {"uri": "a://"})


def test_a_changed_list_is_told_to_the_subscription_that_follows_it() -> None:
    stage = legacy_server().up()
    stage.client(modern("l", "subscriptions/listen", notifications={"toolsListChanged": True}))
    stage.effects.clear()
    stage.live = View(
        "legacy", LEGACY.opening, None, LEGACY.tools[:1], LEGACY.prompts, LEGACY.resources, LEGACY.templates
    )
    stage.settle(stage.server(notice("notifications/tools/list_changed")))
    assert stage.to_client == [notice("notifications/tools/list_changed", _meta={TAG: "l"})]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (request(1, "tools/list"), -32602),
        (modern(1, "tools/list", {VERSION_KEY: "2031-01-01"}), -32022),
        (modern(1, "tasks/get", taskId="t"), -32601),
        (modern(1, "logging/setLevel", level="info"), -32601),
        (modern(1, "resources/subscribe", uri="a://"), -32601),
        (modern(1, "ping"), -32601),
        (INITIALIZE, -32600),
        (modern("bulkhead-1", "tools/list"), -32600),
        (modern(f"{OWN_PREFIX}1", "tools/list"), -32600),
        (modern(1, "subscriptions/listen", notifications=[]), -32602),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
    ],
)
def test_what_no_modern_client_may_say_is_refused_by_name_and_reaches_no_legacy_server(
    message: JsonObject, code: int
) -> None:
    stage = legacy_server().up()
    stage.client(message)
    assert [answer["error"]["code"] for answer in stage.to_client] == [code]
    assert stage.to_client[0]["error"]["message"]
    assert stage.to_server == []


@pytest.mark.parametrize("method", ["notifications/roots/list_changed", "notifications/progress", "x"])
def test_a_notification_of_the_other_era_goes_no_further(method: str) -> None:
    stage = legacy_server().up()
    stage.client(notice(method))
    assert (stage.to_server, stage.to_client) == ([], [])
    assert [fact.kind for fact in stage.records] == ["notification"]


def test_an_id_used_twice_is_an_error_under_no_id() -> None:
    stage = legacy_server().up()
    stage.client(write(1), write(1))
    assert [(answer["id"], answer["error"]["code"]) for answer in stage.to_client] == [(None, -32600)]


def test_a_bridged_client_nobody_has_admitted_waits_and_then_gets_its_lists() -> None:
    stage = legacy_server(admitted=False)
    stage.client(modern(1, "tools/list"), modern("l", "subscriptions/listen", notifications={"toolsListChanged": True}))
    assert stage.to_client == []
    stage.feed(Admitted(True))
    assert [len(each["result"]["tools"]) for each in stage.to_client if "result" in each] == [2]
    assert [each["params"]["_meta"] for each in stage.to_client if "method" in each] == [{TAG: "l"}]


# --- a legacy client at a modern server ---


def test_a_legacy_client_is_answered_its_handshake_from_a_modern_servers_pin() -> None:
    stage = modern_server()
    stage.client({**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": "2025-06-18"}}, INITIALIZED)
    opened = stage.to_client[0]
    assert opened["id"] == "open"
    assert opened["result"]["protocolVersion"] == "2025-06-18"
    assert opened["result"]["serverInfo"] == {"name": "notes", "version": "1"}
    assert opened["result"]["instructions"] == "Keep it short"
    assert not opened["result"].keys() & {"resultType", "supportedVersions", "ttlMs", "cacheScope"}
    stage.client(request(1, "tools/list"), request(2, "ping"))
    assert stage.to_client[1] == result(1, _meta=MODERN.opening["_meta"], tools=list(MODERN.tools))  # type: ignore[index]
    assert stage.to_client[2] == result(2)
    assert "launch" not in shape(stage.effects)


def test_a_legacy_call_carries_what_every_modern_request_carries() -> None:
    stage = modern_server()
    stage.client(INITIALIZE, INITIALIZED, request(1, "logging/setLevel", level="warning"))
    stage.client(request(2, "tools/call", name="write", arguments={"text": "x"}, _meta={"progressToken": 5, "v": 1}))
    stage.start(MODERN)
    assert stage.to_server[0]["method"] == "server/discover"
    assert stage.to_server[-1]["params"] == {
        "name": "write",
        "arguments": {"text": "x"},
        "_meta": {
            "progressToken": 5,
            "v": 1,
            VERSION_KEY: "2026-07-28",
            CLIENT_CAPABILITIES_KEY: {"roots": {}},
            "io.modelcontextprotocol/clientInfo": {"name": "desk", "version": "9"},
            LEVEL: "warning",
        },
    }
    stage.server(notice("notifications/progress", progressToken=5, progress=1), notice("notifications/message", data=1))
    stage.server(result(2, resultType="complete", content=[], structuredContent=[1], vendorField=1))
    assert stage.to_client[-1] == result(2, content=[], vendorField=1)
    assert [each["method"] for each in stage.to_client if "method" in each] == [
        "notifications/progress", "notifications/message"
    ]  # fmt: skip


def required(id: Any, state: Any = "opaque \u2603\\u2603 ", **inputs: Any) -> JsonObject:
    body: JsonObject = {"resultType": "input_required"}
    if inputs:
        body["inputRequests"] = inputs
    if state is not None:
        body["requestState"] = state
    return result(id, **body)


def test_what_a_modern_result_asks_is_asked_of_the_legacy_client_and_goes_back_with_the_state_as_it_came() -> None:
    stage = modern_server().up()
    stage.client(call(1))
    stage.server(required(1, a={"method": "elicitation/create", "params": FORM}, b={"method": "roots/list"}))
    assert [each.method for each in stage.judged] == ["tools/call", "elicitation/create", "roots/list"]
    form, roots = stage.to_client
    assert (form["method"], form["params"], roots["method"]) == ("elicitation/create", FORM, "roots/list")
    stage.effects.clear()
    stage.client(result(roots["id"], roots=[]), error(form["id"], -1, "no window"))
    (retry,) = stage.to_server
    assert retry["id"] != 1
    assert retry["params"]["requestState"] == "opaque \u2603\\u2603 "
    assert retry["params"]["inputResponses"] == {"a": {"action": "cancel"}, "b": {"roots": []}}
    assert retry["params"]["arguments"] == {"text": "hello"}
    stage.server(result(retry["id"], resultType="complete", content=[]))
    assert stage.to_client == [result(1, content=[])]


def test_what_a_modern_result_asks_for_is_not_asked_where_policy_says_no() -> None:
    stage = modern_server().up()
    stage.client(call(1))
    stage.decide = lambda asked: NO if asked.origin == "server" else YES
    stage.server(required(1, a={"method": "sampling/createMessage", "params": {"messages": []}}))
    assert [each["id"] for each in stage.to_client] == [1]
    assert "no writing" in stage.to_client[0]["result"]["content"][0]["text"]


def test_a_retry_is_judged_with_what_the_client_said() -> None:
    stage = modern_server().up()
    stage.client(call(1))
    stage.server(required(1, a={"method": "roots/list"}))
    stage.client(result(stage.to_client[0]["id"], roots=[]))
    assert stage.judged[-1].extra["inputResponses"] == {"a": {"roots": []}}


def test_a_state_alone_is_brought_back_at_once_but_not_for_ever() -> None:
    stage = modern_server().up()
    stage.client(call(1))
    for _ in range(MAX_ROUNDS):
        stage.server(required(stage.to_server[-1]["id"]))
    assert stage.to_client == []
    stage.server(required(stage.to_server[-1]["id"]))
    assert "16 is the limit" in stage.to_client[0]["result"]["content"][0]["text"]


def test_a_call_fails_by_name_where_the_client_cannot_be_asked() -> None:
    stage = modern_server()
    stage.client(INITIALIZE, INITIALIZED, call(1))
    stage.start(MODERN)
    stage.server(required(1, a={"method": "elicitation/create", "params": FORM}))
    assert "elicitation, which the client did not declare" in stage.to_client[-1]["result"]["content"][0]["text"]
    stage.client(call(2))
    stage.server(required(2, a={"method": "roots/list"}))
    stage.client(error(stage.to_client[-1]["id"], -1, "attacker's words"))
    assert "the client did not do roots/list" in stage.to_client[-1]["result"]["content"][0]["text"]
    assert "attacker" not in str(stage.to_client[-1])
    stage.client(call(3))
    stage.server(result(3, resultType="task", taskId="t"))
    assert "no word for" in stage.to_client[-1]["result"]["content"][0]["text"]


def test_a_cancelled_call_takes_back_what_its_client_was_asked() -> None:
    stage = modern_server().up()
    stage.client(call(1))
    stage.server(required(1, a={"method": "roots/list"}))
    asked = stage.to_client[-1]["id"]
    stage.client(notice("notifications/cancelled", requestId=1))
    assert stage.to_client[-1]["params"]["requestId"] == asked
    stage.effects.clear()
    stage.client(result(asked, roots=[]))
    assert stage.to_server == []
    assert [fact.kind for fact in stage.records] == ["violation"]
    stage.client(call(2), notice("notifications/cancelled", requestId=2))
    assert stage.to_server[-1] == notice("notifications/cancelled", requestId=2)


def test_a_legacy_subscription_is_a_modern_one_and_its_updates_lose_their_tag() -> None:
    stage = modern_server(judge=lambda asked: NO if asked.target == "b://" else YES).up()
    stage.client(request(1, "resources/subscribe", uri="a://"), request(2, "resources/subscribe", uri="b://"))
    (listening,) = [each for each in stage.to_server if each["method"] == "subscriptions/listen"]
    assert listening["params"]["notifications"] == {"resourceSubscriptions": ["a://"]}
    assert stage.to_client[0] == result(1)
    assert stage.to_client[1]["error"]["code"] == 403
    stage.effects.clear()
    stage.server(notice("notifications/resources/updated", uri="a://", _meta={TAG: listening["id"], "v": 1}))
    assert stage.to_client == [notice("notifications/resources/updated", uri="a://", _meta={"v": 1})]
    stage.client(request(3, "resources/unsubscribe", uri="a://"), request(4, "resources/unsubscribe", uri="a://"))
    assert stage.to_server[-1] == notice("notifications/cancelled", requestId=listening["id"])
    assert (stage.to_client[-2], stage.to_client[-1]["error"]["code"]) == (result(3), -32602)


def test_a_legacy_client_hears_of_changed_lists_without_asking() -> None:
    stage = modern_server().up()
    stage.live = View(
        "modern", MODERN.opening, None, MODERN.tools[:1], MODERN.prompts, MODERN.resources, MODERN.templates
    )
    stage.settle(stage.server(notice("notifications/tools/list_changed")))
    assert stage.to_client == [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (INITIALIZE, -32600),
        (request(1, "server/discover"), -32600),
        (modern(1, "tools/list"), -32600),
        (request(1, "tasks/list"), -32601),
        (request(1, "x/y"), -32601),
        (request(1, "logging/setLevel", level="loud"), -32602),
        (request(1, "tools/call", name="write", arguments={"text": "x"}, task={}), -32602),
        (request(1, "tools/call", name="write", arguments={"text": "x"}, requestState="s"), -32602),
        (request("bulkhead-1", "tools/list"), -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
    ],
)
def test_what_no_legacy_client_may_say_is_refused_by_name_and_reaches_no_modern_server(
    message: JsonObject, code: int
) -> None:
    stage = modern_server().up()
    stage.client(message)
    assert [answer["error"]["code"] for answer in stage.to_client] == [code]
    assert stage.to_client[0]["error"]["message"]
    assert stage.to_server == []


def test_before_initialize_a_bridged_client_may_say_nothing_else() -> None:
    stage = modern_server()
    stage.client(request(1, "tools/list"))
    assert stage.to_client[0]["error"]["code"] == -32600
    stage.client(request(2, "initialize", protocolVersion=1, capabilities={}))
    assert stage.to_client[1]["error"]["code"] == -32602
    stage.client(INITIALIZE)
    assert "result" in stage.to_client[2]


# --- both ways ---


def test_a_server_that_speaks_both_eras_is_never_bridged() -> None:
    catalog = Catalog({"legacy/full": LEGACY, "modern/full": MODERN})
    inner = Conversation(ClientName("desk"), ServerName("notes"), SessionId("s1"), catalog, lambda _: YES, True)
    bridge = Bridge(inner, ServerName("notes"), catalog, lambda: "state", lambda: NOW)
    bridge.receive(FromClient(INITIALIZE))
    assert bridge.era == inner.era == "legacy"


words = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
KNOWN = {"resultType", "content", "structuredContent", "inputRequests", "requestState", "task", "_meta", "ttlMs"}
vendors = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name not in KNOWN | {"cacheScope"}), words
)
_UP = {"legacy": legacy_server().up(), "modern": modern_server().up()}
_numbers = count(1000)


@given(st.sampled_from(["legacy", "modern"]), vendors, vendors)
def test_words_nobody_knows_arrive_as_they_were_said(era: str, asked: JsonObject, answered: JsonObject) -> None:
    stage, id = _UP[era], next(_numbers)
    arguments = {"text": "x"}
    params = {"name": "write", "arguments": arguments, **{f"v{name}": value for name, value in asked.items()}}
    stage.effects.clear()
    stage.client(modern(id, "tools/call", **params) if era == "legacy" else request(id, "tools/call", **params))
    arrived = dict(stage.to_server[-1]["params"])
    arrived.pop("_meta", None)
    assert arrived == params
    stage.server(result(id, **({} if era == "legacy" else {"resultType": "complete"}), content=[], **answered))
    told = dict(stage.to_client[-1]["result"])
    told.pop("resultType", None)
    assert told == {"content": [], **answered}


saids = st.sampled_from(
    [
        write(1), write(2), write(2, requestState="state-1", inputResponses={}), modern(3, "tools/list"), call(4),
        INITIALIZE, modern("l", "subscriptions/listen", notifications={"resourceSubscriptions": ["a://"]}),
        notice("notifications/cancelled", requestId=1), notice("notifications/cancelled", requestId="l"),
        request(5, "resources/subscribe", uri="a://"), request(6, "resources/unsubscribe", uri="a://"),
        result("bulkhead-2", roots=[]), result(1), request(7, "ping"), {"jsonrpc": "2.0", "id": None, "method": "x"},
    ]
)  # fmt: skip
heards = st.sampled_from(
    [
        text(1, "a"), text(2, "b"), error(1), required(1, a={"method": "roots/list"}), request("s", "roots/list"),
        request("s", "ping"), notice("notifications/cancelled", requestId="s"), result("bulkhead-2"),
        notice("notifications/resources/updated", uri="a://"), notice("notifications/message", level="info", data=1),
        required("bulkhead-2", a={"method": "roots/list"}), result("bulkhead-3", resultType="complete"),
    ]
)  # fmt: skip


@given(st.sampled_from([LEGACY, MODERN]), st.lists(st.tuples(st.booleans(), saids, heards), max_size=25))
def test_whatever_is_said_nothing_reaches_a_server_that_was_not_recorded_and_every_answer_has_one_question(
    only: View, said: list[tuple[bool, JsonObject, JsonObject]]
) -> None:
    stage = Crossed(only).up()
    asked: list[Any] = []
    for from_client, mine, theirs in said:
        before = len(stage.effects)
        if from_client:
            asked += [mine["id"]] if "method" in mine and mine.get("id") is not None else []
            stage.client(mine)
        else:
            stage.server(theirs)
        assert _recorded_first(stage.effects[before:])
    answered = [each["id"] for each in stage.to_client if "method" not in each and each["id"] is not None]
    for identifier in set(answered):
        assert answered.count(identifier) <= max(asked.count(identifier), 1 if identifier in (1, "bulkhead-2") else 0)


def _recorded_first(effects: list[Effect]) -> bool:
    return not effects or isinstance(effects[0], Read) or shape(effects)[0].startswith("record")


def test_a_question_about_a_bridged_call_is_answered_like_any_other() -> None:
    stage = legacy_server().up()
    stage.decide = Decision(YES.verdict.ASK, "ask first", "it changes a file")
    (question,) = questions(stage.client(write(1)))
    stage.answer(question)
    assert stage.to_server[-1]["method"] == "tools/call"
