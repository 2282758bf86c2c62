"""Tasks of one era, used by a client of the other."""

from dataclasses import replace
from typing import Any

import pytest

from broker.model import JsonObject
from broker.protocol.catalog import View
from broker.protocol.events import ServerGone, Tick
from broker.protocol.tasks_of_legacy import MAX_TASKS
from broker.protocol.tasks_of_modern import MAX_FINISHED
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, RELATED_TASK_KEY, TASKS
from tests.protocol.crossed import EVERYTHING, NOW, Crossed, modern
from tests.protocol.stage import INITIALIZE, INITIALIZED, LEGACY, MODERN, NO, YES, call, error, notice, request, result

FORM: JsonObject = {"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}
RELATED: JsonObject = {RELATED_TASK_KEY: {"taskId": "t1"}}
WITH_TASKS: JsonObject = {CLIENT_CAPABILITIES_KEY: {**EVERYTHING, "extensions": {TASKS: {}}}}
LONG: JsonObject = {"name": "long", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}}


def offering(view: View, tools: tuple[JsonObject, ...] = (), **capabilities: Any) -> View:
    assert view.opening is not None
    merged = {**view.opening["capabilities"], **capabilities}
    return replace(view, opening={**view.opening, "capabilities": merged}, tools=(*view.tools, *tools))


LEGACY_TASKS = offering(LEGACY, (LONG,), tasks={"requests": {"tools": {"call": {}}}, "list": {}, "cancel": {}})
MODERN_TASKS = offering(MODERN, extensions={TASKS: {}, "com.example/other": {}})


def state(status: str, **more: Any) -> JsonObject:
    return {"taskId": "t1", "status": status, "createdAt": NOW, "lastUpdatedAt": NOW, "ttl": 9, "vendor": [1], **more}


def told(status: str, **more: Any) -> JsonObject:
    return {"taskId": "t1", "status": status, "createdAt": NOW, "lastUpdatedAt": NOW, "ttlMs": 9, "vendor": [1], **more}


# --- a modern client at a legacy server ---


def at_legacy(judge: Any = YES) -> Crossed:
    return Crossed(LEGACY_TASKS, judge).up()


def look(id: Any, method: str = "tasks/get", **params: Any) -> JsonObject:
    return modern(id, method, WITH_TASKS, taskId="t1", **params)


def begun(judge: Any = YES) -> Crossed:
    stage = at_legacy(judge)
    stage.client(modern(1, "tools/call", WITH_TASKS, name="long", arguments={}))
    stage.server(result(1, task=state("working", pollInterval=5), _meta={"v": 1}))
    stage.effects.clear()
    return stage


def test_a_legacy_server_with_tasks_is_a_modern_one_with_the_extension() -> None:
    stage = Crossed(LEGACY_TASKS)
    stage.client(modern(1, "server/discover"))
    assert stage.to_client[0]["result"]["capabilities"]["extensions"] == {TASKS: {}}
    assert "tasks" not in stage.to_client[0]["result"]["capabilities"]


def test_a_call_that_can_only_be_a_task_becomes_one() -> None:
    stage = at_legacy()
    stage.client(modern(1, "tools/call", WITH_TASKS, name="long", arguments={}))
    assert stage.to_server == [request(1, "tools/call", name="long", arguments={}, task={})]
    stage.server(result(1, task=state("working", pollInterval=5), _meta={"v": 1}))
    assert stage.to_client == [result(1, **told("working", pollIntervalMs=5), _meta={"v": 1}, resultType="task")]
    assert not stage.conversation.awaiting


def test_a_call_that_can_be_made_at_once_is_made_at_once() -> None:
    stage = at_legacy()
    stage.client(modern(1, "tools/call", WITH_TASKS, name="write", arguments={"text": "x"}))
    assert "task" not in stage.to_server[0]["params"]


@pytest.mark.parametrize(
    "message",
    [
        modern(1, "tools/call", name="long", arguments={}),
        modern(1, "tasks/get", taskId="t1"),
        modern(1, "tasks/update", taskId="t1", inputResponses={}),
        modern(1, "tasks/cancel", taskId="t1"),
    ],
)
def test_a_client_without_the_extension_is_told_that_it_needs_it(message: JsonObject) -> None:
    stage = at_legacy()
    stage.client(message)
    ((answer),) = stage.to_client
    assert answer["error"]["code"] == -32021
    assert answer["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    assert stage.to_server == []


@pytest.mark.parametrize("status", ["working", "cancelled"])
def test_a_look_at_a_task_that_came_to_nothing_yet_says_so(status: str) -> None:
    stage = begun()
    stage.client(look(2))
    assert stage.to_server == [request(2, "tasks/get", taskId="t1")]
    stage.server(result(2, **state(status)))
    assert stage.to_client == [result(2, **told(status), resultType="complete")]


@pytest.mark.parametrize(("status", "outcome"), [("completed", {"content": []}), ("failed", {"isError": True})])
def test_a_task_that_ended_brings_its_result(status: str, outcome: JsonObject) -> None:
    stage = begun()
    stage.client(look(2))
    stage.server(result(2, **state(status)))
    fetch = stage.to_server[-1]
    assert (fetch["method"], fetch["params"]) == ("tasks/result", {"taskId": "t1"})
    assert stage.to_client == []
    assert stage.conversation.awaiting
    stage.server(result(fetch["id"], **outcome, _meta={**RELATED, "v": 1}))
    body = told("completed", resultType="complete", result={**outcome, "_meta": {"v": 1}})
    assert stage.to_client == [result(2, **body)]


def test_a_task_that_failed_brings_its_error_and_one_that_is_lost_is_an_error() -> None:
    stage = begun()
    stage.client(look(2))
    stage.server(result(2, **state("failed")))
    stage.server(error(stage.to_server[-1]["id"], -32603, "it broke"))
    assert stage.to_client[-1]["result"]["error"] == {"code": -32603, "message": "it broke"}
    assert stage.to_client[-1]["result"]["status"] == "failed"
    stage.client(look(3))
    stage.server(result(3, **state("completed")))
    stage.server(error(stage.to_server[-1]["id"], -32602, "expired"))
    assert stage.to_client[-1] == error(3, -32602, "expired")
    stage.client(look(4))
    stage.server(error(4, -32602, "no such task"))
    assert stage.to_client[-1] == error(4, -32602, "no such task")


def test_what_a_task_asks_for_is_seen_with_it_and_answered_by_an_update() -> None:
    stage = begun()
    stage.client(look(2))
    stage.server(result(2, **state("input_required")))
    assert stage.to_client == [result(2, **told("working"), resultType="complete")]
    fetch = stage.to_server[-1]
    assert fetch["method"] == "tasks/result"
    stage.server(request("s", "elicitation/create", **FORM, _meta=RELATED))
    assert stage.judged[-1].method == "elicitation/create"
    assert len(stage.to_client) == 1
    stage.client(look(3))
    stage.server(result(3, **state("input_required")))
    seen = stage.to_client[-1]["result"]
    ((key, wanted),) = seen["inputRequests"].items()
    assert (seen["status"], wanted) == (
        "input_required", {"method": "elicitation/create", "params": {**FORM, "_meta": RELATED}}
    )  # fmt: skip
    stage.client(look(4, "tasks/update", inputResponses={key: {"action": "accept"}, "unknown": {}}))
    assert stage.to_client[-1] == result(4, resultType="complete")
    assert stage.to_server[-1] == result("s", action="accept")
    stage.client(look(5))
    stage.server(result(5, **state("completed")), result(fetch["id"], content=[]))
    assert stage.to_client[-1]["result"]["result"] == {"content": []}
    assert [each["method"] for each in stage.to_server if "method" in each].count("tasks/result") == 1


def test_what_a_task_asks_for_against_the_policy_reaches_no_client() -> None:
    stage = begun(lambda asked: NO if asked.origin == "server" else YES)
    stage.server(request("s", "elicitation/create", **FORM, _meta=RELATED))
    assert stage.to_server[-1]["error"]["code"] == 403
    stage.client(look(2))
    stage.server(result(2, **state("input_required")))
    assert "inputRequests" not in stage.to_client[-1]["result"]


def test_a_task_is_told_what_its_client_cannot_be_asked_and_takes_back_what_it_asked() -> None:
    stage = at_legacy()
    meta: JsonObject = {CLIENT_CAPABILITIES_KEY: {"extensions": {TASKS: {}}, "roots": {}}}
    stage.client(modern(1, "tools/call", meta, name="long", arguments={}))
    stage.server(result(1, task=state("working")))
    stage.server(request("s", "elicitation/create", **FORM, _meta=RELATED))
    assert "did not declare elicitation" in stage.to_server[-1]["error"]["message"]
    stage.server(request("r", "roots/list", _meta=RELATED), notice("notifications/cancelled", requestId="r"))
    stage.client(modern(2, "tasks/get", meta, taskId="t1"))
    stage.server(result(2, **state("input_required")))
    assert stage.to_client[-1]["result"]["status"] == "working"


def test_a_cancelled_task_is_acknowledged_and_asks_for_nothing_more() -> None:
    stage = begun()
    stage.server(request("s", "elicitation/create", **FORM, _meta=RELATED))
    stage.client(look(2, "tasks/cancel"))
    assert stage.to_server[-1] == request(2, "tasks/cancel", taskId="t1")
    stage.server(result(2, **state("cancelled")))
    assert stage.to_client == [result(2, resultType="complete")]
    assert (stage.to_server[-1]["id"], stage.to_server[-1]["error"]["code"]) == ("s", 403)


def test_a_look_that_was_cancelled_or_whose_server_ended_is_not_answered_twice() -> None:
    stage = begun()
    stage.client(look(2), look(3))
    stage.server(result(2, **state("completed")), result(3, **state("completed")))
    stage.client(notice("notifications/cancelled", requestId=2))
    stage.feed(ServerGone("it crashed"))
    assert [(each["id"], each["error"]["code"]) for each in stage.to_client] == [(3, 503)]
    assert not stage.conversation.awaiting


def test_tasks_are_bounded_and_the_oldest_is_given_up() -> None:
    stage = begun()
    stage.server(request("s", "elicitation/create", **FORM, _meta=RELATED))
    for number in range(MAX_TASKS):
        stage.client(modern(number + 10, "tasks/get", WITH_TASKS, taskId=f"other-{number}"))
        stage.server(result(number + 10, **{**state("working"), "taskId": f"other-{number}"}))
    assert [each["id"] for each in stage.to_server if "error" in each] == ["s"]


# --- a legacy client at a modern server ---


def at_modern(judge: Any = YES) -> Crossed:
    return Crossed(MODERN_TASKS, judge).up()


def tasked(id: Any = 1) -> JsonObject:
    return request(id, "tools/call", name="write", arguments={"text": "x"}, task={"ttl": 60000})


def test_a_modern_server_with_the_extension_is_a_legacy_one_with_tasks() -> None:
    stage = Crossed(MODERN_TASKS)
    stage.client(INITIALIZE, INITIALIZED, request(1, "tools/list"))
    offered = stage.to_client[0]["result"]["capabilities"]
    assert offered["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    assert offered["extensions"] == {"com.example/other": {}}
    assert {tool["execution"]["taskSupport"] for tool in stage.to_client[1]["result"]["tools"]} == {"optional"}


def test_a_revision_without_tasks_is_offered_none() -> None:
    stage = Crossed(MODERN_TASKS)
    older = {**INITIALIZE["params"], "protocolVersion": "2025-06-18"}
    stage.client({**INITIALIZE, "params": older}, INITIALIZED, request(1, "tools/list"))
    assert "tasks" not in stage.to_client[0]["result"]["capabilities"]
    assert all("execution" not in tool for tool in stage.to_client[1]["result"]["tools"])


def test_a_call_with_a_task_lets_the_server_make_one_and_a_plain_call_does_not() -> None:
    stage = at_modern()
    stage.client(tasked(), call(2))
    first, second = stage.to_server
    assert "task" not in first["params"]
    assert first["params"]["_meta"][CLIENT_CAPABILITIES_KEY]["extensions"] == {TASKS: {}}
    assert "extensions" not in second["params"]["_meta"][CLIENT_CAPABILITIES_KEY]
    stage.server(result(1, resultType="task", **told("working", pollIntervalMs=5), _meta={"v": 1}))
    assert stage.to_client == [result(1, task=state("working", pollInterval=5), _meta={"v": 1})]
    stage.server(result(2, resultType="task", **told("working")))
    assert "no word for" in stage.to_client[-1]["result"]["content"][0]["text"]


@pytest.mark.parametrize(("more", "status"), [({}, "completed"), ({"isError": True}, "failed")])
def test_a_call_that_was_finished_at_once_is_a_task_that_has_ended(more: JsonObject, status: str) -> None:
    stage = at_modern()
    stage.client(tasked())
    stage.server(result(1, resultType="complete", content=[], **more))
    task = stage.to_client[-1]["result"]["task"]
    assert (task["status"], task["createdAt"], task["ttl"]) == (status, NOW, None)
    stage.effects.clear()
    about = {"taskId": task["taskId"]}
    stage.client(request(2, "tasks/get", **about), request(3, "tasks/result", **about))
    meta = {RELATED_TASK_KEY: about}
    assert stage.to_client == [result(2, **task), result(3, content=[], **more, _meta=meta)]
    stage.client(request(4, "tasks/cancel", **about))
    assert (stage.to_client[-1]["error"]["code"], stage.to_server) == (-32602, [])


def test_results_that_nobody_asks_for_are_bounded() -> None:
    stage = at_modern()
    for number in range(MAX_FINISHED + 1):
        stage.client(tasked(number))
        stage.server(result(number, resultType="complete", content=[]))
    first = stage.to_client[0]["result"]["task"]["taskId"]
    stage.client(request("late", "tasks/result", taskId=first))
    assert stage.to_server[-1]["method"] == "tasks/get"  # nobody here knows it; the server may


def test_a_look_at_a_modern_task_tells_its_state_and_not_what_it_came_to() -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/get", taskId="t1"))
    stage.server(result(2, resultType="complete", **told("completed"), result={"isError": True}))
    assert stage.to_client == [result(2, **state("failed"))]


def test_a_result_is_waited_for_in_the_pace_the_server_asks_for() -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/result", taskId="t1"))
    stage.server(result(2, resultType="complete", **told("working", pollIntervalMs=2000)))
    assert (len(stage.to_server), stage.to_client) == (1, [])
    assert stage.conversation.awaiting and stage.conversation.resting
    assert stage.feed(Tick()) == []
    stage.feed(Tick())
    again = stage.to_server[-1]
    assert (again["method"], again["params"]["taskId"]) == ("tasks/get", "t1")
    assert not stage.conversation.resting
    stage.server(result(again["id"], resultType="complete", **told("completed"), result={"content": [], "v": 1}))
    assert stage.to_client == [result(2, content=[], v=1, _meta=RELATED)]
    assert not stage.conversation.awaiting


@pytest.mark.parametrize(
    ("outcome", "code"), [(told("failed", error={"code": -7, "message": "x"}), -7), (told("cancelled"), 503)]
)
def test_a_task_without_a_result_is_an_error_to_whoever_waits_for_it(outcome: JsonObject, code: int) -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/result", taskId="t1"))
    stage.server(result(2, resultType="complete", **outcome))
    assert [(each["id"], each["error"]["code"]) for each in stage.to_client] == [(2, code)]


def wanting(id: Any, **entries: JsonObject) -> JsonObject:
    return result(id, resultType="complete", **told("input_required"), inputRequests=entries)


def test_what_a_modern_task_asks_for_is_asked_of_whoever_waits_for_its_result_and_asked_once() -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/result", taskId="t1"))
    form = {"method": "elicitation/create", "params": FORM}
    stage.server(wanting(2, a=form))
    (asked,) = stage.to_client
    assert (asked["method"], asked["params"]) == ("elicitation/create", {**FORM, "_meta": RELATED})
    stage.client(result(asked["id"], action="accept"))
    update = stage.to_server[-1]
    assert update["method"] == "tasks/update"
    assert update["params"]["inputResponses"] == {"a": {"action": "accept"}}
    assert [each.method for each in stage.judged] == ["elicitation/create", "tasks/update"]
    stage.server(result(update["id"], resultType="complete"))
    stage.feed(Tick())
    stage.server(wanting(stage.to_server[-1]["id"], a=form))
    assert len(stage.to_client) == 1
    stage.feed(Tick())
    stage.server(result(stage.to_server[-1]["id"], resultType="complete", **told("completed"), result={"content": []}))
    assert stage.to_client[-1] == result(2, content=[], _meta=RELATED)


def test_an_update_the_policy_refuses_ends_the_wait() -> None:
    stage = at_modern(lambda asked: NO if asked.method == "tasks/update" else YES)
    stage.client(request(2, "tasks/result", taskId="t1"))
    stage.server(wanting(2, a={"method": "roots/list"}))
    stage.client(result(stage.to_client[-1]["id"], roots=[]))
    assert (stage.to_client[-1]["id"], stage.to_client[-1]["error"]["code"]) == (2, 403)
    assert [each["method"] for each in stage.to_server] == ["tasks/get"]


def test_a_task_that_asks_what_its_client_cannot_do_ends_the_wait_by_name() -> None:
    stage = Crossed(MODERN_TASKS)
    stage.client(INITIALIZE, INITIALIZED, request(2, "tasks/result", taskId="t1"))
    stage.start(MODERN_TASKS)
    stage.server(wanting(2, a={"method": "elicitation/create", "params": FORM}))
    assert "elicitation, which the client did not declare" in stage.to_client[-1]["error"]["message"]


def test_a_wait_that_was_given_up_is_waited_for_no_more() -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/result", taskId="t1"))
    stage.server(result(2, resultType="complete", **told("working")))
    stage.client(notice("notifications/cancelled", requestId=2))
    assert not stage.conversation.resting
    assert stage.feed(Tick()) == []
    assert stage.to_client == []


def test_a_cancelled_modern_task_is_told_as_what_has_become_of_it() -> None:
    stage = at_modern()
    stage.client(request(2, "tasks/cancel", taskId="t1"))
    assert stage.to_server[-1]["method"] == "tasks/cancel"
    stage.server(result(2, resultType="complete"))
    assert stage.to_server[-1]["method"] == "tasks/get"
    stage.server(result(stage.to_server[-1]["id"], resultType="complete", **told("cancelled")))
    assert stage.to_client == [result(2, **state("cancelled"))]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (request(1, "tasks/list"), -32601),
        (request(1, "tasks/get"), -32602),
        (request(1, "prompts/get", name="summary", task={}), -32602),
        (request(1, "tools/call", name="write", arguments={"text": "x"}, task=7), -32602),
        (request(1, "tasks/update", taskId="t1"), -32601),
    ],
)
def test_what_no_era_or_no_server_has_of_tasks_is_refused_by_name(message: JsonObject, code: int) -> None:
    stage = at_modern()
    stage.client(message)
    assert [each["error"]["code"] for each in stage.to_client] == [code]
    assert stage.to_server == []
