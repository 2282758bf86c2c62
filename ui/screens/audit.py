"""The audit log: a bounded tail that follows, pauses and filters as you type; a search of all of it; its chain.

Only new receipts are looked at when some arrive, and only visible ones are drawn; a flood does not slow the screen.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import strftime
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from broker.api import schema
from ui import listings
from ui.known import RING, Known, receipt_line
from ui.present import count, untrusted
from ui.query import FOUND, query
from ui.screens.base import Place
from ui.screens.pages import Page
from ui.shell import Printed
from ui.widgets.rows import Rows

MAX_FILTER = 200
VERIFY: Final = ("audit", "verify", "--json")
EXPORT: Final = ("audit", "export", "--format", "jsonl")


class AuditScreen(Place):
    NAME = "audit"
    AUTO_FOCUS = "#tail"
    HELP_TEXT = """\
/        filter as you type: words, and client: server: session: tool: kind:
         rule: verdict: story: with a value after the colon
s        look for the same in all receipts (since:2h too); Esc is back at the tail
p        pause      End  follow again      Enter  the whole receipt
c        check the whole chain
x        write what the filter means into a new file"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "search", "Search all"),
        Binding("p", "pause", "Pause"),
        Binding("enter", "open", "Open"),
        Binding("c", "check_chain", "Chain"),
        Binding("x", "export", "Export"),
        Binding("escape", "leave_filter", "Leave filter", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._matching: list[listings.ReceiptRow] = []
        self._found: list[listings.ReceiptRow] | None = None
        self._looked_at = 0
        self._paused_at: int | None = None
        self._chain = ""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="filter-line"):
            yield Static(Content("/"), id="filter-sign", markup=False)
            yield Input(placeholder="filter", id="filter", compact=True, max_length=MAX_FILTER)
            yield Static(Content(""), id="tail-note", markup=False)
        yield Static(Content(""), id="chain", markup=False)
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="tail", follow=True)

    def refresh_body(self) -> None:
        heading = self.query_one("#heading", Static)
        heading.update(Content.assemble("  ", listings.RECEIPT_HEADING.draw(max(1, self.size.width - 4))))
        chain = self.query_one("#chain", Static)
        chain.display = bool(self._chain)
        chain.update(untrusted(self._chain, 400))
        known = self.desk.known
        newest = known.receipts[-1].number if known.receipts else 0
        if self._found is None and self._paused_at is None and (newest != self._looked_at or not self._matching):
            self._take_new()
        self.query_one("#tail-note", Static).update(Content(self._note(newest)))

    def _note(self, newest: int) -> str:
        if self._found is not None:
            return f"{count(len(self._found), 'receipt')} of all{', the newest' if len(self._found) == FOUND else ''}"
        if self._paused_at is not None:
            return f"paused, {newest - self._looked_at} newer"
        return count(len(self._matching), "receipt")

    def on_resize(self) -> None:
        self.redraw()

    def answered(self, answer: schema.Words) -> None:
        if isinstance(answer, schema.Receipts):
            lines = [receipt_line(number, entry) for number, entry in enumerate(answer.receipts, 1)]
            self._found = [listings.ReceiptRow(line) for line in lines]
            self.query_one("#tail", Rows).show(self._found)
            self.redraw()

    def ran(self, words: Sequence[str], printed: Printed) -> None:
        if tuple(words) == VERIFY:
            self._chain = _chain_words(printed)
            self.redraw()
        elif tuple(words[: len(EXPORT)]) == EXPORT:
            failed = printed.problem or ("bulkhead audit export failed" if printed.code else "")
            self.desk.say(untrusted(f"NOT DONE: {failed}") if failed else "the receipts were written")

    @on(Input.Changed)
    def _filter_changed(self) -> None:
        self._start_over()

    @on(Input.Submitted)
    def _filter_done(self) -> None:
        self.query_one("#tail", Rows).focus()

    @on(Rows.Moved)
    def _moved(self, moved: Rows.Moved) -> None:
        """At the end it follows; anywhere else it stays, so that a line can be read."""
        at_end = self._found is None and bool(self._matching) and moved.key == self._matching[-1].key
        self.query_one("#tail", Rows).follow = at_end

    def action_filter(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_leave_filter(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._start_over()
        self.query_one("#tail", Rows).focus()

    def action_pause(self) -> None:
        self._paused_at = self._looked_at if self._paused_at is None else None
        self.redraw()

    def action_open(self) -> None:
        key = self.query_one("#tail", Rows).cursor_key
        shown = self._matching if self._found is None else self._found
        line = next((row.line for row in shown if row.key == key), None)
        if line is not None:
            about = Content.assemble("Entry ", untrusted(line.column("seq")), " of ", untrusted(line.column("time")))
            whose = "The entry, with words of clients and servers in it"
            self.app.push_screen(Page("Receipt", about, listings.receipt_words(line), whose))

    def action_search(self) -> None:
        """The same words, in everything that is on record."""
        wanted = query(self.query_one("#filter", Input).value).search(self.desk.clock.wall)
        self.desk.ask_desk("search", schema.AUDIT, wanted, "")

    def action_check_chain(self) -> None:
        self._chain = "checking the chain …"
        self.desk.run_command(VERIFY)
        self.redraw()

    def action_export(self) -> None:
        """What the filter means, of all that is on record, into a file that was not there before."""
        meant = query(self.query_one("#filter", Input).value)
        file = Path.home() / strftime("bulkhead-receipts-%Y%m%d-%H%M%S.jsonl")
        words = Content.assemble(
            "Write receipts as JSON lines into\n", untrusted(str(file)).stylize("bold"), "\n\n",
            "Which: ", untrusted(" ".join(meant.words) or "all"), ".  Words of messages stay sealed.",
        )  # fmt: skip

        def always(_: Known) -> bool:
            return True

        def export() -> None:
            self.desk.run_command((*EXPORT, *meant.words), into=file)

        self.confirm("Export?", words, always, "Write the file", export, no="Write nothing")

    def _start_over(self) -> None:
        self._matching, self._looked_at, self._found = [], 0, None
        self._take_new()
        self.redraw()

    def _take_new(self) -> None:
        known = self.desk.known
        first = known.receipts[0].number if known.receipts else 0
        meant = query(self.query_one("#filter", Input).value)
        new = known.receipts_after(self._looked_at)
        if self._paused_at is not None:
            new = [line for line in new if line.number <= self._paused_at]
        self._matching.extend(listings.ReceiptRow(line) for line in new if meant.holds(line))
        gone = next(
            (place for place, row in enumerate(self._matching) if row.line.number >= first), len(self._matching)
        )
        del self._matching[:gone]
        del self._matching[:-RING]
        if new:
            self._looked_at = new[-1].number
        self.query_one("#tail", Rows).show(self._matching)


def _chain_words(printed: Printed) -> str:
    """What `audit verify` found, in one line."""
    try:
        found = json.loads(printed.text)
        if found["ok"]:
            pruned = f"; {found['pruned']} were let go, signed stubs stand in" if found.get("pruned") else ""
            return f"the chain is whole: {found['receipts']} receipts, {found['vouched']} under the checkpoint{pruned}"
        return f"THE CHAIN IS BROKEN: {found['problem']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"the chain could not be checked: {printed.problem or 'see bulkhead audit verify'}"
