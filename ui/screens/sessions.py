"""The sessions: client, its runs, their links with state, tier and calls, and what was read."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from ui import session_list
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
        Binding("n", "renew", "Anew"),
        Binding("g", "allow", "Allow host"),
        Binding("w", "watch", "Watch"),
        Binding("x", "take_back", "Take back"),
        Binding("h", "harmless", "Harmless"),
    ]
    HELP_TEXT = """\
e        end the session under the cursor: links close, its yeses are forgotten
n        begin anew for that client: nothing read, nothing allowed
g        let the server reach the host it was denied; asks again
w        watch the server, and grant the paths and hosts it asked for in vain
x        take the yes under the cursor back
h        declare the read under the cursor harmless for this session; asks again"""

    def body(self) -> Iterable[Widget]:
        yield Rows(id="sessions")
        yield Static(Content("No sessions.  One begins when a registered client connects."), id="nothing", markup=False)

    def refresh_body(self) -> None:
        known = self.desk.known
        rows = self.query_one("#sessions", Rows)
        rows.show(session_list.session_rows(known, self.desk.clock.zone))
        rows.display = bool(known.sessions)
        self.query_one("#nothing").display = not known.sessions

    def action_allow(self) -> None:
        """One key, one host, one server; and one more yes."""
        self.allow(self.query_one("#sessions", Rows).cursor_key)

    def action_watch(self) -> None:
        """Which folders a server wants is found out by watching it; each grant is asked about there."""
        link = session_list.link_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
        if link is None:
            self.desk.say("put the cursor on a link first")
        else:
            self.desk.run_in_terminal(("sandbox", "learn", link.server))

    def action_take_back(self) -> None:
        grant = session_list.grant_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
        if grant is None:
            self.desk.say("put the cursor on a yes first")
        else:
            self.desk.ask_desk(f"revoke {grant.id}", schema.REVOKE, schema.Name(name=grant.id), "taken back")

    def action_renew(self) -> None:
        """Ask once more, then begin anew for the client the cursor is at."""
        found = session_list.session_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
        if found is None:
            self.desk.say("put the cursor on a session first")
            return
        client = found.client

        def still_there(known: Known) -> bool:
            return any(other.client == client for other in known.sessions)

        def renew() -> None:
            said = f"the next session of {untrusted(client).plain} begins with nothing read and nothing allowed"
            self.desk.ask_desk(f"renew {client}", schema.SESSION_NEW, schema.Name(name=client), said)

        words = Content.assemble(
            "End every session of ", untrusted(client), "?\n\n"
            "What they have read no longer counts for the next one, nor does a yes for a session.",
        )  # fmt: skip
        self.confirm("A new session?", words, still_there, "Begin anew", renew)

    def action_harmless(self) -> None:
        """Ask once more, then take one read of one session out of what holds its calls."""
        read = session_list.read_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
        if read is None or read.clean or read.kept:
            why = read.kept or "it is declared harmless already" if read is not None else ""
            self.desk.say(untrusted(f"this read stays as it is: {why}") if why else "put the cursor on a read first")
            return
        chosen = read

        def unchanged(known: Known) -> bool:
            return any(one.id == chosen.id for session in known.sessions for one in session.readings)

        def declare() -> None:
            params = schema.Declassify(read=chosen.id)
            self.desk.ask_desk(
                f"declassify {chosen.id}", schema.DECLASSIFY, params, "declared harmless for this session"
            )

        words = Content.assemble(
            "Read     ", session_list.read_words(chosen), "\n\n"
            "A yes says that you know what it holds: calls of this session are no longer held because of it.",
        )  # fmt: skip
        self.confirm("Is this read harmless?", words, unchanged, "It is harmless", declare)

    def action_end(self) -> None:
        """Ask once more, then end the session the cursor is in."""
        found = session_list.session_at(self.desk.known, self.query_one("#sessions", Rows).cursor_key)
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
