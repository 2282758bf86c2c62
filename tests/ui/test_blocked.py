"""Blocked hosts: shown where the server is, and allowed by one key and one more yes, exactly one for exactly one."""

from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import HandClock, screen
from tests.ui.fake_desk import Refusal

pytestmark = pytest.mark.anyio

FIRST = schema.GrantPaths(name="github", hosts=["api.github.example"])
SECOND = schema.GrantPaths(name="github", hosts=["lan:nas.home:8080"])


def wanting(server: schema.ServerView = scenes.GITHUB) -> schema.Snapshot:
    return scenes.snapshot(servers=[scenes.FILESYSTEM, server])


async def test_one_key_and_one_more_yes_let_one_server_reach_exactly_the_host_of_the_row(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock, wanting()) as bench:
        await bench.press("3", "end")
        assert "github was denied nas.home:8080, 1 time  (g allows lan:nas.home:8080)" in bench.seen
        await bench.press("g")
        await bench.read_card()
        for words in ("lan:nas.home:8080", "your own network", "It may read /home/ann/src", "bulkhead revoke github"):
            assert words in bench.seen
        await bench.press("y")
        assert await bench.desk.asked_for(schema.GRANT_PATHS) == [SECOND]
        await bench.until(lambda: "github may reach lan:nas.home:8080" in bench.seen)


async def test_no_has_focus_and_a_yes_that_comes_too_early_is_none(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, wanting()) as bench:
        await bench.press("3", "down", "g", "y")
        assert len(bench.app.screen_stack) == 2 and bench.desk.answered == []
        await bench.read_card()
        await bench.press("enter")
        assert "kept blocked" in bench.seen and bench.desk.answered == []


async def test_on_the_server_s_own_row_the_newest_is_asked_about(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, wanting()) as bench:
        await bench.press("3", "down", "g")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.GRANT_PATHS) == [FIRST]


async def test_the_same_key_works_where_the_session_shows_the_server(socket: Path, clock: HandClock) -> None:
    link = schema.LinkView(id="l9", server="github", state="running", tier="A", opened=scenes.NOON)
    session = scenes.SESSIONS[1].model_copy(update={"links": [link]})
    snapshot = scenes.snapshot(servers=[scenes.GITHUB], sessions=[session])
    async with screen(socket, clock, snapshot) as bench:
        await bench.press("2", "end", "up", "g")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.GRANT_PATHS) == [FIRST]
        await bench.press("e")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.SESSION_END) == [schema.Name(name="s-91bc")]


@pytest.mark.parametrize(
    "change",
    [{"blocked": []}, {"tree": "sha256:" + "00" * 32}, {"read": ["/home/ann"]}, {"argv": ["npx", "another"]}],
    ids=["allowed elsewhere", "other bytes", "sees more", "another line"],
)
async def test_a_yes_to_what_changed_meanwhile_is_none(
    socket: Path, clock: HandClock, change: dict[str, object]
) -> None:
    async with screen(socket, clock, wanting()) as bench:
        await bench.press("3", "end", "g")
        await bench.read_card()
        await bench.show(schema.ServersChanged(servers=[scenes.GITHUB.model_copy(update=change)]))
        await bench.press("y")
        assert "it changed while you read" in bench.seen and bench.desk.answered == []


async def test_where_nothing_was_blocked_the_key_says_so(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, wanting()) as bench:
        for place in ("3", "2"):
            await bench.press(place, "home", "g")
            assert "nothing was blocked here" in bench.seen and len(bench.app.screen_stack) == 1


async def test_a_refusal_of_the_desk_is_said_with_what_to_do(socket: Path, clock: HandClock) -> None:
    def refuse(_: schema.Words) -> schema.Words:
        raise Refusal("presence", "nobody is there to say yes", "run it in a terminal of your own")

    async with screen(socket, clock, wanting()) as bench:
        bench.desk.answers[schema.GRANT_PATHS.method] = refuse
        await bench.press("3", "end", "g")
        await bench.read_card()
        await bench.press("y")
        await bench.until(lambda: "NOT DONE: nobody is there to say yes" in bench.seen)


async def test_a_host_a_server_made_up_is_only_text(socket: Path, clock: HandClock) -> None:
    made_up = scenes.GITHUB.blocked[0].model_copy(update={"target": scenes.HOSTILE, "reason": scenes.HOSTILE})
    server = scenes.GITHUB.model_copy(update={"blocked": [made_up]})
    async with screen(socket, clock, wanting(server), size=(160, 40)) as bench:
        await bench.press("3", "end")
        assert "[bold red]Bulkhead checked this" in bench.seen
        await bench.press("g")
        assert "[bold red]Bulkhead checked this" in bench.seen and "\x1b" not in bench.seen


async def test_a_server_s_page_tells_its_box_and_what_happened_in_it(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, wanting(), size=(120, 50)) as bench:
        await bench.press("3", "end", "enter")
        for words in ("tier bubblewrap", "memory 512M", "the same for every session", "over its limit of 512M",
                      "2 times, last at 11:50:00", "it left /home/ann/src/.vscode/tasks.json", "GITHUB_TOKEN",
                      "connections are opened and read by Bulkhead", "api.github.example:443  (3 times"):  # fmt: skip
            assert words in bench.seen
    unboxed = scenes.GITHUB.model_copy(update={"boxed": False})
    async with screen(socket, clock, wanting(unboxed), size=(120, 50)) as bench:
        await bench.press("3", "end", "enter")
        assert "OFF: it runs outside of every sandbox" in bench.seen
