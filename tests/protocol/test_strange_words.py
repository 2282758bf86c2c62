"""A method nobody judges carries no more than its row of the table knows; what says more is judged or stays here."""

import pytest

from broker.model import JsonObject
from tests.protocol.stage import MAYBE, META, NO, Stage, modern, notice, questions, request, result, shape

SECRET = "the secret is 1234"


@pytest.mark.parametrize(
    "message",
    [
        request(1, "tasks/get", taskId="t", note=SECRET),
        request(1, "tasks/get", taskId="t", _meta={"vendor/note": SECRET}),
        request(1, "tasks/get", taskId="t", _meta={"baggage": SECRET}),
        request(1, "tasks/list", cursor={"text": SECRET}),
        request(1, "tasks/cancel", taskId="t", reason=SECRET),
        {**request(1, "tasks/result", taskId="t"), "note": SECRET},
    ],
)
def test_a_request_that_says_more_than_its_method_has_fields_for_is_judged(message: JsonObject) -> None:
    stage = Stage(judge=NO)
    stage.decide = NO
    stage.running()
    stage.client(message)
    assert stage.to_server == []
    assert [asked.method for asked in stage.judged] == [message["method"]]
    stage = Stage(judge=MAYBE).running()
    (question,) = questions(stage.client(message))
    stage.answer(question)
    assert stage.to_server == [message]


def test_what_its_method_has_fields_for_goes_on_unasked() -> None:
    stage = Stage(judge=NO).running()
    plain = [
        request(1, "tasks/get", taskId="t", _meta={"progressToken": 1, "traceparent": "00-1-1-00"}),
        request(2, "tasks/list", cursor="next"),
        notice("notifications/roots/list_changed"),
        notice("notifications/tasks/status", taskId="t", status="working", statusMessage="half way"),
    ]
    stage.client(*plain)
    assert (stage.to_server, stage.judged) == (plain, [])


@pytest.mark.parametrize(
    "words",
    [
        notice("notifications/roots/list_changed", note=SECRET),
        notice("notifications/tasks/status", taskId="t", status="working", note=SECRET),
        notice("notifications/roots/list_changed", _meta={"vendor/note": SECRET}),
        {**notice("notifications/roots/list_changed"), "note": SECRET},
    ],
)
@pytest.mark.parametrize("no", [NO, MAYBE])
def test_news_that_says_more_than_it_has_fields_for_goes_on_only_where_the_policy_allows_it(
    words: JsonObject, no: object
) -> None:
    stage = Stage(judge=no).running()  # type: ignore[arg-type]
    assert shape(stage.client(words)) == ["record notification"]
    assert stage.to_server == []
    stage = Stage().running()
    stage.client(words)
    assert stage.to_server == [words]


def test_a_cancellation_with_strange_words_reaches_nobody() -> None:
    stage = Stage().running()
    stage.client(request(1, "tasks/result", taskId="t"))
    stage.decide = NO
    stage.effects.clear()
    stage.client(notice("notifications/cancelled", requestId=1, note=SECRET))
    assert stage.to_server == []
    fine = notice("notifications/cancelled", requestId=1, reason="not needed")
    stage.client(fine)
    assert stage.to_server == [fine]


def test_what_a_client_brings_to_a_running_task_is_judged() -> None:
    stage = Stage(judge=NO).running_modern()
    stage.client(modern(1, "tasks/update", taskId="t", inputResponses={"a": {"content": SECRET}}))
    assert stage.to_server == []
    assert [asked.method for asked in stage.judged] == ["tasks/update"]


def test_a_result_that_is_only_meta_is_a_read() -> None:
    stage = Stage().running_modern()
    stage.client(modern(1, "tasks/get", taskId="t"))
    assert "read" in shape(stage.server(result(1, resultType="complete", _meta={"note": SECRET})))
    stage.client(modern(2, "tasks/get", taskId="t"))
    assert "read" not in shape(stage.server(result(2, resultType="complete")))


def test_a_person_is_shown_all_that_a_call_says_and_not_what_the_protocol_needs() -> None:
    stage = Stage().running_modern()
    meta = {**META, "progressToken": 1, "vendor/note": "mine"}
    stage.client(
        request(1, "tools/call", name="write", arguments={"text": "x"}, _meta=meta, inputResponses={"a": 1}, more=[2])
    )
    (asked,) = stage.judged
    assert asked.arguments == {"text": "x"}
    assert asked.extra == {"inputResponses": {"a": 1}, "more": [2], "_meta": {"vendor/note": "mine"}}
    stage.client(modern(2, "tools/call", name="write", arguments={"text": "x"}))
    assert stage.judged[1].extra == {}
