"""What this machine really enforces and what is wrong, as `bulkhead doctor` finds it, with what to do about it.

It works without a daemon: that is when a doctor is needed most.
"""

import json
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ui.listings import Row
from ui.present import BLOCK, count, untrusted, untrusted_block
from ui.screens.base import Place
from ui.screens.pages import Page
from ui.shell import Printed
from ui.widgets.rows import Rows

COMMAND: Final = ("doctor", "--json")
WIDTHS: Final = (4, 20)
MAX_FINDINGS: Final = 1_000
STATES: Final = {"ok": "ok", "warn": "warn", "bad": "BAD"}


class DoctorScreen(Place):
    NAME = "doctor"
    AUTO_FOCUS = "#findings"
    HELP_TEXT = """\
Enter    the whole finding, and what to do
r        look again (it tries sandboxes: some seconds)"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("r", "again", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._findings: list[dict[str, str]] = []
        self._note = "not looked yet"

    def body(self) -> Iterable[Widget]:
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="findings")
        yield Static(Content(""), id="fix", markup=False)

    def on_mount(self) -> None:
        self.action_again()

    def refresh_body(self) -> None:
        self.query_one("#heading", Static).update(Content(f"  {self._note}"))
        self.query_one("#findings", Rows).show([row(place, one) for place, one in enumerate(self._findings)])
        self._show_fix()

    def action_again(self) -> None:
        self._note = "looking: each check has its time …"
        self.desk.run_command(COMMAND)
        self.redraw()

    def action_open(self) -> None:
        one = self._chosen
        if one is not None:
            title = f"{STATES.get(one['state'], '?')}: {untrusted(one['what']).plain}"
            said = Content.assemble(untrusted(one["said"], BLOCK), "\n\n", "To do:" if one["fix"] else "")
            self.app.push_screen(Page(title, said, untrusted_block(one["fix"]), "type this yourself, in a terminal"))

    def ran(self, words: Sequence[str], printed: Printed) -> None:
        if tuple(words) != COMMAND:
            return
        self._findings = read(printed.text)
        bad = sum(one["state"] == "bad" for one in self._findings)
        warned = sum(one["state"] == "warn" for one in self._findings)
        counted = f"{count(len(self._findings), 'finding')}: {bad} bad, {count(warned, 'warning')}"
        self._note = (
            counted if self._findings else f"the doctor said nothing: {printed.problem or 'see bulkhead doctor'}"
        )
        self._findings.sort(key=lambda one: ("bad", "warn", "ok").index(one["state"]))
        self.redraw()

    @on(Rows.Moved)
    def _show_fix(self) -> None:
        one = self._chosen
        self.query_one("#fix", Static).update(
            Content.assemble("To do: ", untrusted(one["fix"] or "nothing")) if one is not None else Content("")
        )

    @property
    def _chosen(self) -> dict[str, str] | None:
        key = self.query_one("#findings", Rows).cursor_key
        return self._findings[int(key)] if key and int(key) < len(self._findings) else None


def row(place: int, one: dict[str, str]) -> Row:
    state = Content(STATES[one["state"]]).stylize("" if one["state"] == "ok" else "bold")
    return Row(str(place), (state, untrusted(one["what"]), untrusted(one["said"])), WIDTHS)


def read(text: str) -> list[dict[str, str]]:
    """What the command printed; a row that is none of ours is left out."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    read = [{name: str(one.get(name) or "") for name in ("what", "state", "said", "fix")} for one in rows]
    return [one for one in read if one["state"] in STATES][:MAX_FINDINGS]
