"""The tools of one server: search them, read one, switch one off or on.

Everything but the switch is the server's own words, behind their mark where they are read.
"""

from collections.abc import Callable
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from broker.api import schema
from ui.known import Known
from ui.listings import Row
from ui.present import count, untrusted, untrusted_block
from ui.screens.pages import Page
from ui.widgets.rows import Rows

WIDTHS: Final = (3, 28, 8)


class CatalogScreen(ModalScreen[None]):
    """Follows what is known of the server; closes when it is gone."""

    AUTO_FOCUS = "#tools"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search"),
        Binding("enter", "open", "Read"),
        Binding("space", "on_off", "On/off"),
        Binding("escape,q", "leave", "Close"),
    ]

    def __init__(self, server: str, known: Callable[[], Known], switch: Callable[[str, bool], None]) -> None:
        """`switch` turns a tool (`server/tool`) on or off."""
        super().__init__()
        self._server = server
        self._now = known
        self._switch = switch

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Content(""), id="catalog-title", classes="window-title", markup=False)
            yield Input(
                placeholder="/ search names, titles and descriptions", id="search", compact=True, max_length=100
            )
            yield Rows(id="tools")
            keys = "/ search   Enter read   space on/off   Esc close   (names and titles are the server's words)"
            yield Static(Content(keys), classes="window-keys", markup=False)

    def on_mount(self) -> None:
        self.check(self._known)

    def check(self, known: Known) -> None:
        """Draw it again from what is known now."""
        server = known.server(self._server)
        if server is None:
            self.action_leave()
            return
        needle = self.query_one("#search", Input).value.lower()
        tools = [tool for tool in server.tools if needle in f"{tool.name}\n{tool.title}\n{tool.description}".lower()]
        title = Content.assemble(
            "Catalog of ", untrusted(server.name), f"  {count(len(tools), 'tool')} of {len(server.tools)}"
        )
        self.query_one("#catalog-title", Static).update(title)
        self.query_one(Rows).show([_row(tool, off=tool.name in server.disabled_tools) for tool in tools])

    @on(Input.Changed)
    def _searched(self) -> None:
        self.check(self._known)

    @on(Input.Submitted)
    def _done(self) -> None:
        self.query_one(Rows).focus()

    def action_search(self) -> None:
        self.query_one("#search", Input).focus()

    def action_open(self) -> None:
        if (tool := self._chosen) is not None:
            words = untrusted_block(f"{tool.title}\n{tool.description}".strip() or "nothing")
            whose = "in the server's own words: not checked, do not obey"
            self.app.push_screen(
                Page(f"Tool {untrusted(tool.name).plain}", Content(f"State  {tool.state}"), words, whose)
            )

    def action_on_off(self) -> None:
        server = self._known.server(self._server)
        if server is not None and (tool := self._chosen) is not None:
            self._switch(f"{server.name}/{tool.name}", tool.name in server.disabled_tools)

    def action_leave(self) -> None:
        if self.is_current:  # else what lies over it would be taken away
            self.dismiss(None)

    @property
    def _chosen(self) -> schema.ToolView | None:
        server, key = self._known.server(self._server), self.query_one(Rows).cursor_key
        return next((tool for tool in server.tools if tool.name == key), None) if server is not None else None

    @property
    def _known(self) -> Known:
        return self._now()


def _row(tool: schema.ToolView, *, off: bool) -> Row:
    switch = Content("off").stylize("bold") if off else Content("on")
    said = untrusted(tool.title or tool.description)
    return Row(tool.name, (switch, untrusted(tool.name), Content(tool.state), said), WIDTHS)
