from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import ProtocolError
from broker.model import JsonObject
from broker.protocol.catalog import View
from broker.protocol.frames import is_request_id
from broker.protocol.listing import MAX_ITEMS, MAX_PAGES
from broker.protocol.survey import MAX_MESSAGES, Survey
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, VERSION_KEY
from tests.protocol.stage import LEGACY, MODERN, READ, WRITE, error, request, result

Answers = Callable[[JsonObject], JsonObject | list[JsonObject] | None]


def server(view: View, **overrides: Any) -> Answers:
    """A server that shows `view`, but for the methods in `overrides` (with `_` for `/`)."""
    fields = {
        "tools/list": {"tools": list(view.tools)},
        "prompts/list": {"prompts": list(view.prompts)},
        "resources/list": {"resources": list(view.resources)},
        "resources/templates/list": {"resourceTemplates": list(view.templates)},
    }

    def answer(message: JsonObject) -> JsonObject | list[JsonObject] | None:
        method = message["method"]
        override = overrides.get(method.replace("/", "_"))
        if override is not None:
            found: JsonObject | list[JsonObject] | None = override(message)
            return found
        if method in ("initialize", "server/discover"):
            return result(message["id"], **(view.opening or {}))
        return result(message["id"], **fields[method]) if "id" in message else None

    return answer


def survey_of(answers: Answers, era: Any = "legacy", capabilities: Any = "full") -> tuple[Survey, list[JsonObject]]:
    """Run a survey against a server to its end; returns it and everything it sent."""
    survey = Survey(era, capabilities)
    sent: list[JsonObject] = []
    queue = survey.start()
    while queue:
        message = queue.pop(0)
        sent.append(message)
        if "method" not in message:
            continue
        answer = answers(message)
        for each in answer if isinstance(answer, list) else [answer] if answer else []:
            queue.extend(survey.receive(each))
    return survey, sent


def test_a_legacy_server_is_shaken_hands_with_and_asked_for_its_lists() -> None:
    survey, sent = survey_of(server(LEGACY))
    assert survey.view == LEGACY
    assert survey.key == "legacy/full"
    assert [message["method"] for message in sent] == [
        "initialize", "notifications/initialized",
        "tools/list", "prompts/list", "resources/list", "resources/templates/list",
    ]  # fmt: skip
    assert sent[0]["params"]["protocolVersion"] == "2025-11-25"
    assert set(sent[0]["params"]["capabilities"]) == {"roots", "sampling", "elicitation", "tasks"}


def test_a_modern_server_is_asked_with_the_metadata_every_request_needs() -> None:
    survey, sent = survey_of(server(MODERN), "modern", "empty")
    assert survey.view == MODERN
    assert survey.key == "modern/empty"
    for message in sent:
        assert message["params"]["_meta"][VERSION_KEY] == "2026-07-28"
        assert message["params"]["_meta"][CLIENT_CAPABILITIES_KEY] == {}
    assert sent[0]["method"] == "server/discover"


def test_only_lists_whose_capability_is_declared_are_asked_for() -> None:
    opening = {**(LEGACY.opening or {}), "capabilities": {"tools": {}}}
    survey, sent = survey_of(server(LEGACY, initialize=lambda message: result(message["id"], **opening)))
    assert [message["method"] for message in sent[2:]] == ["tools/list"]
    assert survey.view is not None
    assert survey.view.prompts == ()


def test_a_server_without_any_list_is_done_when_it_has_opened() -> None:
    opening = {**(LEGACY.opening or {}), "capabilities": {}}
    survey, _ = survey_of(server(LEGACY, initialize=lambda message: result(message["id"], **opening)))
    assert survey.view == View("legacy", opening=opening)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_however_a_list_is_cut_into_pages_all_of_it_is_found_in_order(pages: list[int]) -> None:
    names = iter(range(1000))
    parts = [[{"name": str(next(names)), "inputSchema": {}} for _ in range(count)] for count in pages]

    def tools(message: JsonObject) -> JsonObject:
        index = int(message.get("params", {}).get("cursor", 0))
        more = {"nextCursor": str(index + 1)} if index + 1 < len(parts) else {}
        return result(message["id"], tools=parts[index], **more)

    survey, _ = survey_of(server(LEGACY, tools_list=tools))
    assert survey.view is not None
    assert survey.view.tools == tuple(item for part in parts for item in part)


def test_a_refusal_of_the_era_is_a_view_too() -> None:
    refusal = {"code": -32022, "message": "modern only", "data": {"supported": ["2026-07-28"]}}
    answers = server(LEGACY, initialize=lambda message: {"jsonrpc": "2.0", "id": message["id"], "error": refusal})
    survey, sent = survey_of(answers)
    assert survey.view == View("legacy", refusal=refusal)
    assert len(sent) == 1


def test_an_empty_answer_to_what_a_server_does_not_know_is_a_refusal_of_the_era() -> None:
    survey, sent = survey_of(server(MODERN, server_discover=lambda message: result(message["id"])), "modern")
    assert survey.view is not None and survey.view.refusal is not None
    assert [message["method"] for message in sent] == ["server/discover"]


@pytest.mark.parametrize(("supported", "asked"), [(["2026-07-28"], 2), (["2099-01-01"], 1), (None, 1)])
def test_a_server_that_takes_the_version_after_all_is_asked_once_more(supported: object, asked: int) -> None:
    refusal = {"code": -32022, "message": "not this one", "data": {"supported": supported}}
    answers = server(MODERN, server_discover=lambda message: {"jsonrpc": "2.0", "id": message["id"], "error": refusal})
    survey, sent = survey_of(answers, "modern")
    assert survey.view == View("modern", refusal=refusal)
    assert [message["method"] for message in sent] == ["server/discover"] * asked


def test_silence_after_the_opening_is_a_refusal_of_the_era() -> None:
    survey = Survey("modern", "full")
    survey.start()
    survey.unanswered()
    assert survey.view is not None
    assert survey.view.refusal is not None
    assert survey.view.refusal["code"] == -32601


def test_silence_in_the_middle_is_a_fault() -> None:
    survey = Survey("legacy", "full")
    (opening,) = survey.start()
    survey.receive(result(opening["id"], **(LEGACY.opening or {})))
    with pytest.raises(ProtocolError, match="before its lists were complete"):
        survey.unanswered()


def test_questions_of_the_server_are_answered_while_nobody_is_there() -> None:
    survey = Survey("legacy", "full")
    survey.start()
    assert survey.receive(request("a", "ping")) == [result("a")]
    for method in ("roots/list", "sampling/createMessage", "elicitation/create", "unheard/of"):
        (answer,) = survey.receive(request(7, method))
        assert answer["id"] == 7
        assert answer["error"]["code"] == -32601
    assert survey.receive({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}) == []


def test_a_list_the_server_does_not_know_is_an_empty_list() -> None:
    answers = server(LEGACY, resources_templates_list=lambda message: error(message["id"], -32601))
    survey, _ = survey_of(answers)
    assert survey.view is not None
    assert survey.view.templates == ()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"tools_list": lambda m: error(m["id"], -32603)}, "answered tools/list with error -32603"),
        ({"tools_list": lambda m: result(m["id"], tools={})}, "answered tools/list without tools"),
        ({"tools_list": lambda m: result(m["id"], tools=[WRITE, WRITE])}, "two of its tools under one name"),
        ({"tools_list": lambda m: result(m["id"], tools=["write"])}, "a tool that is not an object"),
        ({"tools_list": lambda m: result(m["id"], tools=[{"name": ""}])}, "a tool without a name"),
        ({"tools_list": lambda m: result(m["id"], tools=[{"name": "x"}])}, "a tool without an inputSchema"),
        ({"tools_list": lambda m: result(m["id"], tools=[READ], nextCursor=7)}, "a cursor that leads nowhere"),
        ({"tools_list": lambda m: result(m["id"], tools=[], nextCursor="again")}, "a cursor that leads nowhere"),
        ({"tools_list": lambda m: result("bulkhead/99", tools=[])}, "answered a request nobody made"),
        ({"tools_list": lambda m: result("me", tools=[])}, "answered a request nobody made"),
        ({"tools_list": lambda m: [result(m["id"], tools=[])] * 2}, "answered a request nobody made"),
        ({"initialize": lambda m: result(m["id"])}, "a protocol version nobody here speaks"),
        ({"initialize": lambda m: result(m["id"], protocolVersion="2025-11-25")}, "without saying who it is"),
        ({"initialize": lambda m: {"jsonrpc": "2.0", "id": m["id"], "result": []}}, "a result that is not an object"),
        ({"initialize": lambda m: {"jsonrpc": "2.0", "id": m["id"]}}, "no request, notification or response"),
        ({"initialize": lambda m: {"id": m["id"], "result": {}}}, 'without "jsonrpc": "2.0"'),
    ],
)
def test_a_server_that_breaks_a_rule_while_it_is_looked_at_is_refused_by_name(
    overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        survey_of(server(LEGACY, **overrides))
    assert "server" in caught.value.who


def test_pages_without_end_are_refused() -> None:
    cursors = iter(range(10**9))
    asked: list[JsonObject] = []

    def endless(message: JsonObject) -> JsonObject:
        asked.append(message)
        return result(message["id"], tools=[], nextCursor=str(next(cursors)))

    with pytest.raises(ProtocolError, match="more than 100 pages"):
        survey_of(server(LEGACY, tools_list=endless))
    assert len(asked) == MAX_PAGES


def test_more_items_than_anybody_can_review_are_refused() -> None:
    many = [{"name": str(number), "inputSchema": {}} for number in range(MAX_ITEMS + 1)]
    with pytest.raises(ProtocolError, match="advertises more tools"):
        survey_of(server(LEGACY, tools_list=lambda message: result(message["id"], tools=many)))


def test_a_server_that_talks_without_end_is_refused() -> None:
    survey = Survey("legacy", "full")
    survey.start()
    chatter = {"jsonrpc": "2.0", "method": "notifications/message"}
    for _ in range(MAX_MESSAGES):
        survey.receive(chatter)
    with pytest.raises(ProtocolError, match="before its lists were complete"):
        survey.receive(chatter)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
odd = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0"),
        "id": st.sampled_from(["bulkhead/1", "bulkhead/2", 1]) | json_values,
        "method": st.sampled_from(["ping", "roots/list"]) | json_values,
        "params": json_values,
        "result": st.just(LEGACY.opening) | st.fixed_dictionaries({"tools": json_values}) | json_values,
        "error": json_values,
    },
)


@settings(max_examples=300)
@given(st.lists(odd, max_size=6))
def test_whatever_a_server_says_a_survey_ends_in_a_view_or_a_named_fault(said: list[JsonObject]) -> None:
    survey = Survey("legacy", "full")
    survey.start()
    try:
        for message in said:
            for sent in survey.receive(message):
                assert sent["jsonrpc"] == "2.0"
                assert "id" not in sent or is_request_id(sent["id"])
    except ProtocolError as problem:
        blamed = problem.who
    else:
        blamed = "server"
    assert "server" in blamed
