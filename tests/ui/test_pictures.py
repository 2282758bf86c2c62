"""Pictures of what the gallery does not show, compared with those in `__snapshots__`.

Nothing moves in them: the clock stands still, no timer runs, no daemon is there.  After a wanted change:
`pytest tests/ui/test_pictures.py --snapshot-update`, then look at the pictures.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import HandClock, read_card, until
from ui.app import BulkheadApp
from ui.messages import Seen

Compare = Callable[..., bool]
WIDE = (120, 40)


def still(clock: HandClock) -> BulkheadApp:
    """The screen with no daemon behind it, which it looks for once and never again."""
    return BulkheadApp(Path("/nowhere/control.sock"), clock=clock.clock, pulse=None, backoff=(3600.0,))


def showing(
    clock: HandClock, *keys: str, snapshot: schema.Snapshot | None = None
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Show the snapshot, let the keys come alive, press `keys` one by one."""

    async def run(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, BulkheadApp)
        await until(pilot, lambda: bool(app.known.trouble))
        app.post_message(Seen(snapshot or scenes.snapshot()))
        await until(pilot, lambda: app.known.events == 1)
        await read_card(pilot, app, clock)
        for key in keys:
            await pilot.press(key)
            await read_card(pilot, app, clock)

    return run


def test_the_keys_of_a_card_that_just_changed_are_dim(snap_compare: Compare, clock: HandClock) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await showing(clock)(pilot)
        await pilot.press("down")
        await pilot.pause()

    assert snap_compare(still(clock), run_before=run)


def test_a_launch(snap_compare: Compare, clock: HandClock) -> None:
    snapshot = scenes.snapshot(questions=[scenes.LAUNCH])
    assert snap_compare(still(clock), run_before=showing(clock, snapshot=snapshot))


def test_no_open_question(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, snapshot=scenes.snapshot(questions=[])))


def test_always_asks_again(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "a"))


def test_everything_about_a_question(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "v"))


def test_one_server(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "3", "enter"), terminal_size=WIDE)


def blocked() -> schema.Snapshot:
    """A server that wanted out, in use by the first session."""
    session = scenes.SESSIONS[0]
    links = [*session.links, schema.LinkView(id="l3", server="github", state="running", tier="A", opened=scenes.NOON)]
    sessions = [session.model_copy(update={"links": links})]
    return scenes.snapshot(servers=[scenes.GITHUB, scenes.TIME], sessions=sessions)


def test_servers_with_blocked_hosts(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "3", "down", snapshot=blocked()))


def test_sessions_with_blocked_hosts(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "2", snapshot=blocked()))


def test_allowing_a_blocked_host(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "3", "down", "g", snapshot=blocked()))


def test_one_server_and_what_happened_with_it(snap_compare: Compare, clock: HandClock) -> None:
    shown = showing(clock, "3", "enter", snapshot=blocked())
    assert snap_compare(still(clock), run_before=shown, terminal_size=WIDE)


def test_help(snap_compare: Compare, clock: HandClock) -> None:
    assert snap_compare(still(clock), run_before=showing(clock, "question_mark"))


def test_an_unsafe_daemon(snap_compare: Compare, clock: HandClock) -> None:
    status = scenes.STATUS.model_copy(update={"presence": "unsafe-no-presence", "policy_problem": "unknown key alow"})
    assert snap_compare(still(clock), run_before=showing(clock, snapshot=scenes.snapshot(status=status)))


def test_a_daemon_that_is_away(snap_compare: Compare, clock: HandClock) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, BulkheadApp)
        await until(pilot, lambda: bool(app.known.trouble))

    assert snap_compare(still(clock), run_before=run)


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures do not depend on how the machine that draws them is set up."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
