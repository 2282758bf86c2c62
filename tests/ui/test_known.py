"""What the screen knows: only what the desk said, and never more than it can hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from broker.api import schema
from tests.ui import scenes
from ui.known import RECEIPT_TEXT, RING, Known


def test_a_snapshot_replaces_everything() -> None:
    known = Known()
    known.apply(scenes.snapshot())
    known.apply(scenes.snapshot(questions=[], sessions=[], servers=[], receipts=[scenes.receipt(9)]))
    assert (known.questions, known.sessions, known.servers) == ((), (), ())
    assert [line.column("seq") for line in known.receipts] == ["9"]


def test_a_daemon_that_went_away_takes_its_open_questions_with_it() -> None:
    known = Known()
    known.apply(scenes.snapshot())
    known.lose("no daemon answers")
    assert not known.connected
    assert known.questions == ()
    assert known.sessions == tuple(scenes.SESSIONS)


@given(st.lists(st.integers(0, 40), max_size=8), st.data())
def test_receipts_after_a_number_are_those_that_arrived_later(batches: list[int], data: st.DataObject) -> None:
    known = Known()
    for size in batches:
        known.apply(schema.ReceiptsAdded(receipts=[scenes.receipt(0)] * size))
    number = data.draw(st.integers(0, sum(batches)))
    assert [line.number for line in known.receipts_after(number)] == list(range(number + 1, sum(batches) + 1))


def test_the_ring_holds_the_newest_and_stays_bounded() -> None:
    known = Known()
    known.apply(schema.ReceiptsAdded(receipts=[scenes.receipt(number) for number in range(RING + 700)]))
    known.apply(schema.ReceiptsAdded(receipts=[scenes.receipt(-1)]))
    assert len(known.receipts) == RING
    assert known.receipts[-1].column("seq") == "-1"
    assert known.receipts_after(known.receipts[-2].number) == known.receipts[-1:]


def test_of_a_receipt_with_a_large_body_the_short_columns_are_kept() -> None:
    known = Known()
    entry = scenes.receipt(1, body={"text": "x" * 100_000}, evidence=["y" * 50_000], method="m" * 100_000)
    known.apply(schema.ReceiptsAdded(receipts=[entry]))
    line = known.receipts[0]
    assert len(line.text) <= RECEIPT_TEXT
    assert len(json.dumps(line.entry)) <= RECEIPT_TEXT
    assert line.column("target") == "read_file"
    assert "bulkhead audit show" in line.column("cut")
