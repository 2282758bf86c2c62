"""A list of one-line rows with a cursor.  Only the rows on the screen are drawn, so a long tail costs nothing.

Rows are `Content`; a plain string never gets here, so nothing is read as markup.  The cursor has a sign of its own
(`▸`), so it can be found without colour.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual


class Drawn(Protocol):
    """Something that can be one row."""

    @property
    def key(self) -> str: ...

    def draw(self, width: int) -> Content: ...


class Rows(ScrollView, can_focus=True):
    """Shows rows; says where the cursor went.  With `follow` the cursor stays at the end until it is moved away."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor"}
    DEFAULT_CSS = """
    Rows { overflow-x: hidden; scrollbar-size-vertical: 1; }
    Rows > .rows--cursor { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(0)", "First", show=False),
        Binding("end", "edge(-1)", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor went to another row."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str, follow: bool = False) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Drawn] = ()
        self._cursor = 0
        self._key = ""
        self.follow = follow

    @property
    def cursor_key(self) -> str:
        return self._key

    def show(self, rows: Sequence[Drawn]) -> None:
        """Replace the rows; the cursor stays with its row, or at its place if that row is gone."""
        self._rows = rows
        last = max(0, len(rows) - 1)
        if self.follow:
            self._cursor = last
        else:
            place = next((place for place, row in enumerate(rows) if row.key == self._key), None)
            self._cursor = min(self._cursor, last) if place is None else place
        self._key = rows[self._cursor].key if rows else ""
        self.virtual_size = Size(self.size.width, len(rows))
        self.refresh()
        self._reveal()

    def select(self, key: str) -> None:
        for place, row in enumerate(self._rows):
            if row.key == key:
                self._go(place)

    def action_move(self, by: int) -> None:
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self._cursor + by * max(1, self.size.height - 1))

    def action_edge(self, place: int) -> None:
        self._go(place if place >= 0 else len(self._rows) - 1)

    def on_click(self, event: Click) -> None:
        self._go(event.y + self.scroll_offset.y)

    def render_line(self, y: int) -> Strip:
        place = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        here = place == self._cursor
        style = self.get_visual_style("rows--cursor") if here else self.visual_style
        if here and self.has_focus:
            style += Style(reverse=True)  # a style sheet's `reverse` does not reach a visual style
        words = Content.assemble("▸ " if here else "  ", self._rows[place].draw(max(1, width - 2)))
        line = words.truncate(width, ellipsis=True, pad=True)
        return Visual.to_strips(self, line, width, 1, style)[0]

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._rows))
        self._reveal()

    def _go(self, place: int) -> None:
        if not self._rows:
            return
        place = min(max(place, 0), len(self._rows) - 1)
        moved, self._cursor = place != self._cursor, place
        self._key = self._rows[place].key
        self.refresh()
        self._reveal()
        if moved:
            self.post_message(self.Moved(self.cursor_key))

    def _reveal(self) -> None:
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)
