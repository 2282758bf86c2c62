"""The lines at the top of every screen: where we are, how the daemon is, and what must not be overlooked."""

from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ui import listings
from ui.known import Known

PLACES: Final = (
    ("questions", "Questions", "Quest"),
    ("sessions", "Sessions", "Sess"),
    ("servers", "Servers", "Serv"),
    ("audit", "Audit", "Audit"),
    ("policy", "Policy", "Pol"),
    ("clients", "Clients", "Cli"),
    ("doctor", "Doctor", "Doc"),
    ("dashboard", "Dashboard", "Dash"),
)
"""Each with the name it has where there is little room."""
WIDE: Final = 110  # columns in which all of them fit in full


class StatusBar(Vertical):
    """Told by its screen what to show; `place` is the mode the screen belongs to."""

    DEFAULT_CSS = """
    StatusBar { dock: top; height: auto; }
    StatusBar > Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; padding: 0 1; }
    StatusBar > #places { background: $panel; }
    StatusBar > #daemon { color: $text-muted; }
    StatusBar > #warnings { height: auto; text-wrap: wrap; background: $error; color: $text; text-style: bold; }
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def compose(self) -> ComposeResult:
        for name in ("places", "daemon", "warnings"):
            yield Static(Content(""), id=name, markup=False)

    def show(self, known: Known) -> None:
        self.query_one("#places", Static).update(self._places(known))
        self.query_one("#daemon", Static).update(listings.status_line(known.status, known))
        warnings = listings.warnings(known)
        line = self.query_one("#warnings", Static)
        line.display = bool(warnings)
        line.update(Content("\n").join([Content.assemble("!! ", warning) for warning in warnings]))

    def _places(self, known: Known) -> Content:
        waiting = {
            "questions": len(known.questions),
            "servers": sum(server.state == "drift" for server in known.servers),
            "clients": sum(one.came_back for one in known.applications),
            "dashboard": known.unseen_alerts,
        }
        parts: list[Content] = []
        wide = self.size.width >= WIDE
        for number, (place, title, short) in enumerate(PLACES, 1):
            waits = f"({waiting[place]})" if waiting.get(place) else ""
            if place == self._place:
                label = Content(f" {number} {title}{' ' if waits else ''}{waits} ").stylize("bold reverse")
                parts.append(Content.assemble("▸", label))
            else:
                parts.append(Content(f" {number} {title} {waits} " if wide else f"{number} {short}{waits}"))
        return Content(" ").join(parts)
