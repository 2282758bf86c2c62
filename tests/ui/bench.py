"""Hold the screen before a fake desk: open it, look at it, move its clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from broker.api import schema
from tests.ui import scenes
from tests.ui.fake_desk import WAIT, FakeDesk
from ui.app import BulkheadApp
from ui.clock import DEAD_SECONDS, Clock
from ui.shell import Printed, Shell
from ui.widgets.card import Card

BACKOFF = (0.01, 0.2)


class FakeShell(Shell):
    """Runs nothing: prints what the test says, and keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.prints: dict[str, Printed] = {}

    async def printed(self, words: Sequence[str]) -> Printed:
        self.asked.append(tuple(words))
        return self.prints.get(words[0], Printed(0, ""))

    async def kept(self, words: Sequence[str], file: Path) -> Printed:
        self.asked.append((*words, f"> {file.suffix}"))
        return self.prints.get(words[0], Printed(0, ""))

    def in_terminal(self, words: Sequence[str]) -> int:
        self.asked.append(tuple(words))
        return 0


class HandClock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.wall = scenes.NOON
        self.steady = 1_000.0
        self.clock = Clock(wall=lambda: self.wall, steady=lambda: self.steady, zone=UTC)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """A person at the screen."""

    app: BulkheadApp
    pilot: Pilot[int]
    desk: FakeDesk
    clock: HandClock
    shell: FakeShell

    @property
    def seen(self) -> str:
        return screen_text(self.app)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def card_painted(self) -> None:
        """The dead time has begun."""
        card = self.app.screen.query_one(Card)
        await self.until(lambda: card._dead.started)

    async def read_card(self) -> None:
        await read_card(self.pilot, self.app, self.clock)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(self.pilot, condition)

    async def says(self, words: str) -> None:
        await self.until(lambda: words in self.seen)

    async def show(self, event: schema.WatchEvent) -> None:
        """The desk says something, and the screen has taken it in."""
        known = self.app.known
        before = known.events
        await self.desk.say(event)
        await self.until(lambda: known.events > before)
        await self.pilot.pause()


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the app run until `condition` holds."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await pilot.pause()


async def read_card(pilot: Pilot[Any], app: BulkheadApp, clock: HandClock) -> None:
    """Look long enough for the keys to live; no deadline comes nearer."""

    def alive() -> bool:
        clock.steady += DEAD_SECONDS + 0.01  # again and again: the dead time begins only when the card was painted
        app.beat()
        return not app.screen.has_class("-dead") and not app.screen.query(".-dead")

    await pilot.pause()
    await until(pilot, alive)
    await pilot.pause()


def screen_text(app: BulkheadApp) -> str:
    """What a person reads, line by line."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


@asynccontextmanager
async def screen(
    socket: Path,
    clock: HandClock,
    snapshot: schema.Snapshot | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    answer_seconds: float = WAIT,
) -> AsyncIterator[Bench]:
    """The screen, having taken in the desk's first snapshot; nothing is asked yet and the keys are alive."""
    shell = FakeShell()
    app = BulkheadApp(
        socket, clock=clock.clock, pulse=None, backoff=BACKOFF, answer_seconds=answer_seconds, shell=shell
    )
    async with FakeDesk(socket, snapshot or scenes.snapshot()) as desk, app.run_test(size=size) as pilot:
        bench = Bench(app, pilot, desk, clock, shell)
        await bench.until(lambda: app.known.events > 0)
        await bench.read_card()
        yield bench
