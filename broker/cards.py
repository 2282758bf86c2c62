"""What a held call would do, in lines for the person who is asked: where it goes, and what it changes.

Everything here is text of the call: it is shown, never recorded, and bounded whatever the call says.
"""

from collections.abc import Iterator
from difflib import unified_diff
from typing import Final

from broker.model import JsonObject
from broker.policy.narrowing import PLACE
from broker.sentences import shown

MAX_PLACES: Final = 8  # destinations that a person reads
MAX_VALUE: Final = 80
MAX_LOOKED: Final = 256  # parts of a call's arguments
MAX_EDIT: Final = 400  # lines of one text; comparing takes the square of it
MAX_DIFF: Final = 40  # lines that a person reads
MAX_LINE: Final = 200

_EDITS: Final = {
    "oldstring": "newstring", "oldstr": "newstr", "oldtext": "newtext", "oldcontent": "newcontent", "old": "new",
    "search": "replace", "find": "replace", "before": "after", "original": "replacement",
}  # fmt: skip


def destinations(arguments: JsonObject) -> tuple[str, ...]:
    """One line that names where the call goes; none where no argument says so."""
    found: list[str] = []
    for part in _parts(arguments):
        for name, value in part.items():
            values = value if isinstance(value, list) else [value]
            said = [
                str(one) for one in values if isinstance(one, str | int) and not isinstance(one, bool) and one != ""
            ]
            if said and len(name) <= MAX_VALUE and PLACE.fullmatch(name):
                found += [f"{name} = {shown(one[:MAX_VALUE])}" for one in said]
    more = f"; and {len(found) - MAX_PLACES} more" if len(found) > MAX_PLACES else ""
    return (f"goes to: {'; '.join(found[:MAX_PLACES])}{more}",) if found else ()


def edits(arguments: JsonObject) -> str:
    """What a call that replaces one text by another takes away (-) and puts in (+); empty where it replaces none."""
    lines: list[str] = []
    for part in _parts(arguments):
        names = {name.lower().replace("_", ""): name for name in part if len(name) <= MAX_VALUE}
        for old, new in _EDITS.items():
            before, after = part.get(names.get(old, "")), part.get(names.get(new, ""))
            if isinstance(before, str) and isinstance(after, str):
                lines += _compared(before.splitlines(), after.splitlines())
    cut = [f"({len(lines) - MAX_DIFF} more lines)"] if len(lines) > MAX_DIFF else []
    return "\n".join(line[:MAX_LINE] for line in [*lines[:MAX_DIFF], *cut])


def _compared(before: list[str], after: list[str]) -> list[str]:
    if len(before) > MAX_EDIT or len(after) > MAX_EDIT:
        return [f"(replaces {len(before)} lines by {len(after)}: too long to compare here)"]
    return list(unified_diff(before, after, lineterm="", n=1))[2:]


def _parts(arguments: JsonObject) -> Iterator[JsonObject]:
    """Every object in the arguments, themselves first, as far as they are looked at."""
    waiting: list[object] = [arguments]
    for number, one in enumerate(waiting):  # it grows while it is read
        if number >= MAX_LOOKED:
            return
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one[:MAX_LOOKED]
