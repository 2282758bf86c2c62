"""Ask a second time before something that lasts.  Only an explicit yes is a yes.

"No" has focus; Esc and Enter mean no; the yes key is dead for a moment after the window opens; and when what it is
about is gone or has changed, the window closes with a no.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from ui.clock import DEAD_SECONDS, Clock, DeadTime
from ui.known import Known
from ui.widgets.words_of_others import WordsOfOthers


class Knows(Protocol):
    """What a window may ask of the app."""

    known: Known


class ConfirmScreen(ModalScreen[bool]):
    """Dismissed with True only by an explicit yes, while `still(known)` holds."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("up", "scroll(-1)", "Up", show=False),
        Binding("down", "scroll(1)", "Down", show=False),
    ]

    def __init__(
        self,
        title: str,
        ours: Content,
        *,
        clock: Clock,
        still: Callable[[Known], bool],
        yes: str,
        no: str = "No",
        theirs: Content | None = None,
    ) -> None:
        super().__init__()
        self._title = title
        self._ours = ours
        self._theirs = theirs
        self._yes = yes
        self._no = no
        self._still = still
        self._dead = DeadTime(clock.steady)
        self._left = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Content(self._title), classes="window-title", markup=False)
            with VerticalScroll(can_focus=False):
                yield Static(self._ours, markup=False, classes="ours")
                if self._theirs:
                    pane = WordsOfOthers(id="theirs")
                    pane.update(self._theirs)
                    yield pane
            with Horizontal(classes="window-answers"):
                yield Button(Content(f"n  {self._no}"), id="no", compact=True)
                yield Button(Content(f"y  {self._yes}"), id="yes", compact=True)

    def on_mount(self) -> None:
        self.add_class("-dead")
        self.call_after_refresh(self._painted)
        self.check(cast(Knows, self.app).known)  # it may have gone between the key and this

    def check(self, known: Known) -> None:
        """Close with a no when what is asked about is gone."""
        if not self._still(known):
            self._leave(False)

    def beat(self) -> None:
        """Show whether the keys live; a second passed."""
        self.set_class(not self._dead.over, "-dead")

    def action_answer(self, yes: bool) -> None:
        if not yes or self._dead.over:
            self._leave(yes)

    def _leave(self, yes: bool) -> None:
        """Once, and only while it is the one on top: `dismiss` takes away whatever lies there."""
        if self.is_current and not self._left:
            self._left = True
            self.dismiss(yes)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_answer(event.button.id == "yes")

    def _painted(self) -> None:
        self._dead.painted()
        self.set_timer(DEAD_SECONDS, self.beat)
