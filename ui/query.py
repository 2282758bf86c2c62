"""What a person types to find receipts: words, and `column:value`; the same for the tail and for the whole log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.api import schema
from ui.known import ReceiptLine

COLUMNS: Final = ("client", "server", "session", "tool", "kind", "rule", "verdict", "story")
COLUMN_OF: Final = {"tool": "target", "story": "stories"}
"""What the log calls them."""
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FOUND: Final = 1_000  # receipts of one search; the words narrow it


@dataclass(frozen=True, slots=True)
class Query:
    """`columns` must be exactly so, `text` stand anywhere; `ago` is how many seconds back, or None."""

    columns: dict[str, str] = field(default_factory=dict)
    text: str = ""
    ago: float | None = None

    def holds(self, line: ReceiptLine) -> bool:
        """Whether a receipt of the tail is meant; how long ago it was says nothing there."""
        return all(_is(line, name, value) for name, value in self.columns.items()) and line.holds(self.text.lower())

    def search(self, wall: Callable[[], float] = time.time) -> schema.Search:
        wanted: dict[str, Any] = {**self.columns, "text": self.text, "limit": FOUND}
        return schema.Search(**wanted, since=None if self.ago is None else wall() - self.ago)

    @property
    def words(self) -> list[str]:
        """As arguments of `bulkhead audit export`."""
        said = [f"--{name}={value}" for name, value in self.columns.items()]
        said += [f"--text={self.text}"] if self.text else []
        return said + ([f"--since={self.ago:.0f}s"] if self.ago is not None else [])


def query(text: str) -> Query:
    """Read what was typed.  A column nobody knows is a word like any other."""
    columns: dict[str, str] = {}
    rest: list[str] = []
    ago: float | None = None
    for word in text.split():
        name, sign, value = word.partition(":")
        if sign and value and name in COLUMNS:
            columns[name] = value
        elif name == "since" and value[:-1].isascii() and value[:-1].isdecimal() and value[-1] in UNITS:
            ago = float(int(value[:-1][:9]) * UNITS[value[-1]])
        else:
            rest.append(word)
    return Query(columns, " ".join(rest), ago)


def _is(line: ReceiptLine, name: str, value: str) -> bool:
    found = line.column(COLUMN_OF.get(name, name))
    return value in found if name in ("session", "story") else found == value
