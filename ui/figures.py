"""The last minutes as lines of small bars, each with its number now; and the alerts there were.

A bar is a letter, so it needs no colour; a line says in words what it counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from textual.content import Content

from broker.api import schema
from ui.listings import Row
from ui.present import clock_time, count, untrusted

BARS: Final = " ▁▂▃▄▅▆▇█"
STEP: Final = 2.0  # seconds of one sample
NAME_WIDTH: Final = 22
NOW_WIDTH: Final = 12
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what of a sample it shows, and how a number of it is said."""

    name: str
    of: Callable[[schema.VitalView], float]
    said: Callable[[float], str]


def _rate(number: float) -> str:
    return f"{number:.1f} /s"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _times(number: float) -> str:
    return f"{number:.0f}"


def _mib(number: float) -> str:
    return f"{number / MIB:.0f} MiB"


FIGURES: Final = (
    Figure("answers", lambda one: one.answers / STEP, _rate),
    Figure("errors of them", lambda one: one.errors / one.answers if one.answers else 0.0, _percent),
    Figure("half waited up to", lambda one: one.half, _milliseconds),
    Figure("99 of 100 up to", lambda one: one.most, _milliseconds),
    Figure("held for a person", lambda one: float(one.holds), _times),
    Figure("denied", lambda one: float(one.denials), _times),
    Figure("memory of the daemon", lambda one: one.memory, _mib),
    Figure("memory of servers", lambda one: one.servers, _mib),
)


def bars(values: Sequence[float], width: int) -> str:
    """The last values, as many as there is room for; the largest is a full bar, nothing is a blank."""
    shown = list(values[-width:]) if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return " " * len(shown)
    return "".join(BARS[max(1, round(value / most * (len(BARS) - 1)))] if value > 0 else BARS[0] for value in shown)


def figure_rows(samples: Sequence[schema.VitalView], width: int) -> Content:
    """One line for each figure."""
    room = max(4, width - NAME_WIDTH - 2 * NOW_WIDTH - 4)
    lines = []
    for figure in FIGURES:
        values = [figure.of(one) for one in samples]
        now = figure.said(values[-1]) if values else "-"
        most = f"most {figure.said(max(values[-room:]))}" if values else ""
        lines.append(f"{figure.name:{NAME_WIDTH}}{now:>{NOW_WIDTH}}  {bars(values, room):>{room}}  {most}")
    return Content("\n").join([Content(line[: max(width, 1)]) for line in lines])


SAYS: Final = {
    "errors": "errors", "denied": "denials", "issuer": "sign-in", "drift": "drift", "malware": "MALWARE",
    "bypass": "bypass",
}  # fmt: skip
ALERT_WIDTHS: Final = (8, 8, 6)


def alert_row(alert: schema.AlertView, zone: tzinfo | None) -> Row:
    cells = (
        Content(clock_time(alert.last, zone)),
        Content(SAYS[alert.rule]).stylize("bold"),
        Content(f"{alert.times:>5}x"),
        untrusted(alert.text),
    )
    return Row(str(alert.number), cells, ALERT_WIDTHS)


def alert_words(alert: schema.AlertView, zone: tzinfo | None) -> Content:
    pairs = (
        ("What", untrusted(alert.text)),
        ("Rule", Content(alert.rule)),
        ("Server", untrusted(alert.server or "-")),
        ("Client", untrusted(alert.client or "-")),
        ("First", Content(clock_time(alert.at, zone))),
        ("Last", Content.assemble(clock_time(alert.last, zone), f", {count(alert.times, 'time')} in all")),
        ("To do", Content(TO_DO[alert.rule])),
    )
    return Content("\n").join([Content.assemble(f"{name:8}", words) for name, words in pairs])


TO_DO: Final = {
    "errors": "4, then / server:NAME kind:result shows what it answered; 3, Enter what it may reach",
    "denied": "4, then / verdict:deny shows what was wanted; 5 explains why a call is denied",
    "issuer": "the sign-in is a question: answer no unless you know of the change",
    "drift": "3, then r goes through what changed; it stays held until you accept it",
    "malware": "it was stopped; 3, Enter says what is known; bulkhead remove NAME",
    "bypass": "6, then i imports again",
}
