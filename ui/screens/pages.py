"""Pages that open over a place to be read, and close again with Esc.  They ask nothing."""

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ui.widgets.words_of_others import WordsOfOthers

HELP: Final = """\
1 to 8         the places named on top
up, down       choose a row          Enter  open it
t              light or dark         ctrl+p every command by name
?              this page             q      quit
{here}
What stands beside a thick line was written by a server or a client.
Everything here can be done with `bulkhead` commands too: bulkhead --help"""


class Page(ModalScreen[None]):
    """Facts of ours first, then the words of others behind their mark."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,v,enter", "close", "Close"),
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
    ]

    def __init__(self, title: str, ours: Content, theirs: Content | None = None, whose: str = "") -> None:
        super().__init__()
        self._title = title
        self._ours = ours
        self._theirs = theirs
        self._whose = whose

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Content(self._title), classes="window-title", markup=False)
            with VerticalScroll(can_focus=False):
                yield Static(self._ours, markup=False, classes="ours")
                if self._theirs:
                    yield Static(Content(self._whose), classes="theirs-title", markup=False)
                    pane = WordsOfOthers(id="theirs")
                    pane.update(self._theirs)
                    yield pane
            yield Static(Content("Esc close   up/down, PgUp/PgDn scroll"), classes="window-keys", markup=False)

    def action_close(self) -> None:
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        body = self.query_one(VerticalScroll)
        body.scroll_relative(y=by * max(1, body.size.height - 1), animate=False)


class HelpScreen(Page):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark", "close", "Close", show=False)]

    def __init__(self, place: str, keys: str) -> None:
        here = f"\n{place}\n{keys}\n" if keys else ""
        super().__init__(f"Keys{f' of {place}' if place else ''}", Content(HELP.format(here=here)))
