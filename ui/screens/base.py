"""What every place has: the status lines on top, what was said last, the keys below.

A screen draws what the app knows (`Known`) and asks the desk through the app; it holds no facts of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from broker.api import schema
from ui import blocked
from ui.clock import Clock
from ui.known import Known
from ui.present import untrusted
from ui.screens.confirm import ConfirmScreen
from ui.shell import Printed
from ui.widgets.status_bar import StatusBar


class Desk(Protocol):
    """What a screen may use of the app."""

    known: Known
    clock: Clock

    @property
    def said(self) -> Content: ...

    def say(self, words: Content | str) -> None: ...

    def ask_desk(self, ticket: str, route: schema.Route, params: schema.Words, said: str) -> None: ...

    def run_command(self, words: Sequence[str], *, into: Path | None = None) -> None: ...

    def run_in_terminal(self, words: Sequence[str]) -> None: ...


class Place(Screen[None]):
    """A place that a number key leads to.  `NAME` is its mode."""

    NAME: ClassVar[str] = ""
    HELP_TEXT: ClassVar[str] = ""
    """What its keys do, for the help page."""

    @property
    def desk(self) -> Desk:
        return cast(Desk, self.app)

    def compose(self) -> ComposeResult:
        yield StatusBar(self.NAME)
        yield from self.body()
        with Vertical(id="bottom"):
            yield Static(Content(""), id="said", markup=False)
            yield Footer(show_command_palette=False, compact=True)

    def body(self) -> Iterable[Widget]:
        raise NotImplementedError

    def refresh_body(self) -> None:
        """Draw what this place shows of `desk.known`."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw everything again from what is known now."""
        self.query_one(StatusBar).show(self.desk.known)
        said = self.query_one("#said", Static)
        said.display = bool(self.desk.said)
        said.update(self.desk.said)
        self.refresh_body()

    def beat(self) -> None:
        """A second passed."""

    def answered(self, answer: schema.Words) -> None:
        """The desk answered what this place asked; most answers are followed by a change of `known`."""

    def ran(self, words: Sequence[str], printed: Printed) -> None:
        """A command that this place asked for came to its end."""

    def confirm(
        self, title: str, words: Content, still: Callable[[Known], bool], yes: str, then: Callable[[], None],
        *, no: str = "No",
    ) -> None:  # fmt: skip
        """Ask once more; `then` happens only after an explicit yes, while what it is about still stands."""

        def decided(said: bool | None) -> None:
            if said:
                then()
            elif not still(self.desk.known):
                self.desk.say("it changed while you read; nothing was done")

        window = ConfirmScreen(title, words, clock=self.desk.clock, still=still, yes=yes, no=no)
        self.app.push_screen(window, decided)

    def allow(self, key: str) -> None:
        """Ask whether the server of this row may reach the one host the row names; deny has focus."""
        wanted = blocked.wanted_at(self.desk.known, key)
        if wanted is None:
            self.desk.say("nothing was blocked here; put the cursor on a line that says so")
            return
        chosen = wanted

        def decided(yes: bool | None) -> None:
            name, host = untrusted(chosen.server.name).plain, untrusted(chosen.blocked.grant).plain
            if yes:
                self.desk.ask_desk(f"allow {name} {host}", schema.GRANT_PATHS, chosen.grant, f"{name} may reach {host}")
            elif not chosen.still(self.desk.known):
                self.desk.say("it changed while you read; press g to see it again")
            else:
                self.desk.say("kept blocked")

        words = blocked.card(chosen, self.desk.clock.zone)
        window = ConfirmScreen(
            "Let it reach this host?", words, clock=self.desk.clock, still=chosen.still, yes="Allow this host",
            no="Keep blocked",
        )  # fmt: skip
        self.app.push_screen(window, decided)

    def switch(self, name: str, *, on: bool) -> None:
        """Switch a server, or one tool of it (`server/tool`): off at once, on after one more yes."""
        shown = untrusted(name).plain
        if not on:
            self.desk.ask_desk(f"disable {name}", schema.DISABLE, schema.Name(name=name), f"{shown} is off")
            return

        def enable() -> None:
            self.desk.ask_desk(f"enable {name}", schema.ENABLE, schema.Name(name=name), f"{shown} is on")

        def there(known: Known) -> bool:
            return known.connected and known.server(name.partition("/")[0]) is not None

        words = Content.assemble("Switch ", untrusted(name).stylize("bold"), " on again?")
        self.confirm("Switch it on?", words, there, "Switch it on", enable)

    def on_screen_resume(self) -> None:
        self.redraw()
