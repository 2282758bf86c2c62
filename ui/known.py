"""What the daemon told us last.  Changes only by what the desk says; a snapshot replaces everything."""

import json
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from broker.api import schema

RING: Final = 5_000  # receipts kept for the tail; older ones are found with `bulkhead audit search`
SAMPLES: Final = 300  # of two seconds: ten minutes, as the daemon keeps them
RECEIPT_TEXT: Final = 8_192  # characters kept of one receipt; `bulkhead audit show` has the rest


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One receipt in the ring.  `number` counts arrivals; `text` is its JSON on one line, bounded."""

    number: int
    entry: dict[str, Any]
    text: str

    @property
    def key(self) -> str:
        return str(self.number)

    def column(self, name: str) -> str:
        value = self.entry.get(name)
        return value if isinstance(value, str) else "" if value is None else json.dumps(value)

    @property
    def is_call(self) -> bool:
        """Whether it says how a client's call was judged."""
        return (self.column("kind"), self.column("side"), self.column("method")) == ("decision", "client", "tools/call")

    def holds(self, needle: str) -> bool:
        """True if `needle` (lower case) stands anywhere in what was kept of it."""
        return needle in self.text.lower()


@dataclass(slots=True)
class Known:
    """The daemon as the screens know it.  `connected` False: the daemon is away, and nothing can be answered."""

    connected: bool = False
    trouble: str = ""
    status: schema.Status | None = None
    questions: tuple[schema.QuestionView, ...] = ()
    sessions: tuple[schema.SessionView, ...] = ()
    servers: tuple[schema.ServerView, ...] = ()
    grants: tuple[schema.GrantView, ...] = ()
    receipts: list[ReceiptLine] = field(default_factory=list)
    applications: tuple[schema.ApplicationView, ...] = ()
    alerts: tuple[schema.AlertView, ...] = ()
    vitals: list[schema.VitalView] = field(default_factory=list)
    alerts_seen: int = 0
    """The number of the newest alert that was looked at."""
    in_flight: set[str] = field(default_factory=set)
    events: int = 0
    """How much was heard from the daemon; only ever grows."""
    _arrivals: int = 0

    def apply(self, event: schema.WatchEvent) -> None:
        self.connected, self.trouble = True, ""
        self.events += 1
        match event:
            case schema.Snapshot():
                self.status = event.status
                self.questions = tuple(event.questions)
                self.sessions = tuple(event.sessions)
                self.servers = tuple(event.servers)
                self.grants = tuple(event.grants)
                self.receipts = []
                self._add(event.receipts)
                self.applications, self.alerts = tuple(event.applications), tuple(event.alerts)
                self.vitals = []
                self._add_vitals(event.vitals)
            case schema.StatusChanged():
                self.status = event.status
            case schema.QuestionsChanged():
                self.questions = tuple(event.questions)
            case schema.SessionsChanged():
                self.sessions = tuple(event.sessions)
            case schema.ServersChanged():
                self.servers = tuple(event.servers)
            case schema.GrantsChanged():
                self.grants = tuple(event.grants)
            case schema.ReceiptsAdded():
                self._add(event.receipts)
            case schema.ApplicationsChanged():
                self.applications = tuple(event.applications)
            case schema.AlertsChanged():
                self.alerts = tuple(event.alerts)
            case schema.VitalsAdded():
                self._add_vitals(event.vitals)
            case _:
                assert_never(event)

    def lose(self, trouble: str) -> None:
        """The daemon went away.  Its open questions can no longer be answered, so they are not shown."""
        self.connected, self.trouble = False, trouble
        self.questions = ()

    @property
    def newest_alert(self) -> int:
        return self.alerts[-1].number if self.alerts else 0

    @property
    def unseen_alerts(self) -> int:
        return sum(alert.number > self.alerts_seen for alert in self.alerts)

    def question(self, question_id: str) -> schema.QuestionView | None:
        return next((question for question in self.questions if question.id == question_id), None)

    def server(self, name: str) -> schema.ServerView | None:
        return next((server for server in self.servers if server.name == name), None)

    def receipts_after(self, number: int) -> list[ReceiptLine]:
        """Those that arrived after `number`, without walking the ring: numbers are consecutive."""
        if not self.receipts:
            return []
        return self.receipts[max(0, number + 1 - self.receipts[0].number) :]

    def _add_vitals(self, samples: list[schema.VitalView]) -> None:
        self.vitals.extend(samples)
        del self.vitals[:-SAMPLES]

    def _add(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries[-RING:]:
            self._arrivals += 1
            self.receipts.append(receipt_line(self._arrivals, entry))
        del self.receipts[:-RING]


def receipt_line(number: int, entry: dict[str, Any]) -> ReceiptLine:
    """A receipt may hold a large body: of one that is too long only the short columns are kept."""
    text = json.dumps(entry, ensure_ascii=False)
    if len(text) > RECEIPT_TEXT:
        entry = {name: value for name, value in list(entry.items())[:64] if _is_short(value)}
        entry["cut"] = f"of {len(text)} characters; bulkhead audit show has the rest"
        text = text[:RECEIPT_TEXT]
    return ReceiptLine(number, entry, text)


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 300)
