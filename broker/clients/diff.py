"""The change of a client's file as a person may see it: which lines go, which come, and no secret.

Texts are shown only in the launch lines and addresses that move (command, args, type, url), but for what looks like a
secret in them; environment values appear as their length, of headers only the names, every other text of the file and
every comment as a mark.  A client's file also holds tokens and histories that are nobody's business here.  The result
is for reading, not for `patch`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from broker.clients.configs import ClientConfig
from broker.clients.families import Keys
from broker.clients.tree import Array, Document, Edit, Node, Object, Scalar, edited, item_name, printable
from broker.secrecy import secret_arguments

CONTEXT: Final = 3  # lines around a change, as diff itself shows
_HIDDEN: Final = '"[hidden]"'


def masked_diff(
    found: ClientConfig, before: Document, after: Document, edits: Iterable[Edit], moved: Iterable[tuple[str, ...]]
) -> str:
    """A unified diff of `before` and what `edits` made of it; `moved` are the paths of the entries replaced."""
    shown, path = _Shown(frozenset(moved), found.family.keys), found.path
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
class _Shown:
    """The entries that move, and what their parts are called: the only values a person sees."""

    entries: frozenset[tuple[str, ...]]
    keys: Keys

    def seen(self, where: tuple[str, ...], key: str) -> bool:
        return where in self.entries and key in (self.keys.command, self.keys.args, "type", *self.keys.urls)

    def counted(self, where: tuple[str, ...], key: str) -> bool:
        return where in self.entries and key == self.keys.env

    def named(self, where: tuple[str, ...], key: str) -> bool:
        return where in self.entries and key == self.keys.headers


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


def _lines(document: Document, shown: _Shown, seen: list[range]) -> list[str]:
    """The document's lines; in those that will be seen, everything is masked that may not be."""
    starts = [0, *accumulate(len(line) + 1 for line in document.text.split("\n"))]
    spans = [(starts[lines.start], starts[lines.stop]) for lines in seen]
    comments = [
        Edit(start, end, "\n".join("[comment]" for _ in document.text[start:end].split("\n")))
        for start, end in document.comments
    ]
    text = edited(document.text, [*_masks(document.text, document.root, (), shown, spans), *comments])
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]


def _masks(
    text: str, node: Node, where: tuple[str, ...], shown: _Shown, spans: list[tuple[int, int]]
) -> Iterator[Edit]:
    """An edit for each text in one of the spans that is not to be seen."""
    if not any(start < node.end and node.start < end for start, end in spans):
        return
    match node:
        case Scalar():
            if isinstance(node.value, str):
                yield Edit(node.start, node.end, _HIDDEN + "\n" * text.count("\n", node.start, node.end))
        case Array():
            for item in node.items:
                name = item_name(item) if isinstance(item, Object) else None
                yield from _masks(text, item, (*where, name or ""), shown, spans)
        case Object():
            for member in node.members:
                if shown.seen(where, member.key):
                    yield from _secret_words(text, member.value)
                    continue
                if shown.counted(where, member.key) or shown.named(where, member.key):
                    yield from _moved_values(text, member.value, counted=shown.counted(where, member.key))
                else:
                    yield from _masks(text, member.value, (*where, member.key), shown, spans)


def _secret_words(text: str, node: Node) -> Iterator[Edit]:
    """What looks like a secret among the words of a launch line."""
    if isinstance(node, Scalar):
        hidden = [node] if secret_arguments(str(node.value).split()) else []  # a whole line in one text
    else:
        words = [item for item in node.items if isinstance(item, Scalar)] if isinstance(node, Array) else []
        hidden = [words[place - 1] for place in secret_arguments(["", *(str(word.value) for word in words)])]
    for word in hidden:
        yield Edit(word.start, word.end, _HIDDEN + "\n" * text.count("\n", word.start, word.end))


def _moved_values(text: str, node: Node, *, counted: bool) -> Iterator[Edit]:
    if isinstance(node, Object):
        for member in node.members:
            value = member.value
            if isinstance(value, Scalar):
                lines = "\n" * text.count("\n", value.start, value.end)
                length = f", {len(str(value.value))} characters" if counted else ""
                yield Edit(value.start, value.end, f'"[moved{length}]"{lines}')
