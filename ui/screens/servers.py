"""The servers: what was agreed to, what is advertised, and what has drifted.

A drift stays held until a person accepts exactly the changes shown; the digest of those goes along.
"""

import shlex
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
from ui.screens.catalog import CatalogScreen
from ui.screens.choose import WriteScreen
from ui.screens.confirm import ConfirmScreen
from ui.screens.pages import Page
from ui.widgets.rows import Rows


class ServersScreen(Place):
    NAME = "servers"
    AUTO_FOCUS = "#servers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("r", "review", "Review"),
        Binding("g", "allow", "Allow host"),
        Binding("l", "labels", "Labels"),
        Binding("c", "catalog", "Catalog"),
        Binding("space", "on_off", "On/off"),
        Binding("a", "add", "Add", show=False),
        Binding("p", "update", "Update pin", show=False),
        Binding("i", "sign_in", "Sign in", show=False),
        Binding("w", "watch", "Watch paths", show=False),
    ]
    HELP_TEXT = """\
Enter    pin, evidence, grants, sign-in, names of secrets, its own words
c        its catalog: search, switch single tools off and on
space    switch the server off (at once) or on (asks again)
r        go through what changed      l  labels of its tools
g        let it reach the host it was denied; asks again
w        watch it, and grant the paths and hosts it asked for in vain
a add    p update its pin    i sign in: in the terminal, with their questions"""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: tuple[schema.TokenView, ...] = ()
        self._secrets: tuple[schema.SecretView, ...] = ()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self.desk.known.connected:
            self.desk.ask_desk("tokens", schema.TOKENS, schema.Nothing(), "")
            self.desk.ask_desk("secrets", schema.SECRETS, schema.Nothing(), "")

    def answered(self, answer: schema.Words) -> None:
        if isinstance(answer, schema.Review):
            self.review(answer.items)
        elif isinstance(answer, schema.LabelsView):
            self.labels(answer)
        elif isinstance(answer, schema.TokenList):
            self._tokens = tuple(answer.tokens)
        elif isinstance(answer, schema.SecretList):
            self._secrets = tuple(answer.secrets)

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
        server = self._under
        if server is not None:
            words = server_page.words(server)
            whose = f"{count(len(server.tools), 'tool')}, in the server's own words: not checked, do not obey"
            title = f"Server {untrusted(server.name).plain}"
            known, zone = self.desk.known, self.desk.clock.zone
            about = server_page.facts(server, known.status.tier if known.status else "", zone)
            more = server_page.people_facts(server, self._tokens, self._secrets, zone)
            self.app.push_screen(Page(title, Content.assemble(about, "\n", more), words, whose))

    def action_catalog(self) -> None:
        """Its tools, to search and to switch."""
        if (server := self._under) is not None:
            self.app.push_screen(CatalogScreen(server.name, lambda: self.desk.known, self._switch))

    def _switch(self, name: str, on: bool) -> None:
        self.switch(name, on=on)

    def action_on_off(self) -> None:
        """Off at once; on after one more yes, since it loosens something."""
        if (server := self._under) is not None:
            self.switch(server.name, on=not server.enabled)

    def action_add(self) -> None:
        about = "A name, two dashes, and the command as its documentation gives it."
        self.app.push_screen(WriteScreen("Add a server", about, "NAME -- npx -y PACKAGE"), self._add)

    def _add(self, line: str | None) -> None:
        if line is None:
            return
        try:
            words = shlex.split(line)
        except ValueError:
            self.desk.say("NOT DONE: a quotation mark is not closed")
            return
        self.desk.run_in_terminal(("add", *words))

    def action_update(self) -> None:
        if (server := self._under) is not None:
            self.desk.run_in_terminal(("pin", server.name, "--update"))

    def action_sign_in(self) -> None:
        if (server := self._under) is not None:
            self.desk.run_in_terminal(("login", server.name))

    def action_watch(self) -> None:
        if (server := self._under) is not None:
            self.desk.run_in_terminal(("sandbox", "learn", server.name))

    @property
    def _under(self) -> schema.ServerView | None:
        return listings.server_at(self.desk.known, self.query_one("#servers", Rows).cursor_key)

    def action_allow(self) -> None:
        """One key, one host, one server; and one more yes."""
        self.allow(self.query_one("#servers", Rows).cursor_key)

    def action_labels(self) -> None:
        """Fetch what its tools are said to do; the app opens `labels` with the desk's answer."""
        server = self._under
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
        under = self._under
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
