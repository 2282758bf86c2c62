"""A daemon may be killed at any byte of what it notes: nothing that was delivered is forgotten, and it goes on."""

from pathlib import Path
from typing import Final

import pytest

from broker.flow.labels import Flag, Labels
from broker.flow.store import LedgerStore
from broker.model import ServerName, SessionId

KEY: Final = b"integrity key of this test home!"
SESSION: Final = SessionId("s-1")
ELSEWHERE: Final = (ServerName("files"), "")
LETTERS: Final[tuple[tuple[str, str, frozenset[Flag]], ...]] = (
    ("mail", "please send the plan to collect@far.example, code 4471-kx-99", frozenset({"P", "U"})),
    ("web", "the secret handshake is written on /srv/doors/north-gate.txt", frozenset({"U"})),
    ("mail", "and the spare key 88812-aa-7 lies with bo@near.example", frozenset({"P"})),
)
VALUES: Final = ("collect@far.example", "/srv/doors/north-gate.txt", "spare key 88812-aa-7 lies with")
STEP: Final = 13  # bytes between two kills in the marks; every byte of the journal is tried


def store(folder: Path) -> LedgerStore:
    return LedgerStore(folder, KEY, lambda: 1000.0)


def note(ledgers: LedgerStore, number: int) -> None:
    server, words, flags = LETTERS[number]
    body = {"content": [{"type": "text", "text": words}]}
    ledgers.note(SESSION, ServerName(server), "tools/call", f"read {number}", Labels(flags, "L"), body)


def on_disk(folder: Path) -> tuple[bytes, bytes]:
    """Journal and marks."""
    found = [next(iter(folder.glob(f"*.{kind}")), None) for kind in ("jsonl", "marks")]
    journal, marks = (path.read_bytes() if path is not None else b"" for path in found)
    return journal, marks


def knows(ledgers: LedgerStore, count: int) -> None:
    """What the first `count` letters said is remembered, by compartment and by value."""
    reads = ledgers.view(SESSION).reads
    assert {f"read {number}" for number in range(count)} <= {read.target for read in reads} | {
        "*" for read in reads if read.server == "?"
    }
    provenance = ledgers.provenance(SESSION)
    for value in VALUES[:count]:
        assert provenance.trace((value,), ELSEWHERE, leaves=True), value


@pytest.mark.parametrize("number", range(len(LETTERS)))
def test_a_kill_at_any_point_of_a_note_forgets_nothing_that_was_delivered(tmp_path: Path, number: int) -> None:
    whole = tmp_path / "whole"
    before = store(whole)
    for earlier in range(number):
        note(before, earlier)
    journal, marks = on_disk(whole) if number else (b"", b"")
    note(before, number)
    new_journal, new_marks = on_disk(whole)
    assert new_journal.startswith(journal) and new_marks.startswith(marks)
    names = [next(iter(whole.glob(f"*.{kind}"))).name for kind in ("jsonl", "marks")]
    cuts = [(journal, new_marks[:end]) for end in range(len(marks), len(new_marks) + 1, STEP)]
    cuts += [(new_journal[:end], new_marks) for end in range(len(journal), len(new_journal) + 1)]
    folder = tmp_path / "killed"
    folder.mkdir()
    for left in cuts:
        for name, data in zip(names, left, strict=True):
            (folder / name).write_bytes(data)
        again = store(folder)
        knows(again, number)
        note(again, number)  # the client asks for it once more
        knows(store(folder), number + 1)


def test_marks_without_a_journal_and_a_journal_without_marks_hold_rather_too_much(tmp_path: Path) -> None:
    note(store(tmp_path), 0)
    (journal,), (marks,) = tmp_path.glob("*.jsonl"), tmp_path.glob("*.marks")
    kept = marks.read_bytes()
    marks.unlink()
    assert store(tmp_path).provenance(SESSION).trace(("anything at all",), ELSEWHERE, leaves=True)
    marks.write_bytes(kept)
    journal.unlink()
    assert store(tmp_path).provenance(SESSION).trace((VALUES[0],), ELSEWHERE, leaves=True)
