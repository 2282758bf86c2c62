"""Whoever waits is answered: when a server's line is too long to be read, and when the link is over."""

from broker.inbox import Inbox
from broker.protocol.events import Batch, Closing
from broker.protocol.frames import FrameDecoder, encode
from tests.protocol.stage import INITIALIZE, MAYBE, Stage, call, request, result, shape, text

LIMIT = 4096


def say_long(stage: Stage, line: bytes) -> list[str]:
    """The server writes a line, cut and queued as a relay does it."""
    inbox = Inbox()
    inbox.arrived("server", FrameDecoder("server", LIMIT).feed(line))
    words = []
    while inbox:
        event = inbox.take()
        assert not isinstance(event, Batch)
        words += shape(stage.feed(event))
    return words


def test_an_answer_over_the_limit_ends_every_call_it_may_have_answered_with_an_error_that_says_so() -> None:
    stage = Stage().running()
    stage.client(call(1), call(2, tool="read"))
    stage.effects.clear()
    words = say_long(stage, encode(text(1, "x" * LIMIT)))
    assert words == ["record violation", "record result", "to client", "record result", "to client"]
    assert [message["id"] for message in stage.to_client] == [1, 2]
    for message in stage.to_client:
        said = message["error"]["message"]
        assert "notes" in said
        assert f"the limit of {LIMIT} bytes" in said
    stage.effects.clear()
    assert shape(stage.server(text(2, "late"))) == ["record result"]  # recorded, and for nobody
    stage.client(call(3))
    stage.server(text(3, "fine"))
    assert stage.to_client == [text(3, "fine")]


def test_a_line_over_the_limit_leaves_what_waits_for_a_person_alone() -> None:
    stage = Stage().running()
    stage.decide = MAYBE
    stage.client(call(1))
    stage.effects.clear()
    assert say_long(stage, b"x" * (LIMIT + 1) + b"\n") == ["record violation"]
    stage.answer(1)
    stage.server(text(1, "fine"))
    assert stage.to_client == [text(1, "fine")]


def test_a_server_that_goes_on_with_lines_over_the_limit_ends_the_link_and_nobody_is_left_waiting() -> None:
    stage = Stage().running()
    stage.client(call(1))
    stage.effects.clear()
    assert say_long(stage, b"x" * LIMIT * 20)[-1] == "end"
    assert [message["id"] for message in stage.to_client] == [1]


def test_the_end_of_a_link_answers_whoever_waits_for_a_person_a_server_or_a_launch() -> None:
    stage = Stage().running()
    stage.client(call(1))
    stage.decide = MAYBE
    stage.client(call(2))
    stage.effects.clear()
    words = shape(stage.feed(Closing("bulkhead is stopping")))
    assert (words.count("record result"), words.count("withdraw"), words[-1]) == (2, 1, "end")
    assert {message["id"] for message in stage.to_client} == {1, 2}
    assert all("bulkhead is stopping" in message["error"]["message"] for message in stage.to_client)
    assert stage.server(result(1)) == []


def test_the_end_of_a_link_answers_whoever_was_never_admitted() -> None:
    stage = Stage(admitted=False)
    stage.client(INITIALIZE, request(7, "tools/list"))
    assert stage.to_client == []
    stage.feed(Closing("bulkhead is stopping"))
    assert [message["id"] for message in stage.to_client] == ["open", 7]
    assert all("bulkhead is stopping" in message["error"]["message"] for message in stage.to_client)
