from typing import Any

import pytest

from broker.protocol import link
from broker.protocol.effects import End
from broker.protocol.events import Garbled, ServerGone
from tests.protocol.stage import (
    MAYBE,
    NO,
    YES,
    Stage,
    call,
    error,
    notice,
    questions,
    request,
    result,
    shape,
    text,
)

SAMPLE = request("s1", "sampling/createMessage", messages=[{"role": "user"}], maxTokens=5, vendorField=1)
GARBAGE = Garbled("server", "server sent a line that is no message", {"jsonrpc": "2.0", "id": None, "error": {}}, 20)


@pytest.mark.parametrize(
    "answer",
    [
        text(99, "nobody asked"),
        text("1", "text, not the number"),
        error(99),
        text("bulkhead/999", "ours, but not asked"),
    ],
)
def test_an_answer_to_a_request_nobody_made_is_recorded_and_dropped(answer: dict[str, Any]) -> None:
    stage = Stage().running()
    stage.client(call(1))
    assert shape(stage.server(answer))[-1] == "record violation"
    assert stage.to_client == []
    stage.server(text(1, "the real one"))
    assert stage.to_client == [text(1, "the real one")]


def test_a_second_answer_is_dropped() -> None:
    stage = Stage().running()
    stage.client(call(1))
    stage.server(text(1, "first"), text(1, "second"))
    assert stage.to_client == [text(1, "first")]


def test_a_call_that_waits_for_a_person_cannot_be_answered_by_the_server() -> None:
    stage = Stage().running()
    stage.decide = MAYBE
    (question,) = questions(stage.client(call(1)))
    assert shape(stage.server(text(1, "forged"))) == ["record violation"]
    stage.answer(question, YES)
    assert stage.to_server == [call(1)]


def test_a_server_that_goes_on_answering_what_nobody_asked_ends_the_link_and_is_blamed() -> None:
    stage = Stage().running()
    stage.client(call("open"))
    for number in range(link.MAX_FAULTS["server"]):
        stage.server(text(number, "unasked"))
    end = stage.effects[-1]
    assert isinstance(end, End)
    assert end.blame == "server"
    assert stage.to_client[-1]["id"] == "open"
    assert "error" in stage.to_client[-1]
    assert stage.server(text("open", "late")) == []


def test_a_servers_line_that_is_no_message_is_recorded_dropped_and_put_up_with_for_a_while() -> None:
    stage = Stage().running()
    for _ in range(link.MAX_CHATTER - 1):
        assert shape(stage.feed(GARBAGE)) == ["record violation"]
    assert stage.to_client == []
    assert shape(stage.feed(GARBAGE)) == ["record violation", "end"]


def test_a_flood_without_a_line_end_is_no_chatter() -> None:
    stage = Stage().running()
    flood = Garbled("server", "server sent a line longer than 4194304 bytes", {}, 4 << 20)
    shapes = [shape(stage.feed(flood)) for _ in range(link.MAX_FAULTS["server"])]
    assert shapes[-1] == ["record violation", "end"]
    assert shapes[:-1] == [["record violation"]] * (len(shapes) - 1)


def test_a_clients_line_that_is_no_message_is_answered_and_the_link_lives() -> None:
    stage = Stage().running()
    reply = error(None, -32700, "client sent a line that is no message")
    assert shape(stage.feed(Garbled("client", "client sent ...", reply, 9))) == ["record violation", "to client"]
    assert stage.to_client == [reply]
    stage.client(call(1))
    assert stage.to_server == [call(1)]


def test_an_error_about_something_the_server_could_not_read_is_recorded_and_dropped() -> None:
    stage = Stage().running()
    assert shape(stage.server(error(None, -32700))) == ["record result"]


# --- requests of the server ---


def test_a_request_of_the_server_is_judged_read_and_passed_on_and_its_answer_goes_back() -> None:
    stage = Stage().running()
    effects = stage.server(SAMPLE)
    assert shape(effects) == ["record decision", "read", "to client"]
    assert (stage.judged[0].origin, stage.judged[0].target) == ("server", "sampling/createMessage")
    assert stage.to_client == [SAMPLE]
    answer = {**result("s1", role="assistant"), "vendorField": 2}
    assert shape(stage.client(answer)) == ["record result", "to server"]
    assert stage.to_server == [answer]


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
def test_a_denied_request_of_the_server_is_refused_and_the_client_never_sees_it(method: str) -> None:
    stage = Stage().running()
    stage.decide = NO
    stage.server(request(1, method))
    assert stage.to_client == []
    assert stage.to_server[0]["id"] == 1
    assert stage.to_server[0]["error"]["code"] == 403


def test_a_person_may_be_asked_about_a_request_of_the_server() -> None:
    stage = Stage().running()
    stage.decide = MAYBE
    (question,) = questions(stage.server(SAMPLE))
    assert stage.to_client == []
    stage.answer(question, YES)
    assert stage.to_client == [SAMPLE]
    (question,) = questions(stage.server({**SAMPLE, "id": "s2"}))
    stage.answer(question, NO)
    assert stage.to_server[0]["error"]["code"] == 403
    (question,) = questions(stage.server({**SAMPLE, "id": "s3"}))
    assert shape(stage.server(notice("notifications/cancelled", requestId="s3")))[-1] == "withdraw"
    assert stage.answer(question, YES) == []


def test_a_ping_of_the_server_goes_to_the_client_unjudged() -> None:
    stage = Stage().running()
    stage.server(request(5, "ping"))
    stage.client(result(5))
    assert stage.judged == []
    assert (stage.to_client, stage.to_server) == ([request(5, "ping")], [result(5)])


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "initialize", "logging/setLevel", "unheard/of"])
def test_a_server_may_not_use_a_clients_method(method: str) -> None:
    stage = Stage().running()
    stage.server(request(1, method, name="write", uri="x"))
    assert stage.to_client == []
    assert stage.to_server[0]["error"]["code"] == -32601


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", "elicitation/create"])
def test_a_client_may_not_use_a_servers_method(method: str) -> None:
    stage = Stage().running()
    stage.client(request(1, method))
    assert stage.to_server == []
    assert stage.to_client[0]["error"]["code"] == -32601


def test_both_sides_may_use_the_same_id_at_once() -> None:
    stage = Stage().running()
    stage.client(call(1))
    stage.server(request(1, "roots/list"))
    stage.client(result(1, roots=[]))
    stage.server(text(1, "done"))
    assert stage.to_server == [call(1), result(1, roots=[])]
    assert stage.to_client == [request(1, "roots/list"), text(1, "done")]


def test_a_client_that_answers_what_nobody_asked_is_not_passed_on() -> None:
    stage = Stage().running()
    assert shape(stage.client(result(1, roots=["/"]))) == ["record violation"]
    stage.server(request(1, "roots/list"))
    stage.client(result(1, roots=[]), result(1, roots=["/"]))
    assert stage.to_server == [result(1, roots=[])]


def test_a_server_that_uses_an_open_id_again_is_not_passed_on() -> None:
    stage = Stage().running()
    stage.server(request(1, "roots/list"), request(1, "roots/list"))
    assert len(stage.to_client) == 1
    assert stage.records[-1].kind == "violation"


def test_more_requests_of_the_server_than_the_bound_are_refused() -> None:
    stage = Stage().running()
    for number in range(link.MAX_OPEN + 1):
        stage.server(request(number, "roots/list"))
    assert len(stage.to_client) == link.MAX_OPEN
    assert stage.to_server[-1]["error"]["code"] == 429


def test_questions_of_a_server_that_ended_are_cancelled_at_the_client_and_a_late_answer_is_dropped() -> None:
    stage = Stage().running()
    stage.server(SAMPLE)
    stage.feed(ServerGone("it crashed"))
    assert stage.to_client[-1]["method"] == "notifications/cancelled"
    assert stage.to_client[-1]["params"]["requestId"] == "s1"
    assert shape(stage.client(result("s1"))) == ["record result"]
    assert stage.to_server == []


def test_a_question_a_person_thinks_about_is_withdrawn_when_the_server_that_asked_ends() -> None:
    stage = Stage().running()
    stage.decide = MAYBE
    (question,) = questions(stage.server(SAMPLE))
    assert shape(stage.feed(ServerGone("it crashed"))) == ["record exit", "withdraw"]
    assert stage.answer(question, YES) == []


# --- news ---


def test_progress_reaches_who_asked_for_it_and_nobody_else() -> None:
    stage = Stage().running()
    message = call(1)
    message["params"]["_meta"] = {"progressToken": 1}
    progress = notice("notifications/progress", progressToken=1, progress=0.5, vendorField=1)
    stage.server(progress)
    stage.client(message)
    stage.server(progress)
    for token in ("1", True, 1.0, None, 2):
        stage.server(notice("notifications/progress", progressToken=token, progress=1))
    assert stage.to_client == [progress]
    stage.server(text(1, "done"), progress)
    assert stage.to_client == [progress, text(1, "done")]


def test_progress_on_a_task_goes_on_after_its_call_was_answered() -> None:
    stage = Stage().running()
    message = call(1)
    message["params"] |= {"_meta": {"progressToken": "t"}, "task": {"ttl": 1}}
    stage.client(message)
    progress = notice("notifications/progress", progressToken="t", progress=1)
    stage.server(result(1, task={"taskId": "x", "status": "working"}), progress)
    assert stage.to_client[-1] == progress


def test_progress_of_the_client_reaches_a_server_that_asked_for_it() -> None:
    stage = Stage().running()
    stage.server(request("s", "sampling/createMessage", _meta={"progressToken": "mine"}))
    progress = notice("notifications/progress", progressToken="mine", progress=1)
    stage.client(progress, notice("notifications/progress", progressToken="other", progress=1))
    assert stage.to_server == [progress]


@pytest.mark.parametrize(
    "message",
    [
        notice("notifications/message", level="info", data={"a": [1]}, vendorField=1),
        notice("notifications/elicitation/complete", elicitationId="x"),
        notice("notifications/tasks/status", taskId="x", status="working"),
    ],
)
def test_news_of_the_server_is_passed_on_as_it_came(message: dict[str, Any]) -> None:
    stage = Stage().running()
    assert shape(stage.server(message)) == ["record notification", "read", "to client"]
    assert stage.to_client[0] is message


def test_words_a_server_says_unasked_count_as_read() -> None:
    stage = Stage().running()
    stage.client(request(1, "tools/call", name="read", arguments={}, _meta={"progressToken": "p"}))
    assert shape(stage.server(notice("notifications/progress", progressToken="p", progress=1))) == [
        "record notification",
        "to client",
    ]
    for words in (
        notice("notifications/progress", progressToken="p", progress=2, message="the secret is 1234"),
        notice("notifications/message", level="info", data="the secret is 1234"),
    ):
        assert shape(stage.server(words)) == ["record notification", "read", "to client"]
    stage.server(SAMPLE)
    cancelled = notice("notifications/cancelled", requestId="s1", reason="the secret is 1234")
    assert shape(stage.server(cancelled)) == ["record notification", "read", "to client"]
    question = request(7, "tasks/get", taskId="the secret is 1234")
    assert shape(stage.server(question)) == ["record request", "read", "to client"]
    assert shape(stage.server(request(8, "ping"))) == ["record request", "to client"]


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/roots/list_changed", "notifications/x"])
def test_news_a_server_may_not_send_is_recorded_and_dropped(method: str) -> None:
    stage = Stage().running()
    assert shape(stage.server(notice(method))) == ["record notification"]


def test_updates_of_resources_nobody_follows_are_dropped() -> None:
    stage = Stage().running()
    stage.server(notice("notifications/resources/updated", uri="file:///notes/one"))
    assert stage.to_client == []


def test_a_server_cancels_its_own_request_at_the_client() -> None:
    stage = Stage().running()
    cancelled = notice("notifications/cancelled", requestId="s1")
    stage.server(SAMPLE, cancelled)
    assert stage.to_client == [SAMPLE, cancelled]
    assert shape(stage.client(result("s1"))) == ["record result"]
    assert stage.to_server == []


def test_a_server_cannot_cancel_a_clients_request() -> None:
    stage = Stage().running()
    stage.client(call(1))
    stage.server(notice("notifications/cancelled", requestId=1))
    assert stage.to_client == []
    stage.server(text(1, "done"))
    assert stage.to_client == [text(1, "done")]


def test_a_change_of_roots_reaches_a_running_server_and_starts_none() -> None:
    news = notice("notifications/roots/list_changed")
    stage = Stage().running()
    stage.client(news)
    assert stage.to_server == [news]
    asleep = Stage().opened()
    asleep.effects.clear()
    assert shape(asleep.client(news)) == ["record notification"]


def test_tasks_pass_in_both_directions() -> None:
    stage = Stage().running()
    stage.client(request(1, "tasks/result", taskId="t"))
    stage.server(text(1, "later"), request(2, "tasks/get", taskId="c"))
    stage.client(result(2, status="working"))
    assert stage.to_server == [request(1, "tasks/result", taskId="t"), result(2, status="working")]
    assert stage.to_client == [text(1, "later"), request(2, "tasks/get", taskId="c")]
    assert "read" in shape(stage.effects)


def test_a_server_that_only_talks_is_ended_before_it_fills_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MAX_UNASKED", 20 * link.RECEIPT)
    chatter = notice("notifications/progress", progressToken="nobody", progress=1)
    stage = Stage().running()
    for number in range(40):
        if number % 10 == 0:  # while it is asked for something it may talk about it
            stage.client(call(number))
        assert shape(stage.server(chatter)) == ["record notification"]
    stage.server(*[chatter] * 20)
    assert isinstance(stage.effects[-1], End)
    assert "that nobody asked for" in stage.effects[-1].reason
