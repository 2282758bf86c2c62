"""Batches: one revision has them, the others refuse them by name."""

from dataclasses import replace
from typing import Any

import pytest

from broker.model import JsonObject
from broker.protocol.batches import MAX_OPEN, Batches
from broker.protocol.effects import ForwardBatch
from broker.protocol.events import Batch, FromServer
from broker.protocol.frames import MAX_BATCH, FrameDecoder, encode
from tests.protocol.stage import (
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MAYBE,
    Stage,
    call,
    notice,
    request,
    result,
    shape,
    text,
)


class Batched(Stage):
    """A stage on which both sides may say several things at once."""

    def __init__(self, version: str = "2025-03-26", **how: Any) -> None:
        super().__init__(**how)
        self.conversation: Any = Batches(self.conversation)
        self.client({**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": version}}, INITIALIZED)
        self.client(request("warm", "completion/complete", ref={"name": "summary"}))
        opening = {**(self.pinned().opening or {}), "protocolVersion": version}
        self.start(self.pinned(opening))
        self.server(result("warm"))
        self.effects.clear()

    @staticmethod
    def pinned(opening: JsonObject | None = None) -> Any:
        return LEGACY if opening is None else replace(LEGACY, opening=opening)

    @property
    def batches(self) -> list[tuple[str, tuple[JsonObject, ...]]]:
        return [(each.to, each.messages) for each in self.effects if isinstance(each, ForwardBatch)]

    def says(self, who: Any, *messages: JsonObject) -> None:
        self.effects += self.conversation.receive(Batch(who, messages, 9))


def test_a_batch_is_judged_one_by_one_and_answered_as_one() -> None:
    stage = Batched()
    stage.judged.clear()
    stage.says("client", call(1), notice("notifications/progress"), call(2), request(3, "ping"))
    assert [asked.method for asked in stage.judged] == ["tools/call"] * 2
    assert [message["id"] for message in stage.to_server] == [1, 2]
    stage.server(text(2, "b"))
    assert (stage.to_client, stage.batches) == ([], [])
    stage.effects.clear()
    stage.server(text(1, "a"))
    assert shape(stage.effects[:2]) == ["record result", "read"]
    assert stage.batches == [("client", (result(3), text(2, "b"), text(1, "a")))]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_batch_is_refused_by_name_in_every_other_revision(version: str, who: str) -> None:
    stage = Batched(version)
    stage.says(who, call(1))
    assert stage.to_server == []
    assert [fact.kind for fact in stage.records] == ["violation"]
    assert "2025-03-26" in str(stage.records[0].body)
    assert [answer["error"]["code"] for answer in stage.to_client] == ([-32600] if who == "client" else [])


def test_what_was_cancelled_is_not_waited_for() -> None:
    stage = Batched()
    stage.says("client", call(1), call(2))
    stage.server(text(2, "b"))
    stage.client(notice("notifications/cancelled", requestId=1))
    assert stage.batches == [("client", (text(2, "b"),))]


def test_a_servers_batch_is_taken_apart_and_its_requests_are_answered_as_one() -> None:
    stage = Batched()
    stage.client(call(1))
    stage.says("server", text(1, "a"), request("s", "ping"), request("t", "roots/list"))
    assert [message["id"] for message in stage.to_client] == [1, "s", "t"]
    stage.client(result("s"), result("t", roots=[]))
    assert stage.batches == [("server", (result("s"), result("t", roots=[])))]


def test_a_question_about_one_of_a_batch_keeps_the_answers_and_the_end_sends_them() -> None:
    stage = Batched()
    stage.decide = MAYBE
    stage.says("client", request(3, "ping"), call(1))
    assert stage.batches == []
    stage.answer(1)
    stage.server(text(1, "a"))
    assert stage.batches == [("client", (result(3), text(1, "a")))]


def test_open_batches_are_bounded() -> None:
    stage = Batched()
    for number in range(MAX_OPEN + 1):
        stage.says("client", call(number))
    assert "16 of its batches" in stage.to_client[-1]["error"]["message"]
    assert len(stage.to_server) == MAX_OPEN


def test_large_answers_do_not_wait_for_the_last_one() -> None:
    stage = Batched()
    stage.says("client", call(1), call(2), call(3))
    large = text(1, "x" * (4 << 20))
    stage.feed(FromServer(large))
    assert stage.batches == [("client", (large,))]
    stage.server(text(2, "b"), text(3, "c"))
    assert stage.batches[1:] == [("client", (text(2, "b"), text(3, "c")))]


def test_a_line_with_several_messages_is_a_batch_where_those_are_taken() -> None:
    decoder = FrameDecoder("client", batches=True)
    (frame,) = decoder.feed(encode((call(1), result(2))))
    assert (frame.batch, frame.message, frame.fault) == ((call(1), result(2)), None, None)


@pytest.mark.parametrize(
    "line", [b"[]", b"[1]", b'[{"id":null,"method":"x"}]', b"[" + b"{}," * MAX_BATCH + b"{}]", b"[[{}]]"]
)
def test_a_batch_of_anything_else_is_a_fault(line: bytes) -> None:
    (frame,) = FrameDecoder("client", batches=True).feed(line + b"\n")
    assert frame.fault is not None
    assert frame.fault.reply["error"]["code"] == -32600
