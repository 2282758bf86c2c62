"""The sessions: client, its runs, their links with state, tier and calls, and what was read."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from ui import listings
from ui.known import Known
from ui.present import untrusted
from ui.screens.base import Place
from ui.screens.confirm import ConfirmScreen
from ui.widgets.rows import Rows


class SessionsScreen(Place):
    NAME = "sessions"
    AUTO_FOCUS = "#sessions"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "end", "End session"),
        Binding("g", "allow", "Allow host"),
    ]

    def body(self) -> Iterable[Widget]:
        yield Rows(id="sessions")
        yield Static(Content("No sessions.  One begins when a registered client connects."), id="nothing", markup=False)

    def refresh_body(self) -> None:
        known = self.desk.known
        rows = self.query_one("#sessions", Rows)
        rows.show(listings.session_rows(known, self.desk.clock.zone))
        rows.display = bool(known.sessions)
        self.query_one("#nothing").display = not known.sessions

    def action_allow(self) -> None:
        """One key, one host, one server; and one more yes."""
        self.allow(self.query_one("#sessions", Rows).cursor_key)

    def action_end(self) -> None:
        """Ask once more, then end the session the cursor is in."""
        found = listings.session_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
        if found is None:
            self.desk.say("put the cursor on a session first")
            return
        session = found

        def still_there(known: Known) -> bool:
            return any(other.id == session.id for other in known.sessions)

        def confirmed(yes: bool | None) -> None:
            if yes:
                said = "the session was ended"
                self.desk.ask_desk(f"end {session.id}", schema.SESSION_END, schema.Name(name=session.id), said)

        words = Content.assemble(
            "End session ", untrusted(session.id), " of ", untrusted(session.client), "?\n\n"
            "Its links close, its servers stop, its yes for this session is forgotten.",
        )  # fmt: skip
        self.app.push_screen(
            ConfirmScreen("End session?", words, clock=self.desk.clock, still=still_there, yes="End it"), confirmed
        )
