"""Print: the only door from values to the terminal.

Text from outside loses its control characters here.  Results go to standard output, progress and errors to standard
error, so that a pipe receives results only.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from broker.errors import BulkheadError

PLAIN_LIMIT = 4000


def plain(text: str, limit: int = PLAIN_LIMIT) -> str:
    """Text somebody else wrote, made harmless for a terminal: no control, format or surrogate characters, bounded."""
    kept = (char if char in "\n\t" or _harmless(char) else "\ufffd" for char in text[:limit])
    return "".join(kept) + ("…" if len(text) > limit else "")


def line(text: str, limit: int = PLAIN_LIMIT) -> str:
    """The same on one line: nobody's words begin a line of ours."""
    return plain(text, limit).replace("\n", "\ufffd")


def _harmless(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def show(text: str = "") -> None:
    """One line of ours, whatever stands in it."""
    sys.stdout.write(line(text, len(text)) + "\n")
    sys.stdout.flush()


def show_text(text: str) -> None:
    """A text of several lines, whole."""
    sys.stdout.write(plain(text, len(text)) + "\n")
    sys.stdout.flush()


def aside(text: str) -> None:
    """What a person needs to see while a program reads the result."""
    sys.stderr.write(line(text, len(text)) + "\n")
    sys.stderr.flush()


def show_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def show_line(value: Any) -> None:
    """One object of many, on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need to be; nothing is cut, because what is cut may be what matters."""
    table = [tuple(head), *(tuple(plain(cell).replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def progress(text: str) -> None:
    """Say that long work goes on, to a person only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"  {plain(text, 300)}\n")
        sys.stderr.flush()


def ring() -> None:
    """The terminal's bell, for a person only."""
    if sys.stderr.isatty():
        sys.stderr.write("\a")
        sys.stderr.flush()


def complain(error: BulkheadError) -> None:
    """One sentence and, where there is one, the line that says what to do."""
    sys.stderr.write(f"bulkhead: {line(str(error))}\n")
    if error.hint:
        sys.stderr.write(f"try: {line(error.hint)}\n")
    sys.stderr.flush()


def ask(question: str, answers: str = "yn") -> str:
    """One clear question; anything but an offered letter counts as the last one, and so does no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return answers[-1]
    letters = "/".join([*answers[:-1], answers[-1].upper()])
    sys.stderr.write(f"{line(question)} [{letters}] ")
    sys.stderr.flush()
    said = sys.stdin.readline().strip().lower()[:1]
    return said if said and said in answers else answers[-1]


def ask_for(what: str) -> str:
    """A few words a person types; empty where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    sys.stderr.write(f"{line(what)}: ")
    sys.stderr.flush()
    return sys.stdin.readline(80).strip()
