"""The change of a client's file as a person may see it: which lines go, which come, and no secret.

Texts are shown only in the launch lines that move (command, args, type); environment values appear as their length,
every other text of the file and every comment as a mark.  A client's file also holds tokens and histories that are
nobody's business here.  The result is for reading, not for `patch`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from broker.clients.jsonc import Array, Document, Edit, Node, Object, Scalar, edited, printable

CONTEXT: Final = 3  # lines around a change, as diff itself shows
_SHOWN_KEYS: Final = ("command", "args", "type")
_HIDDEN: Final = '"[hidden]"'


def masked_diff(
    path: str, before: Document, after: Document, edits: Iterable[Edit], moved: Iterable[tuple[str, ...]]
) -> str:
    """A unified diff of `before` and what `edits` made of it; `moved` are the paths of the entries replaced."""
    shown = set(moved)
    hunks = list(_hunks(_changes(before.text, sorted(edits, key=lambda edit: edit.start))))
    if not hunks:
        return ""
    count = before.text.count("\n") + 1
    old = _lines(before, shown, [_old_lines(hunk, count) for hunk in hunks])
    new = _lines(after, shown, [_new_lines(hunk, count) for hunk in hunks])
    rows = [f"--- {path}", f"+++ {path} (through Bulkhead)"]
    for hunk in hunks:
        rows += _hunk(hunk, old, new)
    return "\n".join(printable(row.replace("\t", "    ")) for row in rows) + "\n"


@dataclass(frozen=True, slots=True)
class _Change:
    """Old lines `[start, end)` become new lines `[start + shift, end + shift + growth)`."""

    start: int
    end: int
    shift: int
    growth: int


def _changes(text: str, edits: list[Edit]) -> list[_Change]:
    changes: list[_Change] = []
    shift = 0
    for edit in edits:
        start = text.count("\n", 0, edit.start)
        end = text.count("\n", 0, edit.end) + 1
        growth = edit.text.count("\n") - text.count("\n", edit.start, edit.end)
        change = _Change(start, end, shift, growth)
        if changes and start < changes[-1].end:  # two edits on one line are one change to look at
            last = changes.pop()
            change = _Change(last.start, end, last.shift, last.growth + growth)
        changes.append(change)
        shift += growth
    return changes


def _hunks(changes: list[_Change]) -> Iterator[list[_Change]]:
    """Changes whose context would touch go together."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change.start - hunk[-1].end > 2 * CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _old_lines(hunk: list[_Change], count: int) -> range:
    """The lines a hunk shows of a text of `count` lines, context included."""
    return range(max(0, hunk[0].start - CONTEXT), min(count, hunk[-1].end + CONTEXT))


def _new_lines(hunk: list[_Change], count: int) -> range:
    shown, shift = _old_lines(hunk, count), hunk[0].shift
    return range(shown.start + shift, shown.stop + shift + sum(change.growth for change in hunk))


def _hunk(changes: list[_Change], old: list[str], new: list[str]) -> list[str]:
    shown, to = _old_lines(changes, len(old)), _new_lines(changes, len(old))
    rows = [f"@@ -{shown.start + 1},{len(shown)} +{to.start + 1},{len(to)} @@"]
    at = shown.start
    for change in changes:
        rows += (" " + line for line in old[at : change.start])
        gone = old[change.start : change.end]
        come = new[change.start + change.shift : change.end + change.shift + change.growth]
        rows += _replaced(gone, come)
        at = change.end
    rows += (" " + line for line in old[at : shown.stop])
    return rows


def _replaced(gone: list[str], come: list[str]) -> list[str]:
    """Lines going and coming, without those that are the same at both edges."""
    head = 0
    while head < min(len(gone), len(come)) and gone[head] == come[head]:
        head += 1
    tail = 0
    while tail < min(len(gone), len(come)) - head and gone[-1 - tail] == come[-1 - tail]:
        tail += 1
    return [
        *(" " + line for line in gone[:head]),
        *("-" + line for line in gone[head : len(gone) - tail]),
        *("+" + line for line in come[head : len(come) - tail]),
        *(" " + line for line in gone[len(gone) - tail :]),
    ]


def _lines(document: Document, shown: set[tuple[str, ...]], seen: list[range]) -> list[str]:
    """The document's lines; in those that will be seen, everything is masked that may not be."""
    starts = [0, *accumulate(len(line) + 1 for line in document.text.split("\n"))]
    spans = [(starts[lines.start], starts[lines.stop]) for lines in seen]
    comments = [
        Edit(start, end, "\n".join("[comment]" for _ in document.text[start:end].split("\n")))
        for start, end in document.comments
    ]
    text = edited(document.text, [*_masks(document.root, (), shown, spans), *comments])
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]


def _masks(
    node: Node, where: tuple[str, ...], shown: set[tuple[str, ...]], spans: list[tuple[int, int]]
) -> Iterator[Edit]:
    """An edit for each text in one of the spans that is not to be seen."""
    if not any(start < node.end and node.start < end for start, end in spans):
        return
    match node:
        case Scalar():
            if isinstance(node.value, str):
                yield Edit(node.start, node.end, _HIDDEN)
        case Array():
            for item in node.items:
                yield from _masks(item, (*where, ""), shown, spans)
        case Object():
            for member in node.members:
                if where in shown and member.key in _SHOWN_KEYS:
                    continue
                if where in shown and member.key == "env":
                    yield from _moved_values(member.value)
                else:
                    yield from _masks(member.value, (*where, member.key), shown, spans)


def _moved_values(node: Node) -> Iterator[Edit]:
    if isinstance(node, Object):
        for member in node.members:
            value = member.value
            if isinstance(value, Scalar):
                yield Edit(value.start, value.end, f'"[moved, {len(str(value.value))} characters]"')
