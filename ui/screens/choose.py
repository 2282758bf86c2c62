"""Choose one of several, or write a line: both come back with None when the person leaves."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ui.widgets.rows import Drawn, Rows


class ChooseScreen(ModalScreen[str]):
    """Dismissed with the key of the chosen row."""

    AUTO_FOCUS = "#choices"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Choose"),
        Binding("escape,q", "leave", "Leave"),
    ]

    def __init__(self, title: str, rows: Sequence[Drawn]) -> None:
        super().__init__()
        self._title = title
        self._rows = rows

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Content(self._title), classes="window-title", markup=False)
            yield Rows(id="choices")
            yield Static(Content("Enter choose   Esc leave"), classes="window-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(Rows).show(self._rows)

    def action_choose(self) -> None:
        self.dismiss(self.query_one(Rows).cursor_key or None)

    def action_leave(self) -> None:
        self.dismiss(None)


class WriteScreen(ModalScreen[str]):
    """Dismissed with the line that was written."""

    AUTO_FOCUS = "#line"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, title: str, about: str, placeholder: str = "", *, longest: int = 4096) -> None:
        super().__init__()
        self._title = title
        self._about = about
        self._placeholder = placeholder
        self._longest = longest

    def compose(self) -> ComposeResult:
        with Vertical(classes="window small"):
            yield Static(Content(self._title), classes="window-title", markup=False)
            yield Static(Content(self._about), classes="ours", markup=False)
            yield Input(placeholder=self._placeholder, id="line", compact=True, max_length=self._longest)
            yield Static(Content("Enter goes on   Esc leave"), classes="window-keys", markup=False)

    @on(Input.Submitted)
    def _written(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        self.dismiss(None)
