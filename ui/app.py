"""BulkheadApp: one subscription worker, one short connection per answer, handlers that change state.

The app shows what the daemon says and passes on what a person chose.  It decides nothing; when the daemon is away it
says so, and shows no question as if it could still be answered.
"""

import asyncio
import shlex
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import App, SuspendNotSupported, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from broker.api import schema
from broker.api.client import DeskClient
from broker.errors import BulkheadError
from ui.clock import Clock
from ui.known import Known
from ui.messages import Lost, Ran, Refused, Replied, Seen
from ui.present import untrusted
from ui.screens.audit import AuditScreen
from ui.screens.base import Place
from ui.screens.catalog import CatalogScreen
from ui.screens.clients import ClientsScreen
from ui.screens.confirm import ConfirmScreen
from ui.screens.dashboard import DashboardScreen
from ui.screens.doctor import DoctorScreen
from ui.screens.number import NumberScreen
from ui.screens.pages import HelpScreen
from ui.screens.policy import PolicyScreen
from ui.screens.questions import QuestionsScreen
from ui.screens.servers import ServersScreen
from ui.screens.sessions import SessionsScreen
from ui.shell import Shell
from ui.widgets.status_bar import PLACES

BACKOFF: Final = (0.3, 1.0, 2.0, 5.0)  # seconds; a daemon that restarts is back within the first two
ANSWER_SECONDS: Final = 120.0  # a yes may wait for a fingerprint or a password
MAX_UNSEEN: Final = 64  # events waiting for their handler; beyond that the daemon waits, or drops us and we start again
NONSENSE: Final = (ValueError, KeyError, TypeError, AttributeError)  # a line that is not of our schema
SAID_BEATS: Final = 12  # how long the last sentence stays


class BulkheadApp(App[int]):
    """The Textual program.  `pulse` None means that nothing moves by itself (pictures in tests)."""

    TITLE = "Bulkhead"
    CSS_PATH = "app.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    MODES: ClassVar = {
        place.NAME: place
        for place in (
            QuestionsScreen, SessionsScreen, ServersScreen, AuditScreen, PolicyScreen, ClientsScreen, DoctorScreen,
            DashboardScreen,
        )
    }  # fmt: skip
    DEFAULT_MODE = QuestionsScreen.NAME
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"go('{name}')", title, show=False)
            for number, (name, title, _) in enumerate(PLACES, 1)
        ),
        Binding("t", "theme", "Light/dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "leave", "Quit"),
    ]

    def __init__(
        self,
        control_socket: Path,
        *,
        clock: Clock | None = None,
        pulse: float | None = 1.0,
        backoff: tuple[float, ...] = BACKOFF,
        answer_seconds: float = ANSWER_SECONDS,
        shell: Shell | None = None,
    ) -> None:
        super().__init__()
        self.known = Known()
        self.clock = clock or Clock()
        self.said = Content("")
        self._said_beats = 0
        self._socket = control_socket
        self._pulse = pulse
        self._backoff = backoff
        self._answer_seconds = answer_seconds
        self._shell = shell or Shell()
        self._unseen = asyncio.Semaphore(MAX_UNSEEN)

    def on_mount(self) -> None:
        if self._pulse is not None:
            self.set_interval(self._pulse, self.beat)
        self.follow()

    # --- workers: they post messages and change nothing --------------------------------------------------------

    @work(group="watch", exclusive=True)
    async def follow(self) -> None:
        """Read what the daemon shows, for ever; when it goes away say so and try again, ever more slowly."""
        failures = 0
        while True:
            what, hint = "the daemon ended the subscription", ""
            try:
                async with DeskClient(self._socket) as desk:
                    async for event in desk.watch():
                        failures = 0
                        await self._unseen.acquire()
                        self.post_message(Seen(event))
            except BulkheadError as error:
                what, hint = str(error), error.hint
            except NONSENSE:
                what = "the daemon said something this program does not understand"
                hint = "both must be of one version: bulkhead down, then bulkhead up"
            again = self._backoff[min(failures, len(self._backoff) - 1)]
            failures += 1
            self.post_message(Lost(what, hint, again))
            await asyncio.sleep(again)

    @work(group="ask")
    async def _ask(self, ticket: str, route: schema.Route, params: schema.Words, said: str) -> None:
        try:
            async with asyncio.timeout(self._answer_seconds), DeskClient(self._socket) as desk:
                answer = await desk.ask(route, params, route.answer)
        except TimeoutError:
            hint = "whether it counted stands in the audit log"
            self.post_message(Refused(ticket, f"the daemon did not confirm within {self._answer_seconds:g} s", hint))
        except BulkheadError as error:
            self.post_message(Refused(ticket, str(error), error.hint))
        except NONSENSE:
            self.post_message(Refused(ticket, "the daemon answered in words this program does not understand", ""))
        else:
            self.post_message(Replied(ticket, said, answer))

    # --- handlers: they change what is known and redraw --------------------------------------------------------

    @on(Seen)
    def _seen(self, seen: Seen) -> None:
        self._unseen.release()
        before = self.known.newest_alert
        self.known.apply(seen.event)
        if isinstance(seen.event, schema.AlertsChanged) and self.known.newest_alert > before:
            self.bell()
            self.say(Content.assemble("ALERT (8 shows all): ", untrusted(self.known.alerts[-1].text)))
        self._redraw()

    @on(Lost)
    def _lost(self, lost: Lost) -> None:
        self.known.lose(f"{lost.what}; trying again" + (f" ({lost.hint})" if lost.hint else ""))
        self._redraw()

    @on(Replied)
    def _replied(self, replied: Replied) -> None:
        self.known.in_flight.discard(replied.ticket)
        if replied.said:
            self.say(replied.said)
        if isinstance(self.screen, Place):
            self.screen.answered(replied.answer)

    @on(Ran)
    def _ran(self, ran: Ran) -> None:
        self.known.in_flight.discard(ran.ticket)
        for place in self._places():
            place.ran(ran.words, ran.printed)

    @on(Refused)
    def _refused(self, refused: Refused) -> None:
        self.known.in_flight.discard(refused.ticket)
        words = Content.assemble("NOT DONE: ", untrusted(refused.what, 300))
        self.say(Content.assemble(words, "  try: ", untrusted(refused.hint)) if refused.hint else words)

    def ask_desk(self, ticket: str, route: schema.Route, params: schema.Words, said: str) -> None:
        """Ask over a connection of its own; one request per ticket at a time."""
        if ticket in self.known.in_flight:
            return
        self.known.in_flight.add(ticket)
        self._ask(ticket, route, params, said)

    def run_command(self, words: Sequence[str], *, into: Path | None = None) -> None:
        """Run `bulkhead WORDS` quietly, one of a kind at a time; the place hears of it."""
        ticket = f"run {' '.join(words[:2])}"
        if ticket not in self.known.in_flight:
            self.known.in_flight.add(ticket)
            self._command(ticket, words, into)

    @work(group="command")
    async def _command(self, ticket: str, words: Sequence[str], into: Path | None) -> None:
        printed = await (self._shell.printed(words) if into is None else self._shell.kept(words, into))
        self.post_message(Ran(ticket, words, printed))

    def run_in_terminal(self, words: Sequence[str]) -> None:
        """Stand aside while `bulkhead WORDS` asks its own questions in this terminal."""
        try:
            with self.suspend():
                self._shell.in_terminal(words)
        except SuspendNotSupported:
            line = untrusted(shlex.join(("bulkhead", *words)), 400)
            self.say(Content.assemble("run this in a terminal: ", line))
        self.refresh(repaint=True, layout=True)

    def say(self, words: Content | str) -> None:
        """Tell the person, for a while."""
        self.said = words if isinstance(words, Content) else Content(words)
        self._said_beats = 0
        self._redraw()

    def beat(self) -> None:
        """A second passed."""
        self._said_beats += 1
        if self.said and self._said_beats > SAID_BEATS:
            self.say("")
        for screen in list(self.screen_stack):
            if isinstance(screen, Place | ConfirmScreen) and screen.is_mounted:
                screen.beat()

    async def action_go(self, place: str) -> None:
        await self.switch_mode(place)

    def action_theme(self) -> None:
        self.theme = "textual-light" if self.theme == "textual-dark" else "textual-dark"

    def action_help(self) -> None:
        places = [screen for screen in self.screen_stack if isinstance(screen, Place)]
        titles = {name: title for name, title, _ in PLACES}
        place = places[0] if places else None
        self.push_screen(HelpScreen(titles.get(place.NAME, "") if place else "", place.HELP_TEXT if place else ""))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette (ctrl+p) offers: the places, and the keys of the one that is open."""
        for number, (name, title, _) in enumerate(PLACES, 1):
            yield SystemCommand(title, f"go there ({number})", partial(self.action_go, name))
        own = {binding.action for binding in type(screen).BINDINGS if isinstance(binding, Binding)}
        for binding in screen.active_bindings.values():
            if binding.binding.action in own and binding.enabled:
                key = self.get_key_display(binding.binding)
                yield SystemCommand(
                    binding.binding.description, f"here ({key})", partial(self._act, binding.binding.action)
                )
        yield SystemCommand("Light or dark", "the other theme (t)", self.action_theme)
        yield SystemCommand("Help", "what the keys of this place do (?)", self.action_help)
        yield SystemCommand("Quit", "leave; open questions stay open (q)", self.action_leave)

    async def _act(self, action: str) -> None:
        await self.screen.run_action(action)

    def action_leave(self) -> None:
        """Open questions stay open; nobody answering them is a no at their deadline."""
        self.exit(0)

    def _redraw(self) -> None:
        for screen in list(self.screen_stack):
            if isinstance(screen, ConfirmScreen | NumberScreen | CatalogScreen) and screen.is_mounted:
                screen.check(self.known)
        for place in self._places():
            place.redraw()

    def _places(self) -> list[Place]:
        return [screen for screen in self.screen_stack if isinstance(screen, Place) and screen.is_mounted]


def run(control_socket: Path) -> int:
    """Open the screen; returns the exit code when the person leaves it."""
    app = BulkheadApp(control_socket)
    code = app.run()
    return app.return_code or code or 0
