"""Methods nobody here knows, of an extension both sides declared; and what the tasks extension tells unasked."""

from dataclasses import replace
from typing import Any

import pytest

from broker.model import JsonObject
from broker.protocol.catalog import Catalog, View
from broker.protocol.versions import APPS, CLIENT_CAPABILITIES_KEY, TASKS, VERSION_KEY
from tests.protocol.stage import INITIALIZE, INITIALIZED, LEGACY, MODERN, NO, YES, Stage, call, notice, request, result

TAG = "io.modelcontextprotocol/subscriptionId"
VENDOR = "com.example/songs"
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Which?"}}


def offering(view: View, *names: str) -> View:
    assert view.opening is not None
    capabilities = {**view.opening["capabilities"], "extensions": {name: {} for name in names}}
    return replace(view, opening={**view.opening, "capabilities": capabilities})


def declaring(*names: str) -> JsonObject:
    return {"extensions": {name: {} for name in names}}


def legacy_stage(declared: str = VENDOR, offered: str = VENDOR, judge: Any = YES) -> Stage:
    view = offering(LEGACY, offered)
    stage = Stage(Catalog({"legacy/full": view}), judge, live=view)
    stage.client({**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": declaring(declared)}}, INITIALIZED)
    stage.client(call("warm"))
    stage.start(view)
    stage.server(result("warm", content=[]))
    stage.effects.clear()
    stage.judged.clear()
    return stage


def asked(id: Any, method: str, *names: str, **params: Any) -> JsonObject:
    meta = {VERSION_KEY: "2026-07-28", CLIENT_CAPABILITIES_KEY: declaring(*names)}
    return request(id, method, _meta=meta, **params)


def modern_stage(*names: str, judge: Any = YES) -> Stage:
    view = offering(MODERN, *names)
    stage = Stage(Catalog({"modern/full": view}), judge, live=view)
    stage.client(asked("warm", "tools/call", *names, name="write", arguments={"text": "x"}))
    stage.start(view)
    stage.server(result("warm", resultType="complete", content=[]))
    stage.effects.clear()
    stage.judged.clear()
    return stage


def test_a_method_of_a_declared_extension_passes_where_policy_lets_it() -> None:
    stage = legacy_stage()
    stage.client(request(1, "songs/play", loud=True), notice("notifications/songs/stop", now=[1]))
    stage.server(result(1, played=[None]), request("s", "songs/ask", what="x"), notice("notifications/songs/over"))
    assert [(each.origin, each.method, each.target) for each in stage.judged] == [
        ("client", "songs/play", "songs/play"),
        ("client", "notifications/songs/stop", "notifications/songs/stop"),
        ("server", "songs/ask", "songs/ask"),
        ("server", "notifications/songs/over", "notifications/songs/over"),
    ]
    assert [each["method"] for each in stage.to_server] == ["songs/play", "notifications/songs/stop"]
    assert stage.to_client == [
        result(1, played=[None]), request("s", "songs/ask", what="x"), notice("notifications/songs/over")
    ]  # fmt: skip


def test_a_method_of_a_declared_extension_goes_nowhere_where_policy_does_not_let_it() -> None:
    stage = legacy_stage(judge=lambda each: YES if each.method == "tools/call" else NO)
    stage.client(request(1, "songs/play"), notice("notifications/songs/stop"))
    stage.server(request("s", "songs/ask"), notice("notifications/songs/over"))
    assert [each["error"]["code"] for each in stage.to_client] == [403]
    assert [each["error"]["code"] for each in stage.to_server] == [403]


@pytest.mark.parametrize(("declared", "offered"), [(VENDOR, "com.example/other"), (TASKS, TASKS), (APPS, APPS)])
def test_a_method_of_no_extension_both_sides_declared_is_no_method(declared: str, offered: str) -> None:
    stage = legacy_stage(declared, offered)
    stage.client(request(1, "songs/play"), notice("notifications/songs/stop"))
    stage.server(request("s", "songs/ask"), notice("notifications/songs/over"))
    assert [each["error"]["code"] for each in stage.to_client] == [-32601]
    assert [each["error"]["code"] for each in stage.to_server] == [-32601]
    assert stage.judged == []


def test_a_modern_client_uses_a_declared_extension_and_its_server_still_asks_for_nothing() -> None:
    stage = modern_stage(VENDOR)
    stage.client(asked(1, "songs/play", VENDOR))
    stage.server(result(1, resultType="complete"), request("s", "songs/ask"))
    assert [each["method"] for each in stage.to_server] == ["songs/play"]
    assert stage.to_client == [result(1, resultType="complete")]
    assert stage.records[-1].kind == "violation"


def listening(*tasks: str) -> JsonObject:
    return asked("l", "subscriptions/listen", TASKS, notifications={"taskIds": list(tasks)})


def test_news_of_a_task_reach_whoever_follows_it_and_nobody_else() -> None:
    stage = modern_stage(TASKS)
    stage.client(listening("t1"))
    assert stage.to_client[0]["params"]["notifications"] == {"taskIds": ["t1"]}
    assert stage.to_server[-1]["params"]["notifications"] == {"taskIds": ["t1"]}
    stage.effects.clear()
    done = notice("notifications/tasks", taskId="t1", status="completed", result={"content": []}, _meta={TAG: "l"})
    bare = notice("notifications/tasks", taskId="t1", status="working")
    stage.server(done, bare, notice("notifications/tasks", taskId="t2", status="working"))
    stage.server(notice("notifications/tasks", taskId="t1", status="working", _meta={TAG: "other"}))
    assert stage.to_client == [done, bare]


@pytest.mark.parametrize(
    "wanted", [{"a": FORM}, {"a": {"method": "tools/call", "params": {}}}, [], {str(n): FORM for n in range(99)}]
)
def test_news_of_a_task_carry_nothing_past_the_policy(wanted: Any) -> None:
    stage = modern_stage(TASKS, judge=lambda each: NO if each.origin == "server" else YES)
    stage.client(listening("t1"))
    stage.effects.clear()
    stage.server(notice("notifications/tasks", taskId="t1", status="input_required", inputRequests=wanted))
    assert stage.to_client == []
    assert "dropped" in (stage.records[-1].body or {})


def test_what_a_task_wants_is_told_where_policy_lets_it() -> None:
    stage = modern_stage(TASKS)
    stage.client(listening("t1"))
    stage.effects.clear()
    news = notice("notifications/tasks", taskId="t1", status="input_required", inputRequests={"a": FORM})
    stage.server(news)
    assert stage.to_client == [news]
    assert stage.judged[-1].method == "elicitation/create"


def test_nobody_follows_the_tasks_of_a_server_that_has_none() -> None:
    stage = modern_stage(VENDOR)
    stage.client(listening("t1"))
    assert stage.to_client[0]["params"]["notifications"] == {}
    assert stage.to_server == []
