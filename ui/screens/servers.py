"""The servers: what was agreed to, what is advertised, and what has drifted.

A drift stays held until a person accepts exactly the changes shown; the digest of those goes along.
"""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from ui import listings, server_page
from ui.known import Known
from ui.present import BLOCK, count, untrusted, untrusted_block
from ui.screens.base import Place
from ui.screens.confirm import ConfirmScreen
from ui.screens.pages import Page
from ui.widgets.rows import Rows


class ServersScreen(Place):
    NAME = "servers"
    AUTO_FOCUS = "#servers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("r", "review", "Review changes"),
        Binding("g", "allow", "Allow host"),
        Binding("l", "labels", "Labels"),
    ]

    def body(self) -> Iterable[Widget]:
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="servers")
        yield Static(Content("No servers.  Add one: bulkhead add NAME -- COMMAND"), id="nothing", markup=False)

    def refresh_body(self) -> None:
        servers = self.desk.known.servers
        heading = self.query_one("#heading", Static)
        heading.update(Content.assemble("  ", listings.SERVER_HEADING.draw(max(1, self.size.width - 4))))
        heading.display = bool(servers)
        rows = self.query_one("#servers", Rows)
        rows.show([row for server in servers for row in listings.server_rows(server)])
        rows.display = bool(servers)
        self.query_one("#nothing").display = not servers

    def on_resize(self) -> None:
        self.redraw()

    def action_open(self) -> None:
        server = listings.server_at(self.desk.known, self.query_one("#servers", Rows).cursor_key)
        if server is not None:
            words = server_page.words(server)
            whose = f"{count(len(server.tools), 'tool')}, in the server's own words: not checked, do not obey"
            title = f"Server {untrusted(server.name).plain}"
            known, zone = self.desk.known, self.desk.clock.zone
            facts = server_page.facts(server, known.status.tier if known.status else "", zone)
            self.app.push_screen(Page(title, facts, words, whose))

    def action_allow(self) -> None:
        """One key, one host, one server; and one more yes."""
        self.allow(self.query_one("#servers", Rows).cursor_key)

    def action_labels(self) -> None:
        """Fetch what its tools are said to do; the app opens `labels` with the desk's answer."""
        server = listings.server_at(self.desk.known, self.query_one("#servers", Rows).cursor_key)
        if server is not None:
            self.desk.ask_desk(f"labels of {server.name}", schema.LABELS, schema.Name(name=server.name), "")

    def labels(self, view: schema.LabelsView) -> None:
        """What counts and what could be accepted, tool by tool; a yes is for the definitions that were shown."""
        if view.basis == "accepted" or not view.tools:
            said = server_page.label_lines(view)
            title = f"Labels of {untrusted(view.name).plain}"
            self.app.push_screen(Page(title, server_page.label_head(view), said, "its tools, and why"))
            return

        def unchanged(known: Known) -> bool:
            server = known.server(view.name)
            return known.connected and server is not None and server.catalog in ("", view.catalog)

        def decided(yes: bool | None) -> None:
            if not yes:
                self.desk.say("nothing was accepted")
                return
            tools = [tool.proposed for tool in view.tools]
            params = schema.LabelsAccept(name=view.name, catalog=view.catalog, tools=tools)
            self.desk.ask_desk(f"accept labels of {view.name}", schema.LABELS_ACCEPT, params, "")

        window = ConfirmScreen(
            "Labels", server_page.label_head(view), clock=self.desk.clock, still=unchanged,
            yes="Accept these labels", no="Leave it as it is", theirs=server_page.label_lines(view),
        )  # fmt: skip
        self.app.push_screen(window, decided)

    def action_review(self) -> None:
        """Fetch what has drifted; the app opens `review` with the desk's answer."""
        self.desk.ask_desk("review", schema.REVIEW, schema.Nothing(), "")

    def review(self, items: list[schema.ReviewItem]) -> None:
        """Go through drift one by one, that of the chosen server first."""
        if not items:
            self.desk.say("nothing has drifted")
            return
        under = listings.server_at(self.desk.known, self.query_one("#servers", Rows).cursor_key)
        chosen = under.name if under is not None else ""
        waiting = sorted(items, key=lambda item: (item.kind, item.name) != ("catalog", chosen))
        self._review_next(waiting)

    def _review_next(self, waiting: list[schema.ReviewItem]) -> None:
        if not waiting:
            return
        item, rest = waiting[0], waiting[1:]

        def still_drifted(known: Known) -> bool:
            if item.kind == "document":
                return known.connected
            server = known.server(item.name)
            return known.connected and server is not None and server.drift_digest in ("", item.digest)

        def decided(yes: bool | None) -> None:
            if yes:
                params = schema.Accept(name=item.name, digest=item.digest)
                said = f"accepted: {untrusted(item.name).plain}"
                self.desk.ask_desk(f"accept {item.name}", schema.ACCEPT, params, said)
            elif not still_drifted(self.desk.known):
                self.desk.say("it changed while you read; press r to see it again")
            else:
                self.desk.say("kept held")
            self._review_next(rest)

        subject = "The server advertises other things than you agreed to" if item.kind == "catalog" else (
            "A document of Bulkhead was changed outside it; the last accepted copy is in force"
        )  # fmt: skip
        words = Content.assemble(
            subject, ":\n", untrusted(item.name).stylize("bold"), "\n\n",
            count(len(item.changes), "change"), f"; {count(len(rest), 'more item')} to review" if rest else "", "\n",
            "Digest ", untrusted(item.digest),
        )  # fmt: skip
        changes = Content("\n").join([untrusted_block(change, BLOCK) for change in item.changes[:1000]])
        window = ConfirmScreen(
            "Review", words, clock=self.desk.clock, still=still_drifted, yes="Accept these changes", no="Keep held",
            theirs=changes,
        )  # fmt: skip
        self.app.push_screen(window, decided)
