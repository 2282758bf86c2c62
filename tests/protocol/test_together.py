"""Many servers as one: whom each word is meant for, in both eras, with nothing but values."""

import json
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from broker.model import JsonObject, ServerName
from broker.protocol.catalog import Catalog, View
from broker.protocol.together.acts import Act, Enter, Say
from broker.protocol.together.gathering import Gathering
from broker.protocol.together.merged import IDENTITY
from broker.protocol.together.names import MAX_NAME, meant, shown
from broker.protocol.together.owners import fits
from tests.protocol.stage import INITIALIZE, INITIALIZED, error, modern, notice, request, result

TAG: Final = "io.modelcontextprotocol/subscriptionId"
A, B = ServerName("alpha"), ServerName("beta")


def catalog_of(server: ServerName) -> Catalog:
    """A tool called `do`, one with a name no model takes, a resource of its own, one both have, a template."""
    view = View(
        "legacy",
        opening={"protocolVersion": "2025-11-25", "capabilities": {"resources": {}}, "serverInfo": {"name": server}},
        tools=({"name": "do"}, {"name": "a/b"}),
        prompts=({"name": "greet"},),
        resources=({"uri": f"{server}://one"}, {"uri": "shared://one"}),
        templates=({"uriTemplate": f"{server}://{{name}}/end"},),
    )
    return Catalog({"legacy/full": view})


class Table:
    """A gathering of two servers, and everything it did."""

    def __init__(self) -> None:
        self.gathering = Gathering(lambda: [A, B], catalog_of)
        self.acts: list[Act] = []

    def client(self, *messages: JsonObject) -> list[tuple[str | None, JsonObject]]:
        return self._done([act for message in messages for act in self.gathering.from_client(message)])

    def server(self, name: ServerName, *messages: JsonObject) -> list[tuple[str | None, JsonObject]]:
        return self._done([act for message in messages for act in self.gathering.from_server(name, message)])

    def left(self, name: ServerName) -> list[tuple[str | None, JsonObject]]:
        return self._done(self.gathering.left(name, "it fell over"))

    def _done(self, acts: list[Act]) -> list[tuple[str | None, JsonObject]]:
        self.acts += acts
        return [(act.to, act.message) for act in acts if isinstance(act, Say)]

    @property
    def entered(self) -> list[ServerName]:
        return [act.server for act in self.acts if isinstance(act, Enter)]

    def opened(self) -> "Table":
        self.client(INITIALIZE)
        for name in (A, B):
            self.server(name, opening(name))
        self.client(INITIALIZED)
        return self

    def opened_modern(self) -> "Table":
        self.client(modern(0, "tools/list"))
        for name in (A, B):
            self.server(name, result(0, tools=[{"name": "do"}]))
        return self


def opening(name: ServerName, **capabilities: Any) -> JsonObject:
    return result(
        "open",
        protocolVersion="2025-11-25",
        capabilities=capabilities or {"tools": {"listChanged": True}},
        serverInfo={"name": name},
        instructions=f"I am {name}",
    )


# --- names ----------------------------------------------------------------------------------------------------------

words = st.text(st.sampled_from("ab_-.0"), min_size=1, max_size=60)


@given(st.lists(st.tuples(words, words), max_size=20, unique=True))
def test_every_tool_has_a_name_of_its_own_that_real_clients_take(tools: list[tuple[str, str]]) -> None:
    names = [shown(server, tool) for server, tool in tools]
    assert len(set(names)) == len(tools)
    assert all((len(name) <= MAX_NAME and name.isascii() and name.replace("_", "").replace("-", "").isalnum()) or
               set(name) <= set("_-") for name in names)  # fmt: skip


@given(st.lists(st.tuples(words, words), min_size=1, max_size=20))
def test_a_name_leads_back_to_what_it_was_made_of(tools: list[tuple[str, str]]) -> None:
    servers = sorted({ServerName(server) for server, _ in tools})
    for server, tool in tools:
        names = lambda each: [own for of, own in tools if of == each]  # noqa: E731
        assert meant(shown(server, tool), servers, names) == (server, tool)


def test_plain_names_stay_readable() -> None:
    assert shown("files", "read_text_file") == "files__read_text_file"
    assert shown("git.local", "status").startswith("git-local__status-")


def test_a_template_fits_what_can_be_made_of_it() -> None:
    assert fits("notes://{day}/{name}.md", "notes://monday/a.md")
    assert not fits("notes://{day}/{name}.md", "notes://monday")
    assert not fits("notes://x", "notes://y")


# --- opening and lists ----------------------------------------------------------------------------------------------


def test_all_servers_open_as_one_with_everything_any_of_them_can() -> None:
    table = Table()
    told = table.client(INITIALIZE)
    assert told == [(A, INITIALIZE), (B, INITIALIZE)]
    assert table.server(A, opening(A, tools={"listChanged": True})) == []
    ((to, answer),) = table.server(B, opening(B, logging={}, tools={}))
    assert to is None
    assert answer["result"]["capabilities"] == {"tools": {"listChanged": True}, "logging": {}}
    assert answer["result"]["serverInfo"] == dict(IDENTITY)
    assert answer["result"]["instructions"] == "# alpha\n\nI am alpha\n\n# beta\n\nI am beta"
    assert table.client(INITIALIZED) == [(A, INITIALIZED), (B, INITIALIZED)]


def test_a_server_that_cannot_open_leaves_the_others_alone() -> None:
    table = Table()
    table.client(INITIALIZE)
    table.server(A, error("open", -32601))
    ((_, answer),) = table.server(B, opening(B))
    assert answer["result"]["instructions"] == "# beta\n\nI am beta"


def test_where_nobody_can_open_the_client_may_try_again() -> None:
    table = Table()
    table.client(INITIALIZE)
    table.server(A, error("open", -32601))
    assert table.server(B, error("open", -32601)) == [(None, error("open", -32601))]
    assert [to for to, _ in table.client(INITIALIZE)] == [A, B]


def test_a_modern_client_discovers_all_of_them() -> None:
    table = Table()
    asked = modern(1, "server/discover")
    assert table.client(asked) == [(A, asked), (B, asked)]
    table.server(A, result(1, supportedVersions=["2026-07-28"], capabilities={"tools": {}}))
    ((_, answer),) = table.server(B, result(1, supportedVersions=["2025-11-25"], capabilities={"prompts": {}}))
    assert answer["result"]["supportedVersions"] == ["2025-11-25", "2026-07-28"]
    assert answer["result"]["capabilities"] == {"tools": {}, "prompts": {}}
    assert answer["result"]["resultType"] == "complete"


def test_a_list_is_that_of_all_and_keeps_every_field() -> None:
    table = Table().opened()
    table.client(request(1, "tools/list"))
    table.server(B, result(1, tools=[{"name": "do", "vendor": {"x": 1}}]))
    ((to, answer),) = table.server(A, result(1, tools=[{"name": "do"}, {"name": "a/b"}]))
    assert to is None
    names = [tool["name"] for tool in answer["result"]["tools"]]
    assert names == ["alpha__do", shown("alpha", "a/b"), "beta__do"]
    assert answer["result"]["tools"][2]["vendor"] == {"x": 1}


def test_a_list_that_goes_on_goes_on_where_each_server_was() -> None:
    table = Table().opened()
    table.client(request(1, "tasks/list"))
    table.server(A, result(1, tasks=[{"taskId": "t1"}], nextCursor="more"))
    ((_, first),) = table.server(B, result(1, tasks=[{"taskId": "t2"}]))
    cursor = first["result"]["nextCursor"]
    ((to, told),) = table.client(request(2, "tasks/list", cursor=cursor))
    assert (to, told["params"]) == (A, {"cursor": "more"})
    ((_, second),) = table.server(A, result(2, tasks=[{"taskId": "t3"}]))
    assert second["result"] == {"tasks": [{"taskId": "t3"}]}
    ((_, refused),) = table.client(request(3, "tasks/list", cursor="mine"))
    assert refused["error"]["code"] == -32602


# --- one of them ----------------------------------------------------------------------------------------------------


def test_a_call_reaches_the_server_it_names_under_the_servers_own_name() -> None:
    table = Table().opened()
    assert table.client(request(1, "tools/call", name="beta__do", arguments={"x": 1})) == [
        (B, request(1, "tools/call", name="do", arguments={"x": 1}))
    ]
    assert table.server(B, result(1, content=[])) == [(None, result(1, content=[]))]
    ((to, told),) = table.client(request(2, "tools/call", name=shown("alpha", "a/b")))
    assert (to, told["params"]["name"]) == (A, "a/b")
    ((to, refused),) = table.client(request(3, "tools/call", name="gamma__do"))
    assert to is None
    assert "there is no tool 'gamma__do' among your servers" in refused["error"]["message"]


def test_an_answer_of_another_server_answers_nothing() -> None:
    table = Table().opened()
    table.client(request(1, "tools/call", name="beta__do"))
    assert table.server(A, result(1, content=["forged"])) == []


def test_prompts_and_their_completions_are_found_by_name() -> None:
    table = Table().opened()
    ((to, told),) = table.client(request(1, "prompts/get", name="alpha__greet"))
    assert (to, told["params"]["name"]) == (A, "greet")
    reference = {"type": "ref/prompt", "name": "beta__greet"}
    ((to, told),) = table.client(request(2, "completion/complete", ref=reference, argument={"name": "x"}))
    assert (to, told["params"]["ref"]) == (B, {"type": "ref/prompt", "name": "greet"})
    template = {"type": "ref/resource", "uri": "alpha://{name}/end"}
    ((to, told),) = table.client(request(3, "completion/complete", ref=template))
    assert (to, told["params"]["ref"]) == (A, template)


def test_a_resource_is_read_where_it_is_listed_or_given_out_or_made_by_a_template() -> None:
    table = Table().opened()
    assert table.client(request(1, "resources/read", uri="beta://one"))[0][0] == B
    assert table.client(request(2, "resources/read", uri="alpha://any/end"))[0][0] == A
    table.client(request(3, "tools/call", name="beta__do"))
    table.server(B, result(3, content=[{"type": "resource_link", "uri": "made://up"}]))
    assert table.client(request(4, "resources/subscribe", uri="made://up"))[0][0] == B


def test_a_resource_two_servers_call_theirs_is_read_from_neither() -> None:
    ((to, refused),) = Table().opened().client(request(1, "resources/read", uri="shared://one"))
    assert to is None
    assert "alpha and beta both have a resource" in refused["error"]["message"]


def test_a_task_is_asked_after_where_it_was_made() -> None:
    table = Table().opened()
    table.client(request(1, "tools/call", name="beta__do", task={}))
    table.server(B, result(1, task={"taskId": "t"}))
    assert table.client(request(2, "tasks/get", taskId="t")) == [(B, request(2, "tasks/get", taskId="t"))]
    assert table.client(request(3, "tasks/cancel", taskId="other"))[0][1]["error"]["code"] == -32602


def test_input_that_a_call_wants_goes_back_to_the_same_server() -> None:
    table = Table().opened_modern()
    table.client(modern(1, "tools/call", name="alpha__do"))
    wanted = {"k": {"method": "elicitation/create", "params": {"message": "your name?"}}}
    ((_, told),) = table.server(A, result(1, resultType="input_required", inputRequests=wanted, requestState="opaque"))
    assert told["result"]["inputRequests"]["k"]["params"]["message"] == "alpha: your name?"
    assert told["result"]["requestState"] == "opaque"
    again = modern(2, "tools/call", name="alpha__do", requestState="opaque", inputResponses={"k": {"action": "accept"}})
    ((to, sent),) = table.client(again)
    assert to == A
    assert sent["params"] == {**again["params"], "name": "do"}


# --- both ways ------------------------------------------------------------------------------------------------------


def test_two_servers_that_ask_under_one_id_get_each_its_own_answer() -> None:
    table = Table().opened()
    asked = request(0, "sampling/createMessage", messages=[], includeContext="allServers", _meta={"progressToken": 7})
    ((_, first),) = table.server(A, asked)
    ((_, second),) = table.server(B, asked)
    assert first["id"] != second["id"]
    assert first["params"]["includeContext"] == "none"
    token = second["params"]["_meta"]["progressToken"]
    ((to, told),) = table.client(notice("notifications/progress", progressToken=token, progress=1))
    assert (to, told["params"]["progressToken"]) == (B, 7)
    assert table.client(result(second["id"], role="assistant")) == [(B, result(0, role="assistant"))]
    ((_, cancelled),) = table.server(A, notice("notifications/cancelled", requestId=0))
    assert cancelled["params"]["requestId"] == first["id"]
    assert table.client(result(first["id"], role="late")) == []


def test_cancelling_reaches_whoever_has_not_answered() -> None:
    table = Table().opened()
    table.client(request(1, "tools/call", name="beta__do"), request(2, "tools/list"))
    table.server(A, result(2, tools=[]))
    told = table.client(notice("notifications/cancelled", requestId=1), notice("notifications/cancelled", requestId=2))
    assert [(to, message["params"]["requestId"]) for to, message in told] == [(B, 1), (B, 2)]


def test_progress_logs_and_news_come_through_as_they_are() -> None:
    table = Table().opened()
    for message in (
        notice("notifications/progress", progressToken=1, progress=1),
        notice("notifications/message", level="info", data="x"),
        notice("notifications/tools/list_changed"),
        notice("notifications/resources/updated", uri="alpha://one"),
    ):
        assert table.server(A, message) == [(None, message)]


def test_a_log_level_is_set_where_it_can_be() -> None:
    table = Table().opened()
    told = table.client(request(1, "logging/setLevel", level="debug"))
    assert [to for to, _ in told] == [A, B]
    table.server(A, error(1, -32601))
    assert table.server(B, result(1)) == [(None, result(1))]


def test_a_subscription_is_acknowledged_once_for_all_and_first() -> None:
    table = Table().opened_modern()
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["alpha://one", "beta://one", "no://one"]}
    told = dict(table.client(modern("s", "subscriptions/listen", notifications=wanted)))
    assert told[A]["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["alpha://one"]}
    news = notice("notifications/tools/list_changed", _meta={TAG: "s"})
    acknowledged = "notifications/subscriptions/acknowledged"
    assert (
        table.server(A, notice(acknowledged, _meta={TAG: "s"}, notifications=told[A]["params"]["notifications"])) == []
    )
    assert table.server(A, news) == []
    ((_, first), (_, second)) = table.server(
        B, notice(acknowledged, _meta={TAG: "s"}, notifications={"toolsListChanged": True})
    )
    assert first["params"] == {
        "_meta": {TAG: "s"}, "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["alpha://one"]}
    }  # fmt: skip
    assert second == news
    assert [to for to, _ in table.client(notice("notifications/cancelled", requestId="s"))] == [A, B]


# --- ends -----------------------------------------------------------------------------------------------------------


def test_a_link_that_ends_answers_its_calls_and_comes_back_when_it_is_needed() -> None:
    table = Table().opened()
    table.client(request(1, "tools/call", name="beta__do"))
    told = table.left(B)
    assert "beta is not there: it fell over" in told[0][1]["error"]["message"]
    assert [message["method"] for _, message in told[1:]] == [
        f"notifications/{part}/list_changed" for part in ("tools", "prompts", "resources")
    ]
    assert table.entered == [A, B]
    again = table.client(request(2, "tools/call", name="beta__do", arguments={}))
    assert table.entered == [A, B, B]
    assert again == [(B, INITIALIZE), (B, INITIALIZED), (B, request(2, "tools/call", name="do", arguments={}))]
    assert table.server(B, opening(B)) == []
    assert table.server(B, result(2, content=[])) == [(None, result(2, content=[]))]


# --- what a client may not ------------------------------------------------------------------------------------------


def test_a_client_that_breaks_the_rules_is_told_and_nobody_else_hears_of_it() -> None:
    table = Table().opened()
    table.client(request(1, "tools/call", name="beta__do"))
    refused = table.client(
        INITIALIZE,
        request(1, "ping"),
        request(2, "made/up"),
        modern(3, "tools/list"),
        {"jsonrpc": "2.0"},
        result(99),
    )
    assert {to for to, _ in refused} == {None}
    assert [message["error"]["code"] for _, message in refused] == [-32600, -32600, -32601, -32600, -32600]
    ((_, before),) = Table().client(request(1, "tools/list"))
    assert "before initialize" in before["error"]["message"]
    assert Table().client(request(1, "tools/list"))[0][1]["error"]["code"] == -32600


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_what_nobody_knows_of_a_call_arrives(extra: dict[str, int]) -> None:
    table = Table().opened()
    asked = request(1, "tools/call", name="beta__do", arguments={"x": extra}, _meta={"v": extra})
    ((_, told),) = table.client({**asked, "vendor": extra})
    assert json.dumps(told) == json.dumps({**asked, "vendor": extra, "params": {**asked["params"], "name": "do"}})
