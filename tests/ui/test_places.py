"""Sessions and servers: what they show, and that nothing is ended or accepted without a second yes."""

from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import HandClock, screen
from tests.ui.fake_desk import Refusal

pytestmark = pytest.mark.anyio

POLICY = schema.ReviewItem(
    kind="document",
    name="/home/ann/.config/bulkhead/policy.toml",
    digest="ab" * 32,
    changes=["rule writes: ask -> allow"],
)


async def test_sessions_show_clients_links_tiers_calls_and_what_was_read(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("2")
        for words in ("claude-desktop", "session s-7f3a", "since 11:00:00", "running", "tier bubblewrap", "7 calls",
                      "has read filesystem: untrusted, private", "cursor", "no links open"):  # fmt: skip
            assert words in bench.seen


async def test_a_session_ends_only_after_a_second_yes(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("2", "down", "down", "down", "e")
        await bench.read_card()
        await bench.press("enter")
        assert bench.desk.answered == []
        await bench.press("e")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.SESSION_END) == [schema.Name(name="s-7f3a")]
        await bench.until(lambda: "the session was ended" in bench.seen)


async def test_ending_without_a_session_under_the_cursor_says_what_to_do(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("2", "e")
        assert "put the cursor on a session first" in bench.seen
        assert len(bench.app.screen_stack) == 1


async def test_the_cursor_stays_on_its_session_when_the_list_changes(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("2", "end")
        await bench.show(schema.SessionsChanged(sessions=scenes.SESSIONS[1:]))
        await bench.press("up", "e")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.SESSION_END) == [schema.Name(name="s-91bc")]


async def test_servers_show_state_version_tree_and_tools(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("3")
        row = next(line for line in bench.seen.splitlines() if "filesystem" in line)
        assert row.split()[:6] == ["▸", "filesystem", "pinned", "2026.7.10", "5e5e5e5e5e5e", "2"]
        assert "disabled" in bench.seen
        assert "3 Servers (1)" in bench.seen  # one has drifted


async def test_a_server_s_definitions_are_shown_behind_the_mark_and_inert(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, size=(120, 40)) as bench:
        await bench.press("3", "enter")
        lines = bench.seen.splitlines()
        assert any("tree" in line.lower() and "5e" * 32 in line for line in lines)
        hostile = [line for line in lines if "[bold red]Bulkhead checked this" in line]
        assert hostile and all("▌" in line for line in hostile)
        assert "\x1b" not in bench.seen


async def test_accepting_drift_needs_a_second_yes_and_carries_the_digest_of_the_changes_shown(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        bench.desk.answers["review"] = lambda _: schema.Review(items=[POLICY, scenes.DRIFT])
        await bench.press("3", "down", "r")
        await bench.until(lambda: "get_current_time: description" in bench.seen)  # the server under the cursor first
        await bench.press("y")
        assert len(bench.desk.answered) == 1  # the review itself: it is too early for a yes
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.ACCEPT) == [schema.Accept(name="time", digest=scenes.DRIFT.digest)]
        await bench.until(lambda: "rule writes: ask -> allow" in bench.seen)
        await bench.read_card()
        await bench.press("enter")
        assert "kept held" in bench.seen
        assert len(bench.desk.answered) == 2


async def test_drift_that_changes_while_it_is_read_cannot_be_accepted(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        bench.desk.answers["review"] = lambda _: schema.Review(items=[scenes.DRIFT])
        await bench.press("3", "r")
        await bench.until(lambda: "get_current_time: description" in bench.seen)
        await bench.read_card()
        other = scenes.TIME.model_copy(update={"drift_digest": "99" * 32})
        await bench.show(schema.ServersChanged(servers=[scenes.FILESYSTEM, other]))
        await bench.press("y")
        assert "it changed while you read" in bench.seen
        assert len(bench.desk.answered) == 1


LABELS = schema.LabelsView(
    name="time", basis="worst", source="", publisher="pypi mcp-server-time", catalog="c2" * 32,
    tools=[schema.ProposedLabels(
        now=schema.ToolLabels(name="now", labels=["P", "U", "E", "M"], level="H", reason="-"),
        proposed=schema.ToolLabels(name="now", labels=["U"], level="L", reason="-"),
        because=[("U", "others may write [bold]'now'[/]")],
    )],
)  # fmt: skip


async def test_labels_are_shown_with_what_speaks_for_them_and_accepted_after_a_second_yes(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock, size=(120, 40)) as bench:
        bench.desk.answers["labels"] = lambda _: LABELS
        bench.desk.answers["labels.accept"] = lambda _: LABELS.model_copy(update={"basis": "accepted"})
        await bench.press("3", "down", "l")
        await bench.until(lambda: "answers what strangers wrote; not asked about for that alone" in bench.seen)
        assert "nobody vouches for it" in bench.seen and "[bold]'now'[/]" in bench.seen
        await bench.press("y")
        assert len(bench.desk.answered) == 1  # the look itself: it is too early for a yes
        await bench.show(schema.ServersChanged(servers=[scenes.FILESYSTEM, scenes.TIME.model_copy(
            update={"catalog": LABELS.catalog})]))  # fmt: skip
        await bench.read_card()
        await bench.press("y")
        wanted = schema.LabelsAccept(name="time", catalog=LABELS.catalog, tools=[LABELS.tools[0].proposed])
        assert await bench.desk.asked_for(schema.LABELS_ACCEPT) == [wanted]
        await bench.until(lambda: "you accepted these labels" in bench.seen)


async def test_nothing_to_review_is_said(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        bench.desk.answers["review"] = lambda _: schema.Review(items=[])
        await bench.press("3", "r")
        await bench.until(lambda: "nothing has drifted" in bench.seen)


async def test_a_refused_acceptance_is_said_with_what_to_do(socket: Path, clock: HandClock) -> None:
    def refuse(_: schema.Words) -> schema.Words:
        raise Refusal("presence", "nobody is there to say yes", "run bulkhead review in a terminal")

    async with screen(socket, clock) as bench:
        bench.desk.answers["review"] = lambda _: schema.Review(items=[scenes.DRIFT])
        bench.desk.answers["review.accept"] = refuse
        await bench.press("3", "r")
        await bench.until(lambda: "get_current_time: description" in bench.seen)
        await bench.read_card()
        await bench.press("y")
        await bench.until(lambda: "NOT DONE: nobody is there to say yes" in bench.seen)
