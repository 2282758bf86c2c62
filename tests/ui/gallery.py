"""Pictures of every place, narrow and dark, wide and light; those in the README are among them.

    python -m tests.ui.gallery

draws them anew into `tests/ui/gallery/`; look at them before you commit.  Nothing moves in them: the clock stands
still, no timer runs, and what they show is made up.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from textual.pilot import Pilot

from tests.ui import scenes
from tests.ui.bench import FakeShell, HandClock, read_card, screen_text, until
from ui.app import BulkheadApp
from ui.messages import Replied, Seen
from ui.shell import Printed
from ui.widgets.status_bar import PLACES

FOLDER: Final = Path(__file__).with_name("gallery")
NARROW: Final = (80, 24)
WIDE: Final = (120, 40)
ENVIRONMENT: Final = {"COLORTERM": "truecolor", "NO_COLOR": None, "TERM": "xterm-256color"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One place at one size: as a file, and as a person reads it."""

    svg: str
    text: str


@contextmanager
def settings(**variables: str | None) -> Iterator[None]:
    """Pictures do not depend on how the machine that draws them is set up."""
    wanted = {**ENVIRONMENT, **variables}
    before = {name: os.environ.get(name) for name in wanted}
    try:
        for name, value in wanted.items():
            _set(name, value)
        yield
    finally:
        for name, value in before.items():
            _set(name, value)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


async def drawn(size: tuple[int, int], *, light: bool = False) -> dict[str, Picture]:
    """Every place by its name."""
    clock, shell = HandClock(), FakeShell()
    shell.prints["doctor"] = Printed(1, json.dumps(scenes.FINDINGS))
    app = BulkheadApp(
        Path("/nowhere/control.sock"), clock=clock.clock, pulse=None, backoff=(3600.0,), shell=shell
    )  # which it looks for once and never again
    found: dict[str, Picture] = {}
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: bool(app.known.trouble))
        app.post_message(Seen(scenes.snapshot()))
        await until(pilot, lambda: app.known.events == 1)
        if light:
            app.action_theme()
        for number, (name, _, _) in enumerate(PLACES, 1):
            await pilot.press(str(number))
            await _settled(pilot, app, clock, name)
            found[name] = Picture(app.export_screenshot(title="bulkhead"), screen_text(app))
    return found


async def _settled(pilot: Pilot[int], app: BulkheadApp, clock: HandClock, name: str) -> None:
    """Everything that the place waits for has come."""
    await until(pilot, lambda: app.current_mode == name)
    await read_card(pilot, app, clock)
    if name == "policy":
        app.post_message(Replied("", "", scenes.POLICY))
        await until(pilot, lambda: "first-connection" in screen_text(app))
    if name == "doctor":
        await until(pilot, lambda: "3 findings" in screen_text(app))
    await until(pilot, lambda: not app.known.in_flight)
    app.say("")  # no daemon answers what the places ask by themselves
    await pilot.pause()


async def gallery() -> dict[str, Picture]:
    """Every picture by the name of its file."""
    narrow, wide = await drawn(NARROW), await drawn(WIDE, light=True)
    return {f"{name}-narrow-dark": one for name, one in narrow.items()} | {
        f"{name}-wide-light": one for name, one in wide.items()
    }


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with settings():
        for name, picture in asyncio.run(gallery()).items():
            (FOLDER / f"{name}.svg").write_text(picture.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
