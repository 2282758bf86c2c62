"""Documents count only as a person last agreed to them."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import agreed as module
from broker.agreed import MAX_COMPARED, MAX_DIFF_LINES, TABLE, UNREADABLE, Agreed, Drifted
from broker.errors import ConfigError
from broker.files import sha256_hex, write_private
from tests.trust.attack_table import catches

KEY: Final = b"k" * 32
NAME: Final = "servers/files.toml"
OLD: Final = b'argv = ["files"]\nenabled = false\n'
NEW: Final = b'argv = ["files"]\nenabled = true\n'


@pytest.fixture
def book(tmp_path: Path) -> Agreed:
    return open_book(tmp_path)


def open_book(tmp_path: Path, key: bytes = KEY) -> Agreed:
    """What a daemon that starts now would see."""
    return Agreed(tmp_path / "config", tmp_path / "agreed", key)


def edit(tmp_path: Path, data: bytes, name: str = NAME) -> None:
    path = tmp_path / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- what counts ----------------------------------------------------------------------------------------------------


def test_what_was_never_agreed_to_does_not_count(tmp_path: Path, book: Agreed) -> None:
    edit(tmp_path, NEW)
    assert book.load(NAME) is None
    assert book.names("servers") == []
    assert [(found.path, found.digest) for found in book.drifted()] == [(Path(NAME), sha256_hex(NEW))]


def test_what_a_person_agreed_to_counts_now_and_after_a_restart(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    for seen in (book, open_book(tmp_path)):
        assert seen.load(NAME) == OLD
        assert seen.names("servers") == [NAME]
        assert seen.drifted() == []
    assert not open_book(tmp_path).distrusted


def test_a_hand_edit_changes_nothing_and_is_shown(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    edit(tmp_path, NEW)
    for seen in (book, open_book(tmp_path)):
        assert seen.load(NAME) == OLD
        (drifted,) = seen.drifted()
        assert (drifted.path, drifted.digest) == (Path(NAME), sha256_hex(NEW))
        assert "-enabled = false" in drifted.diff
        assert "+enabled = true" in drifted.diff


def test_a_deleted_file_is_drift_and_its_last_agreed_text_still_counts(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    (tmp_path / "config" / NAME).unlink()
    assert book.load(NAME) == OLD
    (drifted,) = book.drifted()
    assert drifted.digest == ""
    assert "-enabled = false" in drifted.diff


def test_with_the_file_edited_and_the_copy_gone_the_document_is_refused_and_not_guessed(
    tmp_path: Path, book: Agreed
) -> None:
    book.write(NAME, OLD)
    edit(tmp_path, NEW)
    (tmp_path / "agreed" / sha256_hex(OLD)).write_bytes(NEW)
    with pytest.raises(ConfigError, match="the copy that was agreed to is gone"):
        book.load(NAME)
    assert book.drifted()[0].diff[2:4] == ("@@ -1 +1,3 @@", "-(the copy that was agreed to is gone)")


def test_only_documents_directly_in_a_folder_are_its_own(book: Agreed) -> None:
    for name in ("servers/b.toml", "servers/a.toml", "servers/old/c.toml", "serversx/d.toml", "policy.toml"):
        book.write(name, OLD)
    assert book.names("servers") == ["servers/a.toml", "servers/b.toml"]


# --- the table ------------------------------------------------------------------------------------------------------


def forge_digest(table: Path) -> None:
    """What an editor with no key can do: name the digest of their own text."""
    document = json.loads(table.read_text())
    document["agreed"][NAME] = sha256_hex(NEW)
    table.write_text(json.dumps(document))


def drop_a_line(table: Path) -> None:
    document = json.loads(table.read_text())
    del document["agreed"]["policy.toml"]
    table.write_text(json.dumps(document))


def foreign_mac(table: Path) -> None:
    document = json.loads(table.read_text())
    document["mac"] = "ä" * 64
    table.write_text(json.dumps(document))


def turn_into_folder(table: Path) -> None:
    table.unlink()
    table.mkdir()


FORGERIES: Final[dict[str, Callable[[Path], object]]] = {
    "another digest": forge_digest,
    "a line less": drop_a_line,
    "a foreign MAC": foreign_mac,
    "no JSON": lambda table: table.write_bytes(b"\xff{"),
    "another shape": lambda table: table.write_bytes(b'{"agreed": ["servers/files.toml"], "mac": ""}'),
    "no object": lambda table: table.write_bytes(b"[]"),
    "empty": lambda table: table.write_bytes(b""),
    "nested without end": lambda table: table.write_bytes(b"[" * 200_000),
    "a folder": turn_into_folder,
}


@pytest.mark.parametrize("forgery", FORGERIES)
@catches("A19")
def test_a_table_changed_by_somebody_else_makes_nothing_count(tmp_path: Path, book: Agreed, forgery: str) -> None:
    book.write(NAME, OLD)
    book.write("policy.toml", OLD)
    edit(tmp_path, NEW)
    FORGERIES[forgery](tmp_path / "agreed" / TABLE)
    later = open_book(tmp_path)
    assert later.distrusted
    assert later.load(NAME) is None
    assert later.load("policy.toml") is None
    assert later.names("servers") == []
    assert {str(found.path) for found in later.drifted()} == {NAME, "policy.toml"}


def test_another_key_trusts_nothing_of_this_home(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    assert open_book(tmp_path, b"K" * 32).distrusted


def test_no_table_is_a_home_where_nothing_was_agreed_to(tmp_path: Path, book: Agreed) -> None:
    assert not book.distrusted
    book.write(NAME, OLD)
    shutil.rmtree(tmp_path / "agreed")
    later = open_book(tmp_path)
    assert (later.distrusted, later.load(NAME)) == (False, None)


# --- agreeing -------------------------------------------------------------------------------------------------------


def test_accepting_what_was_shown_makes_it_count(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    edit(tmp_path, NEW)
    assert book.accept(NAME, book.drifted()[0].digest) == NEW
    for seen in (book, open_book(tmp_path)):
        assert seen.load(NAME) == NEW
        assert seen.drifted() == []


def test_a_file_that_changed_while_a_person_looked_is_not_accepted(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    edit(tmp_path, NEW)
    shown = book.drifted()[0].digest
    edit(tmp_path, NEW + b"# and more\n")
    with pytest.raises(ConfigError, match="changed while you looked at it"):
        book.accept(NAME, shown)
    assert book.load(NAME) == OLD


def test_agreeing_that_a_file_is_gone_forgets_the_document(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    (tmp_path / "config" / NAME).unlink()
    assert book.accept(NAME, "") is None
    assert (book.load(NAME), book.drifted()) == (None, [])


def test_a_yes_to_a_missing_file_is_none_to_the_file_that_came_back(tmp_path: Path, book: Agreed) -> None:
    edit(tmp_path, NEW)
    with pytest.raises(ConfigError, match="changed while you looked"):
        book.accept(NAME, "")


@pytest.mark.parametrize("digest", ["", UNREADABLE])
def test_what_cannot_be_read_is_shown_as_such_and_can_not_be_agreed_to(
    tmp_path: Path, book: Agreed, digest: str
) -> None:
    book.write(NAME, OLD)
    book.write("policy.toml", OLD)
    (tmp_path / "config" / NAME).unlink()
    (tmp_path / "config" / NAME).mkdir()
    (drifted,) = book.drifted()
    assert drifted == Drifted(Path(NAME), UNREADABLE, (f"{tmp_path / 'config' / NAME} is not a regular file",))
    with pytest.raises(ConfigError, match="is not a regular file"):
        book.accept(NAME, digest)
    assert book.load(NAME) == OLD


def test_removing_forgets_the_document_and_its_file(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, OLD)
    book.remove(NAME)
    book.remove(NAME)
    for seen in (book, open_book(tmp_path)):
        assert (seen.load(NAME), seen.drifted(), seen.names("servers")) == (None, [], [])
    assert not (tmp_path / "config" / NAME).exists()


@given(st.lists(st.tuples(st.sampled_from(["servers/a.toml", "pins/a.toml", "policy.toml"]), st.binary(max_size=40))))
def test_whatever_is_written_last_is_what_counts(steps: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = open_book(Path(folder))
        for name, data in steps:
            book.write(name, data)
        last = dict(steps)
        assert {name: open_book(Path(folder)).load(name) for name in last} == last


# --- killed on the way ----------------------------------------------------------------------------------------------


class Killed(Exception):
    """The process ended here."""


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_daemon_killed_while_it_writes_leaves_the_old_text_in_force(
    tmp_path: Path, book: Agreed, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Three files are written: the copy, the document, the table.  The yes counts with the last one."""
    book.write(NAME, OLD)
    left = [writes]

    def write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        write_private(path, data, mode=mode)

    monkeypatch.setattr(module, "write_private", write)
    with pytest.raises(Killed):
        book.write(NAME, NEW)
    for seen in (book, open_book(tmp_path)):
        assert not seen.distrusted
        assert seen.load(NAME) == OLD
        assert [found.digest for found in seen.drifted()] == ([sha256_hex(NEW)] if writes == 2 else [])


@pytest.mark.parametrize("writes", [0, 1])
def test_a_daemon_killed_while_it_accepts_leaves_the_old_text_in_force(
    tmp_path: Path, book: Agreed, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    book.write(NAME, OLD)
    edit(tmp_path, NEW)
    left = [writes]

    def write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        write_private(path, data, mode=mode)

    monkeypatch.setattr(module, "write_private", write)
    with pytest.raises(Killed):
        book.accept(NAME, sha256_hex(NEW))
    assert open_book(tmp_path).load(NAME) == OLD


# --- what a person is shown -----------------------------------------------------------------------------------------


def test_a_change_that_cannot_be_seen_in_the_text_is_shown_all_the_same(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, b"name = '\xff'\n")
    edit(tmp_path, b"name = '\xfe'\n")
    assert book.drifted()[0].diff == ("(they differ only in bytes that cannot be shown)",)
    edit(tmp_path, b"name = '\xff'\r\n")
    assert "+name = '\ufffd'\r" in book.drifted()[0].diff


def test_a_long_change_is_cut_and_says_so(tmp_path: Path, book: Agreed) -> None:
    book.write(NAME, b"".join(b"%d\n" % number for number in range(1000)))
    edit(tmp_path, b"".join(b"%d!\n" % number for number in range(1000)))
    diff = book.drifted()[0].diff
    assert len(diff) == MAX_DIFF_LINES + 1
    assert diff[-1] == "(there may be more: look at the file itself)"


def test_a_change_far_down_is_shown(tmp_path: Path, book: Agreed) -> None:
    text = b"".join(b"%d\n" % number for number in range(5000))
    book.write(NAME, text)
    edit(tmp_path, text.replace(b"4711\n", b"4712\n"))
    diff = book.drifted()[0].diff
    assert ("-4711" in diff, "+4712" in diff) == (True, True)


def test_a_huge_edit_is_compared_in_no_time(tmp_path: Path, book: Agreed) -> None:
    """Compared whole, this pair takes half a minute, and every look at the daemon would wait for it."""
    book.write(NAME, b"".join(b"a%d\n" % number for number in range(20_000)))
    edit(tmp_path, b"".join(b"%c%d\n" % (b"a"[0] if number % 3 else b"c"[0], number) for number in range(20_000)))
    began = time.monotonic()
    assert book.drifted()[0].diff[-1] == "(there may be more: look at the file itself)"
    assert time.monotonic() - began < 5
    assert MAX_COMPARED < 1000
