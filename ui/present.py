"""The only door for text from outside to the screen.

What passes here carries no markup, no control, direction or invisible characters, and has a bound.  A `Content` built
from a plain string is never parsed for markup; a `str` handed to a widget would be: screens hand over `Content` only.
"""

import unicodedata
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from textual.content import Content

LINE: Final = 200  # characters of one value in a table or a sentence
BLOCK: Final = 64 * 1024  # characters of a text a person opened on purpose; a launch line is never near it
BLOCK_LINES: Final = 2_000
MAX_MARKS: Final = 4  # combining marks on one letter; real scripts need up to three, stacks of fifty cover other lines

REPLACEMENT: Final = "\ufffd"
LINE_BREAK: Final = "↵"

# Printable by Unicode's category and yet invisible: fillers, variation selectors, the empty braille cell.
_INVISIBLE: Final = frozenset(
    chr(point)
    for first, last in (
        (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164),
        (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0x1D159, 0x1D159), (0xE0100, 0xE01EF),
    )
    for point in range(first, last + 1)
)  # fmt: skip


def untrusted(text: str, limit: int = LINE) -> Content:
    """One line of text a server or anybody else wrote.  A line break becomes a visible sign."""
    return Content(_clean(text.replace("\r\n", "\n").replace("\n", LINE_BREAK), limit))


def untrusted_block(text: str, limit: int = BLOCK, lines: int = BLOCK_LINES) -> Content:
    """Text of several lines; the place it is shown in must mark every line of it as not ours (a border)."""
    cut = text[: limit + 1].replace("\r\n", "\n").split("\n")
    shown = [_clean(line, limit) for line in cut[:lines]]
    shown_text = "\n".join(shown)
    if len(text) > limit or len(cut) > lines:
        return Content(f"{shown_text[:limit]}\n… cut here; the whole text has {len(text)} characters")
    return Content(shown_text)


def _clean(text: str, limit: int) -> str:
    shown: list[str] = []
    marks = 0
    for character in text[:limit]:
        if unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
            if marks > MAX_MARKS:
                continue
        else:
            marks = 0
        if character == "\t":
            shown.append(" ")
        elif character.isprintable() and character not in _INVISIBLE:
            shown.append(character)
        else:
            shown.append(REPLACEMENT)
    if shown and unicodedata.combining(shown[0]):
        shown.insert(0, " ")  # a mark at the start would sit on our own last letter
    return "".join(shown) + ("…" if len(text) > limit else "")


def columns(cells: Sequence[Content], widths: Sequence[int], width: int) -> Content:
    """One row of a table: each cell cut or padded to its width, the last one to what is left."""
    last = max(1, width - sum(widths) - 2 * len(widths))
    sized = [cell.truncate(size, ellipsis=True, pad=True) for cell, size in zip(cells, (*widths, last), strict=True)]
    return Content("  ").join(sized)


def left(deadline: float, now: float) -> str:
    """Time until the deadline, as a person reads it: `1:43`; nothing is left of a passed one."""
    seconds = max(0, int(deadline - now + 0.999))
    hours, rest = divmod(seconds, 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}"


def clock_time(moment: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(moment, zone).strftime("%H:%M:%S")


def count(number: int, noun: str, nouns: str = "") -> str:
    """`1 question`, `2 questions`; `nouns` where an s is not enough."""
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"
