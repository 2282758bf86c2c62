"""Ask for the number that stands on a page in the browser.  Nothing typed, or Esc, answers nothing."""

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ui.known import Known

WORDS = "The page that the application opened in your browser shows a number.  Type it here, then Enter; Esc goes back."


class NumberScreen(ModalScreen[str]):
    """Dismissed with two digits, or with nothing."""

    AUTO_FOCUS = "#number"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", "Back")]

    def __init__(self, still: Callable[[Known], bool]) -> None:
        super().__init__()
        self._still = still

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Content("Which number?"), classes="window-title", markup=False)
            yield Static(Content(WORDS), classes="ours", markup=False)
            yield Input(id="number", max_length=2, restrict=r"[0-9]*", compact=True)

    def check(self, known: Known) -> None:
        """Close with nothing when what is asked about is gone."""
        if not self._still(known):
            self.dismiss("")

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)
