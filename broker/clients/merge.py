"""Undo one import in a text that may have changed since.

Only the entries we replaced are put back, and only where our launch line still stands; whatever else a person or the
client wrote later is kept.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.clients.entries import goes_through_bulkhead
from broker.clients.jsonc import Document, Edit, Node, Object, edited, node_at, parse, plain, printable
from broker.clients.rewrite import LAUNCH_KEYS, Layout


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


def put_back(current: str, original: str, moved: Iterable[Moved], *, comments: bool) -> tuple[str, tuple[str, ...]]:
    """`current` with the moved entries as they are in `original`, and a sentence for each that is not exactly that.

    Raises:
        NotJson: one of the texts is not JSON.
    """
    now, then = parse(current, comments=comments), parse(original, comments=comments)
    edits: list[Edit] = []
    notes: list[str] = []
    for one in moved:
        name = printable(one.where[-1])
        written, old = node_at(now.root, one.where), node_at(then.root, one.where)
        if written is None or old is None:
            notes.append(f"{name} was removed since and stays removed")
        elif value_digest(written) == one.digest:
            edits.append(Edit(written.start, written.end, original[old.start : old.end]))
        elif plain(written) == plain(old):
            pass  # put back by hand already
        elif isinstance(written, Object) and isinstance(old, Object) and _is_ours(written):
            edits.append(Edit(written.start, written.end, _merged(now, written, then, old)))
            notes.append(f"{name} was edited since: its launch line is back, the later edits are kept")
        else:
            notes.append(f"{name} was changed since to something of its own and stays as it is")
    return edited(current, edits), tuple(notes)


def _is_ours(entry: Object) -> bool:
    value = plain(entry)
    return goes_through_bulkhead(value.get("command"), value.get("args"))


def _merged(now: Document, written: Object, then: Document, old: Object) -> str:
    """Our entry with the old launch line; its other keys as they are now."""
    kept = _texts(now, written)
    members: dict[str, str] = {}
    for key, text in _texts(then, old).items():
        if key in LAUNCH_KEYS:
            members[key] = text
        elif key in kept:
            members[key] = kept[key]
    members |= {key: text for key, text in kept.items() if key not in LAUNCH_KEYS}
    if "env" in kept:  # we took `env` out, so this one was written later
        later, before = plain(written).get("env"), plain(old).get("env")
        if isinstance(later, dict):
            both = {**(before if isinstance(before, dict) else {}), **later}
            members["env"] = json.dumps(both, ensure_ascii=False)
    return Layout.of(now.text, written).written(members)


def _texts(document: Document, node: Object) -> Mapping[str, str]:
    return {member.key: document.text[member.value.start : member.value.end] for member in node.members}
