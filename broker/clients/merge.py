"""Undo one import in a text that may have changed since.

Only the entries we replaced are put back, and only where our launch line still stands; whatever else a person or the
client wrote later is kept.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from broker.clients.entries import is_ours
from broker.clients.families import Family, Keys
from broker.clients.notation import read
from broker.clients.rewrite import Layout, edited_lines, listed, named, quoted
from broker.clients.tree import Document, Edit, Node, Object, Style, edited, node_at, plain, printable


@dataclass(frozen=True, slots=True)
class Moved:
    """One entry of a past import: its path in the file, its server, and the digest of the value we wrote."""

    where: tuple[str, ...]
    server: str
    digest: str


def value_digest(node: Node) -> str:
    """SHA-256 (hex) of a value, however it is laid out."""
    text = json.dumps(plain(node), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def put_back(
    current: str, original: str, moved: Iterable[Moved], path: PurePath, family: Family
) -> tuple[str, tuple[str, ...]]:
    """`current` with the moved entries as they are in `original`, and a sentence for each that is not exactly that.

    Raises:
        Malformed: one of the texts is not what the client could read.
    """
    now = read(current, path, comments=family.comments)
    then = read(original, path, comments=family.comments)
    edits: list[Edit] = []
    notes: list[str] = []
    for one in moved:
        name = printable(one.where[-1])
        written, old = node_at(now.root, one.where), node_at(then.root, one.where)
        if written is None or old is None:
            notes.append(f"{name} was removed since and stays removed")
        elif value_digest(written) == one.digest and _fits(now, written, then, old):
            edits.append(Edit(written.start, written.end, original[old.start : old.end]))
        elif plain(written) == plain(old):
            pass  # put back by hand already
        elif isinstance(written, Object) and isinstance(old, Object) and is_ours(written, family.keys):
            edits.append(Edit(written.start, written.end, _merged(now, written, then, old, family.keys)))
            notes.append(f"{name} was edited since: its launch line is back, the later edits are kept")
        else:
            notes.append(f"{name} was changed since to something of its own and stays as it is")
    return edited(current, edits), tuple(notes)


def _fits(now: Document, written: Node, then: Document, old: Node) -> bool:
    """Whether the old text can stand in the place of ours: lines mean something only at their own column."""
    if not isinstance(written, Object) or not isinstance(old, Object) or written.style != old.style:
        return not isinstance(written, Object)
    return written.style != "block" or _column(now.text, written.start) == _column(then.text, old.start)


def _column(text: str, at: int) -> int:
    return at - (text.rfind("\n", 0, at) + 1)


def _merged(now: Document, written: Object, then: Document, old: Object, keys: Keys) -> str:
    """Our entry with the old launch line; its other keys as they are now."""
    if written.style in ("block", "table"):
        return _merged_lines(now, written, old, keys)
    kept, parts = _texts(now, written), keys.all
    if _address(plain(old), keys):
        parts = frozenset({keys.command, keys.args, *keys.urls, keys.headers, "type"})
    before = _texts(then, old) if old.style == written.style else _plain_texts(old, written.style)
    members: dict[str, str] = {}
    for key, text in before.items():
        if key in parts:
            members[key] = text
        elif key in kept:
            members[key] = kept[key]
    members |= {key: text for key, text in kept.items() if key not in parts}
    if keys.env in kept and keys.env in parts:  # we took the environment out, so this one was written later
        members[keys.env] = _environment(written, old, keys)
    return Layout.of(now.text, written).written({named(written, key): text for key, text in members.items()})


def _merged_lines(now: Document, written: Object, old: Object, keys: Keys) -> str:
    was = plain(old)
    if url := _address(was, keys):
        mark = " = " if written.style == "table" else ": "
        back = {key: was[key] for key in (url, "type", keys.headers) if was.get(key)}
        values = {key: _rendered(value, mark) for key, value in back.items()}
        return edited_lines(now.text, written, values, drop=keys.args, spot=keys.command)
    values = {keys.command: quoted(was[keys.command]), keys.args: listed(was.get(keys.args) or [])}
    if was.get(keys.env) or _has(plain(written).get(keys.env)):
        values[keys.env] = _environment(written, old, keys)
    return edited_lines(now.text, written, values)


def _address(entry: Mapping[str, object], keys: Keys) -> str:
    """The key under which an entry had the address of a server that runs elsewhere; empty when it had a command."""
    if entry.get(keys.command) is not None:
        return ""
    return next((key for key in keys.urls if entry.get(key) is not None), "")


def _environment(written: Object, old: Object, keys: Keys) -> str:
    """The old environment under what was written later, on one line."""
    later, before = plain(written).get(keys.env), plain(old).get(keys.env)
    both = {**(before if isinstance(before, dict) else {}), **(later if isinstance(later, dict) else {})}
    return _rendered(both, " = " if written.style in ("inline", "table") else ": ")


def _rendered(value: object, mark: str) -> str:
    """A value on one line, with what stands between a key and its value in this notation."""
    match value:
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join(_rendered(item, mark) for item in value) + "]"
        case dict():
            rows = (f"{quoted(key)}{mark}{_rendered(item, mark)}" for key, item in value.items())
            return "{" + ", ".join(rows) + "}"
        case _:
            return json.dumps(value)


def _has(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _plain_texts(node: Object, style: Style) -> Mapping[str, str]:
    """Values for an object of another style, written anew."""
    mark = " = " if style == "inline" else ": "
    return {key: _rendered(value, mark) for key, value in plain(node).items()}


def _texts(document: Document, node: Object) -> Mapping[str, str]:
    return {member.key: document.text[member.value.start : member.value.end] for member in node.members}
