"""Which response a message of the server goes to, in the two eras of HTTP."""

import json
from typing import Any

import pytest

from broker.protocol.envelope import Request
from broker.protocol.http_exchanges import Exchanges
from broker.protocol.http_streams import MAX_KEPT, MAX_STREAMS, Streams

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def request(id: str | int, method: str = "tools/call", **meta: Any) -> Request:
    params = {"_meta": meta} if meta else {}
    return Request(id, method, params, {"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def put(streams: Streams, message: dict[str, Any]) -> int | None:
    found = streams.put(message, json.dumps(message))
    return None if found is None else found.number


def test_an_answer_goes_where_its_request_came_from() -> None:
    streams = Streams()
    first, second = streams.open([request(1)]), streams.open([request("1")])
    assert put(streams, {"id": "1", "result": {}}) == second.number
    assert put(streams, {"id": 1, "result": {}}) == first.number
    assert (first.over, second.over) == (True, True)


def test_an_answer_nobody_waits_for_goes_nowhere() -> None:
    streams = Streams()
    streams.open([request(1)])
    assert put(streams, {"id": True, "result": {}}) is None
    assert put(streams, {"id": 2, "result": {}}) is None


def test_progress_goes_where_its_token_came_from() -> None:
    streams = Streams()
    first = streams.open([request(1, progressToken="a")])
    streams.open([request(2, progressToken="b")])
    assert put(streams, {"method": "notifications/progress", "params": {"progressToken": "a"}}) == first.number


def test_a_request_of_the_server_goes_to_the_only_call_it_can_belong_to() -> None:
    streams = Streams()
    stream = streams.open([request(1)])
    assert put(streams, {"id": 9, "method": "elicitation/create"}) == stream.number
    assert put(streams, {"method": "notifications/tools/list_changed"}) == 0


def test_news_waits_for_the_stream_a_client_opens() -> None:
    streams = Streams()
    assert put(streams, {"method": "notifications/tools/list_changed"}) == 0
    assert len(streams.unasked.unsent) == 1


def test_a_stream_goes_on_behind_the_event_its_client_saw_last() -> None:
    streams = Streams()
    stream = streams.open([request(1, progressToken=1)])
    for step in range(3):
        put(streams, {"method": "notifications/progress", "params": {"progressToken": 1, "progress": step}})
    stream.sent = 3
    resumed = streams.resume(f"{stream.number}-1")
    assert resumed is stream and [number for number, _ in stream.unsent] == [2, 3]


@pytest.mark.parametrize("event", ["", "1", "7-1", "1-9", "x-1", "1--1", "1-1-1", "\u0661-1"])
def test_an_event_that_was_never_sent_resumes_nothing(event: str) -> None:
    streams = Streams()
    streams.open([request(1)])
    assert streams.resume(event) is None


def test_what_was_sent_gives_way_and_what_was_not_overflows() -> None:
    streams = Streams()
    big = "x" * (MAX_KEPT // 4)
    for _ in range(8):
        stream = streams.put({"method": "notifications/message"}, big)
        assert stream is not None
        stream.sent = stream.last
    assert not streams.overflowing
    for _ in range(8):
        streams.put({"method": "notifications/message"}, big)
    assert streams.overflowing


def test_streams_whose_answers_were_sent_make_room() -> None:
    streams = Streams()
    for number in range(MAX_STREAMS - 1):
        streams.open([request(number)])
    assert not streams.make_room()
    streams.put({"id": 3, "result": {}}, "")
    stream = next(each for each in streams._streams.values() if each.over)
    stream.sent = stream.last
    assert streams.make_room()


def test_a_cancelled_request_is_waited_for_no_longer() -> None:
    streams = Streams()
    stream = streams.open([request(1)])
    streams.cancelled(1)
    assert stream.over and put(streams, {"id": 1, "result": {}}) is None


# --- the modern era ---


def test_two_requests_with_one_id_and_one_token_get_their_own_back() -> None:
    exchanges = Exchanges()
    first, sent_first = exchanges.begin(request(1, progressToken="t"))
    second, sent_second = exchanges.begin(request(1, progressToken="t"))
    assert sent_first["id"] != sent_second["id"]
    token = sent_second["params"]["_meta"]["progressToken"]
    exchanges.put({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}, 1)
    exchanges.put({"id": sent_second["id"], "result": {"n": 2}}, 1)
    assert list(second.queue) == [
        {"method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}},
        {"id": 1, "result": {"n": 2}},
    ]
    assert second.over and not first.over and not first.queue


def test_a_subscription_hears_its_own_id_in_everything() -> None:
    exchanges = Exchanges()
    listening, sent = exchanges.begin(request("mine", "subscriptions/listen"))
    exchanges.begin(request(2))
    tag = {"_meta": {SUBSCRIPTION: sent["id"], "kept": 1}}
    exchanges.put({"method": "notifications/tools/list_changed", "params": tag}, 1)
    exchanges.put({"method": "notifications/cancelled", "params": {"requestId": sent["id"]}}, 1)
    assert [message["params"] for message in listening.queue] == [
        {"_meta": {SUBSCRIPTION: "mine", "kept": 1}},
        {"requestId": "mine"},
    ]
    assert listening.over


def test_a_client_that_hangs_up_cancels_what_is_not_answered_once() -> None:
    exchanges = Exchanges()
    exchange, sent = exchanges.begin(request(5))
    cancel = exchanges.abandon(exchange)
    assert cancel is not None and cancel["params"]["requestId"] == sent["id"]
    assert exchanges.abandon(exchange) is None and not exchanges


def test_a_server_asks_nothing_of_a_client_of_this_era() -> None:
    exchanges = Exchanges()
    exchange, _ = exchanges.begin(request(5))
    assert exchanges.put({"id": 1, "method": "roots/list"}, 1) is None and not exchange.queue
