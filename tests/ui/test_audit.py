"""The tail of the audit log: follows, stays, pauses, filters, and keeps up."""

import json
from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import Bench, HandClock, screen
from ui.known import RING
from ui.shell import Printed

pytestmark = pytest.mark.anyio


async def add(bench: Bench, *numbers: int, target: str = "read_file") -> None:
    await bench.show(schema.ReceiptsAdded(receipts=[scenes.receipt(n, target=f"{target}-{n}") for n in numbers]))


async def test_the_tail_follows_the_newest_receipt(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4")
        await add(bench, *range(10, 60))
        assert "read_file-59" in bench.seen
        assert "55 receipts" in bench.seen


async def test_a_cursor_moved_up_stays_on_its_line_until_it_is_sent_to_the_end(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4")
        await add(bench, *range(10, 15))
        await bench.press("up")
        await add(bench, *range(20, 80))
        assert "read_file-13" in bench.seen
        assert "read_file-79" not in bench.seen
        await bench.press("end")
        await add(bench, 99)
        assert "read_file-99" in bench.seen


async def test_pause_holds_the_picture_and_counts_what_is_waiting(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "p")
        await add(bench, 10, 11)
        assert "paused, 2 newer" in bench.seen
        assert "read_file-10" not in bench.seen
        await bench.press("p")
        assert "read_file-11" in bench.seen


async def test_the_filter_works_while_it_is_typed_and_goes_on_for_what_arrives(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "slash", *"after-A")
        await bench.until(lambda: "1 receipt\n" in bench.seen)
        assert "write_file" in bench.seen
        assert "read_file" not in bench.seen
        await add(bench, 10)
        assert "1 receipt\n" in bench.seen
        await bench.show(schema.ReceiptsAdded(receipts=[scenes.receipt(11, rule="after-a-read", target="late")]))
        assert "late" in bench.seen
        await bench.press("escape")
        await bench.until(lambda: "7 receipts" in bench.seen)


async def test_a_paused_filter_does_not_show_what_came_after_the_pause(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "p")
        await add(bench, 10)
        await bench.press("slash", *"read")
        await bench.until(lambda: "write_file" in bench.seen and "link-opened" not in bench.seen)
        assert "read_file-10" not in bench.seen


async def test_letters_typed_into_the_filter_are_no_commands(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "slash", *"q1dop?")
        assert bench.app.is_running
        assert bench.app.current_mode == "audit"
        assert bench.desk.answered == []


async def test_the_whole_receipt_is_one_key_away_and_its_foreign_words_are_inert(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "enter")
        assert "Entry 5 of 2026-11-21T11:00:05" in bench.seen
        assert '"rule": "not-in-catalog"' in bench.seen
        assert "\x1b" not in bench.seen
        assert "\u202e" not in bench.seen


async def test_a_flood_of_receipts_is_bounded_and_the_last_one_is_seen(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("4", "slash", *"read_file", "enter")
        for start in range(0, 20_000, 500):
            batch = [scenes.receipt(n, target=f"read_file-{n}") for n in range(start, start + 500)]
            await bench.desk.say(schema.ReceiptsAdded(receipts=batch))
        await bench.until(lambda: "read_file-19999" in bench.seen)
        assert len(bench.app.known.receipts) == RING
        assert f"{RING} receipts" in bench.seen


async def test_the_whole_log_is_searched_with_the_words_of_the_filter_and_escape_is_back_at_the_tail(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        bench.desk.answers["audit"] = lambda _: schema.Receipts(receipts=[scenes.receipt(1, target="old-one")])
        await bench.press("4", "slash", *"client:cursor since:2h budget", "enter", "s")
        await bench.until(lambda: "1 receipt of all" in bench.seen)
        assert "old-one" in bench.seen
        wanted = schema.Search(client="cursor", text="budget", since=scenes.NOON - 7200, limit=1000)
        assert await bench.desk.asked_for(schema.AUDIT) == [wanted]
        await add(bench, 50)
        assert "read_file-50" not in bench.seen  # what was found stands still
        await bench.press("escape")
        await bench.until(lambda: "6 receipts" in bench.seen)


async def test_the_chain_is_checked_and_receipts_are_exported_after_a_yes_as_the_filter_means_them(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        whole = {"ok": True, "receipts": 7, "vouched": 6, "pruned": 0, "problem": ""}
        broken = whole | {"ok": False, "problem": "entry 3 is gone"}
        for found, said in (
            (whole, "the chain is whole: 7 receipts, 6 under the checkpoint"),
            (broken, "THE CHAIN IS BROKEN: entry 3 is gone"),
            (None, "the chain could not be checked"),
        ):
            bench.shell.prints["audit"] = Printed(0, json.dumps(found) if found else "nonsense")
            await bench.press("4", "c")
            await bench.says(said)
        await bench.press("slash", *"verdict:deny", "enter", "x", "enter")
        assert len(bench.shell.asked) == 3
        await bench.press("x")
        await bench.read_card()
        await bench.press("y")
        await bench.until(lambda: "the receipts were written" in bench.seen)
        words = ("audit", "export", "--format", "jsonl", "--verdict=deny", "> .jsonl")
        assert bench.shell.asked[3:] == [words]
