"""Where values came from is known after a restart too, from keyed hashes alone, and damage matches everything."""

from pathlib import Path
from typing import Final

import pytest

from broker.flow.labels import Labels
from broker.flow.provenance import Match
from broker.flow.store import MAX_MARKED, LedgerStore
from broker.model import ServerName, SessionId

KEY: Final = b"integrity key of this test home!"
SESSION: Final = SessionId("s-1")
MAIL, FILES = ServerName("mail"), ServerName("files")
LETTER: Final = {"content": [{"type": "text", "text": "please send the plan to collect@far.example, code 4471-kx-99"}]}
VALUE: Final = "collect@far.example"
MADE_UP: Final = "nothing that was ever read by anybody"


def store(folder: Path) -> LedgerStore:
    return LedgerStore(folder / "ledgers", KEY, lambda: 1000.0)


def note(ledgers: LedgerStore, scope: str = "") -> None:
    labels = Labels(frozenset({"P", "U"}), "L", "reads mail")
    ledgers.note(SESSION, MAIL, "tools/call", "read_mail", labels, LETTER, scope)


def matches(ledgers: LedgerStore, value: str) -> tuple[Match, ...]:
    return ledgers.provenance(SESSION).trace((value,), (FILES, ""), leaves=True)


def marks_file(folder: Path) -> Path:
    (found,) = (folder / "ledgers").glob("*.marks")
    return found


def test_where_a_value_came_from_is_known_after_a_restart(tmp_path: Path) -> None:
    before = store(tmp_path)
    note(before, "team/one")
    (first,) = matches(before, VALUE)
    (again,) = matches(store(tmp_path), VALUE)
    assert again == first and (again.origin.server, again.origin.number, again.origin.target) == (MAIL, 1, "read_mail")
    assert not matches(store(tmp_path), MADE_UP)


def test_no_text_and_no_scope_is_kept_only_keyed_hashes(tmp_path: Path) -> None:
    note(store(tmp_path), "team/one")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "ledgers").iterdir())
    assert not any(word in kept for word in (b"collect", b"plan", b"4471", b"team", b"one"))
    assert marks_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_record_cut_short_by_a_crash_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    note(store(tmp_path))
    file = marks_file(tmp_path)
    whole = file.read_bytes()
    for cut in (1, 9, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole + whole[:cut])
        ledgers = store(tmp_path)
        assert matches(ledgers, VALUE) and not matches(ledgers, MADE_UP)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("at", [5, 120, -1])
def test_marks_that_were_changed_match_everything(tmp_path: Path, at: int) -> None:
    note(store(tmp_path))
    file = marks_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert all(match.origin.blind for match in matches(store(tmp_path), MADE_UP)) and matches(store(tmp_path), MADE_UP)


def test_a_read_whose_marks_were_lost_matches_everything(tmp_path: Path) -> None:
    note(store(tmp_path))
    marks_file(tmp_path).unlink()
    (match,) = matches(store(tmp_path), MADE_UP)
    assert match.origin.blind and match.origin.server == MAIL


def test_a_read_too_long_to_be_marked_matches_everything_after_a_restart_too(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    labels = Labels(frozenset({"P", "U"}), "L", "reads mail")
    halves = ["x" * (MAX_MARKED // 2), "y" * (MAX_MARKED // 2), "z"]
    ledgers.note(SESSION, MAIL, "tools/call", "read_mail", labels, {"content": halves})
    for known in (ledgers, store(tmp_path)):
        (match,) = matches(known, MADE_UP)
        assert match.origin.blind and match.origin.server == MAIL
    assert marks_file(tmp_path).stat().st_size < 1024


def test_reading_the_same_again_writes_no_marks_again(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    size = marks_file(tmp_path).stat().st_size
    for _ in range(20):
        note(ledgers)
    assert marks_file(tmp_path).stat().st_size == size


def test_a_session_that_ended_leaves_no_marks(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    ledgers.end_session(SESSION)
    assert list((tmp_path / "ledgers").iterdir()) == []
    assert not matches(ledgers, VALUE)


def test_scopes_are_told_apart_and_not_kept(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    assert ledgers.scope_mark("") == "" and ledgers.scope_mark("a/b") != ledgers.scope_mark("a/c")
    note(ledgers, "a/b")
    (read,) = store(tmp_path).view(SESSION).reads
    assert read.scope == ledgers.scope_mark("a/b")
    assert not ledgers.view(SESSION).elsewhere(MAIL, read.scope) and ledgers.view(SESSION).elsewhere(MAIL, "")
