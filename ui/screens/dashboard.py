"""The last ten minutes at a glance, and the alerts; it only shows."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ui import figures
from ui.screens.base import Place
from ui.screens.pages import Page
from ui.widgets.rows import Rows

QUIET = "No alerts.  Many errors or denials, drift, malware, another authorization server, a client that goes past."


class DashboardScreen(Place):
    NAME = "dashboard"
    AUTO_FOCUS = "#alerts"
    HELP_TEXT = """\
Enter    the whole alert, and what to do
each bar is two seconds, the last one now; which alerts there are, and a
webhook for them, stand in alerts.toml of the configuration folder"""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    def body(self) -> Iterable[Widget]:
        yield Static(Content(""), id="figures", markup=False)
        yield Static(Content("Alerts"), id="heading", markup=False)
        yield Rows(id="alerts")
        yield Static(Content(QUIET), id="nothing", markup=False)

    def refresh_body(self) -> None:
        known = self.desk.known
        self.query_one("#figures", Static).update(figures.figure_rows(known.vitals, max(1, self.size.width - 2)))
        rows = self.query_one("#alerts", Rows)
        rows.show([figures.alert_row(alert, self.desk.clock.zone) for alert in reversed(known.alerts)])
        rows.display = bool(known.alerts)
        self.query_one("#nothing").display = not known.alerts
        if self.is_current:
            known.alerts_seen = known.newest_alert

    def on_resize(self) -> None:
        self.redraw()

    def action_open(self) -> None:
        key = self.query_one("#alerts", Rows).cursor_key
        alert = next((alert for alert in self.desk.known.alerts if str(alert.number) == key), None)
        if alert is not None:
            self.app.push_screen(Page("Alert", figures.alert_words(alert, self.desk.clock.zone)))
