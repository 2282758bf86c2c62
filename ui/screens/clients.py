"""The AI applications: whose entries go through Bulkhead, and where somebody put one past it.

Files are read by the daemon and changed by `bulkhead import` alone, which shows the change and asks first.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from ui.listings import Row
from ui.present import BLOCK, count, untrusted, untrusted_block
from ui.screens.base import Place
from ui.screens.pages import Page
from ui.widgets.rows import Rows

WIDTHS: Final = (16, 9, 10)
NOBODY = "No application's configuration was found.  Which ones are known: bulkhead clients"


class ClientsScreen(Place):
    NAME = "clients"
    AUTO_FOCUS = "#clients"
    HELP_TEXT = """\
Enter    the file, and each entry that goes past Bulkhead
i        import what goes past: shows the change and asks, in the terminal
u        give the file back as it was, later edits kept"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("i", "command('import')", "Import"),
        Binding("u", "command('undo')", "Undo"),
    ]

    def body(self) -> Iterable[Widget]:
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="clients")
        yield Static(Content(NOBODY), id="nothing", markup=False)

    def refresh_body(self) -> None:
        found = self.desk.known.applications
        heading = Row("", tuple(map(Content, ("Client", "Through", "Past", "About"))), WIDTHS)
        line = self.query_one("#heading", Static)
        line.update(Content.assemble("  ", heading.draw(max(1, self.size.width - 4))))
        line.display = bool(found)
        rows = self.query_one("#clients", Rows)
        rows.show([row(one) for one in found])
        rows.display = bool(found)
        self.query_one("#nothing").display = not found

    def on_resize(self) -> None:
        self.redraw()

    def action_open(self) -> None:
        if (one := self._chosen) is not None:
            said = Content.assemble(
                "File      ", untrusted(one.path, BLOCK), "\nThrough   ", count(one.through, "entry", "entries"),
                "\nPast      ", count(len(one.past), "entry", "entries"),
                Content("; they were moved in before") if one.came_back else "",
                "\nProblem   ", untrusted(one.problem or "none", BLOCK),
                "\nTo do     ", _to_do(one),
            )  # fmt: skip
            theirs = untrusted_block("\n".join([*one.past, *(f"project file: {file}" for file in one.project_files)]))
            self.app.push_screen(Page(untrusted(one.label).plain, said, theirs, "entries, as the file names them"))

    def action_command(self, verb: str) -> None:
        if (one := self._chosen) is None:
            return
        if verb == "import" and not one.past:
            self.desk.say("nothing of it goes past Bulkhead")
        else:
            self.desk.run_in_terminal((verb, one.client))

    @property
    def _chosen(self) -> schema.ApplicationView | None:
        key = self.query_one("#clients", Rows).cursor_key
        return next((one for one in self.desk.known.applications if _key(one) == key), None)


def _key(one: schema.ApplicationView) -> str:
    return f"{one.client} {one.path}"


def row(one: schema.ApplicationView) -> Row:
    past = Content(f"{len(one.past)}{' AGAIN' if one.came_back else ''}").stylize("bold" if one.past else "")
    about = f"not read: {one.problem}" if one.problem else ", ".join(one.past) or one.path
    return Row(_key(one), (untrusted(one.client), Content(str(one.through)), past, untrusted(about)), WIDTHS)


def _to_do(one: schema.ApplicationView) -> str:
    if one.problem:
        return "mend the file with its own application; it was left untouched"
    if one.past:
        return "i imports what goes past"
    return "nothing"
