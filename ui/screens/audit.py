"""The tail of the audit log: bounded, follows, pauses, filters as you type.

Only new receipts are looked at when some arrive, and only visible ones are drawn; a flood does not slow the screen.
"""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from ui import listings
from ui.known import RING
from ui.present import count, untrusted
from ui.screens.base import Place
from ui.screens.pages import Page
from ui.widgets.rows import Rows

MAX_FILTER = 100


class AuditScreen(Place):
    NAME = "audit"
    AUTO_FOCUS = "#tail"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("p", "pause", "Pause"),
        Binding("enter", "open", "Open"),
        Binding("escape", "leave_filter", "Leave filter", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._matching: list[listings.ReceiptRow] = []
        self._looked_at = 0
        self._paused_at: int | None = None

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="filter-line"):
            yield Static(Content("/"), id="filter-sign", markup=False)
            yield Input(placeholder="filter", id="filter", compact=True, max_length=MAX_FILTER)
            yield Static(Content(""), id="tail-note", markup=False)
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="tail", follow=True)

    def refresh_body(self) -> None:
        heading = self.query_one("#heading", Static)
        heading.update(Content.assemble("  ", listings.RECEIPT_HEADING.draw(max(1, self.size.width - 4))))
        known = self.desk.known
        newest = known.receipts[-1].number if known.receipts else 0
        if self._paused_at is None and (newest != self._looked_at or not self._matching):
            self._take_new()
        waiting = newest - self._looked_at
        note = f"paused, {waiting} newer" if self._paused_at is not None else count(len(self._matching), "receipt")
        self.query_one("#tail-note", Static).update(Content(note))

    def on_resize(self) -> None:
        self.redraw()

    @on(Input.Changed)
    def _filter_changed(self) -> None:
        self._start_over()

    @on(Input.Submitted)
    def _filter_done(self) -> None:
        self.query_one("#tail", Rows).focus()

    @on(Rows.Moved)
    def _moved(self, moved: Rows.Moved) -> None:
        """At the end it follows; anywhere else it stays, so that a line can be read."""
        self.query_one("#tail", Rows).follow = bool(self._matching) and moved.key == self._matching[-1].key

    def action_filter(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_leave_filter(self) -> None:
        self.query_one("#filter", Input).value = ""
        self.query_one("#tail", Rows).focus()

    def action_pause(self) -> None:
        self._paused_at = self._looked_at if self._paused_at is None else None
        self.redraw()

    def action_open(self) -> None:
        key = self.query_one("#tail", Rows).cursor_key
        line = next((row.line for row in self._matching if row.key == key), None)
        if line is not None:
            about = Content.assemble("Entry ", untrusted(line.column("seq")), " of ", untrusted(line.column("time")))
            whose = "The entry, with words of clients and servers in it"
            self.app.push_screen(Page("Receipt", about, listings.receipt_words(line), whose))

    def _start_over(self) -> None:
        self._matching, self._looked_at = [], 0
        self._take_new()
        self.redraw()

    def _take_new(self) -> None:
        known = self.desk.known
        first = known.receipts[0].number if known.receipts else 0
        needle = self.query_one("#filter", Input).value.lower()
        new = known.receipts_after(self._looked_at)
        if self._paused_at is not None:
            new = [line for line in new if line.number <= self._paused_at]
        self._matching.extend(listings.ReceiptRow(line) for line in new if not needle or line.holds(needle))
        gone = next(
            (place for place, row in enumerate(self._matching) if row.line.number >= first), len(self._matching)
        )
        del self._matching[:gone]
        del self._matching[:-RING]
        if new:
            self._looked_at = new[-1].number
        self.query_one("#tail", Rows).show(self._matching)
