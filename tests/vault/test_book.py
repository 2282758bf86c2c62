"""The sealed book: what stands in it is read with the key, where it was put, and replaced by one of many."""

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.vault.book import MAX_ROWS, MAX_VALUE, Book, Place, VaultError, open_database

KEY: Final = b"\x01" * 32
TOKEN: Final = Place("token", "cursor", "linear")
SECRET: Final = b"a canary of a token"


def book(path: Path | None, key: bytes = KEY, clock: Callable[[], float] = lambda: 1000.0) -> Book:
    database = open_database(path)
    database.execute("INSERT OR IGNORE INTO seal VALUES (1, 'seal')")
    return Book(database, "seal", key, clock)


words = st.text(max_size=8)
places = st.builds(Place, words, words, words)


@given(st.dictionaries(places, st.tuples(words, st.binary(max_size=64)), max_size=6))
def test_every_row_comes_back_as_it_was_put_from_its_own_place(rows: dict[Place, tuple[str, bytes]]) -> None:
    one = book(None)
    for place, (issuer, value) in rows.items():
        one.put(place, value, issuer=issuer)
    for place, (issuer, value) in rows.items():
        found = one.load(place)
        assert found is not None and (found.issuer, found.value) == (issuer, value)
    one.close()


def test_nothing_of_a_row_can_be_read_on_the_disk_and_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    one = book(tmp_path / "v.db")
    one.put(TOKEN, SECRET)
    files = list(tmp_path.iterdir())
    assert len(files) >= 2  # the journal too
    for file in files:
        assert SECRET not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET.decode() not in f"{one!r} {one.load(TOKEN)!r}"


@pytest.mark.parametrize("column", ["kind", "client", "server", "issuer"])
def test_a_row_moved_to_another_place_is_refused(tmp_path: Path, column: str) -> None:
    one = book(tmp_path / "v.db")
    one.put(TOKEN, SECRET, issuer="https://as.example")
    other = sqlite3.connect(tmp_path / "v.db")
    statements = {name: f"UPDATE rows SET {name} = 'x'" for name in ("kind", "client", "server", "issuer")}
    with other:
        other.execute(statements[column])
    place = Place(
        **{"kind": "token", "client": "cursor", "server": "linear", **({column: "x"} if column != "issuer" else {})}
    )
    with pytest.raises(VaultError, match="was changed or moved") as refused:
        one.load(place)
    assert SECRET.decode() not in str(refused.value)


@pytest.mark.parametrize(
    "change", ["generation = generation + 1", "sealed = x'00'", "sealed = 'text'", "sealed = zeroblob(60)"]
)
def test_a_row_that_was_changed_is_refused(tmp_path: Path, change: str) -> None:
    one = book(tmp_path / "v.db")
    one.put(TOKEN, SECRET)
    with sqlite3.connect(tmp_path / "v.db") as other:
        other.execute(f"UPDATE rows SET {change}")
    with pytest.raises(VaultError, match="was changed or moved"):
        one.load(TOKEN)


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    book(tmp_path / "v.db").put(TOKEN, SECRET)
    with pytest.raises(VaultError):
        book(tmp_path / "v.db", b"\x02" * 32).load(TOKEN)


def test_a_generation_is_replaced_once(tmp_path: Path) -> None:
    one, two = book(tmp_path / "v.db"), book(tmp_path / "v.db")
    first = one.put(TOKEN, b"1")
    second = two.swap(TOKEN, first, b"2")
    assert second is not None and second > first
    assert one.swap(TOKEN, first, b"3") is None
    found = one.load(TOKEN)
    assert found is not None and (found.value, found.generation) == (b"2", second)
    assert one.swap(Place("token"), first, b"3") is None


def test_a_generation_of_a_removed_row_never_comes_back(tmp_path: Path) -> None:
    one = book(tmp_path / "v.db")
    first = one.put(TOKEN, b"1")
    assert one.delete(TOKEN)
    assert one.put(TOKEN, b"of another sign-in") > first
    assert one.swap(TOKEN, first, b"late") is None
    assert not one.delete(TOKEN, first)


def test_a_row_keeps_its_issuer_unless_told_another(tmp_path: Path) -> None:
    one = book(tmp_path / "v.db")
    first = one.put(TOKEN, b"1", issuer="https://a.example")
    second = one.swap(TOKEN, first, b"2")
    assert second is not None
    found = one.load(TOKEN)
    assert found is not None and found.issuer == "https://a.example"
    one.swap(TOKEN, second, b"3", issuer="https://b.example")
    found = one.load(TOKEN)
    assert found is not None and found.issuer == "https://b.example"


def test_a_lease_is_one_owners_until_it_is_given_back_or_over(tmp_path: Path) -> None:
    now = [1000.0]
    one, two = (book(tmp_path / "v.db", clock=lambda: now[0]) for _ in range(2))
    first = one.put(TOKEN, b"1")
    assert one.lease(TOKEN, first, "a", 30) == "mine"
    assert two.lease(TOKEN, first, "b", 30) == "busy"
    assert one.lease(TOKEN, first, "a", 30) == "mine"
    two.release(TOKEN, "b")
    assert two.lease(TOKEN, first, "b", 30) == "busy"
    one.release(TOKEN, "a")
    assert two.lease(TOKEN, first, "b", 30) == "mine"
    now[0] += 31
    assert one.lease(TOKEN, first, "a", 30) == "mine"
    now[0] -= 10_000  # a clock that was put back holds nobody up for ever
    assert two.lease(TOKEN, first, "b", 30) == "mine"
    two.swap(TOKEN, first, b"2")
    assert one.lease(TOKEN, first, "a", 30) == "stale"
    assert one.lease(Place("token"), first, "a", 30) == "stale"


RACER: Final = """
import sys
from pathlib import Path
from broker.vault.book import Book, Place, open_database
book, won = Book(open_database(Path(sys.argv[1])), "seal", b"\\x01" * 32), 0
place = Place("token", "cursor", "linear")
for turn in range(int(sys.argv[2])):
    while True:
        row = book.load(place)
        if int(row.value) > turn:
            break
        if book.swap(place, row.generation, b"%d" % (turn + 1)) is not None:
            won += 1
print(won)
"""


def test_of_many_processes_one_replaces_each_generation(tmp_path: Path) -> None:
    one, turns = book(tmp_path / "v.db"), 20
    one.put(TOKEN, b"0")
    command = [sys.executable, "-c", RACER, str(tmp_path / "v.db"), str(turns)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(racer.communicate(timeout=60)[0]) for racer in racers) == turns


def test_threads_share_one_book() -> None:
    one = book(None)
    one.put(TOKEN, b"0")

    def count() -> None:
        done = 0
        while done < 20:
            row = one.load(TOKEN)
            assert row is not None
            done += one.swap(TOKEN, row.generation, b"%d" % (int(row.value) + 1)) is not None

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = one.load(TOKEN)
    assert found is not None and found.value == b"80"


def test_a_row_is_added_only_where_there_is_none() -> None:
    one = book(None)
    assert one.add(TOKEN, b"1") is not None
    assert one.add(TOKEN, b"2") is None
    assert one.places("token") == [TOKEN]
    assert one.places("key") == []


def test_a_book_that_another_process_sealed_anew_gives_and_takes_nothing(tmp_path: Path) -> None:
    one, two = book(tmp_path / "v.db"), book(tmp_path / "v.db")
    first = one.put(TOKEN, SECRET)
    one.reseal("another seal", b"\x02" * 32)
    for act in (lambda: two.load(TOKEN), lambda: two.put(TOKEN, b"2"), lambda: two.swap(TOKEN, first, b"2")):
        with pytest.raises(VaultError, match="sealed anew"):
            act()
    found = one.load(TOKEN)
    assert found is not None and (found.value, found.generation) == (SECRET, first)


def test_a_row_that_does_not_open_keeps_the_book_from_being_sealed_anew(tmp_path: Path) -> None:
    one = book(tmp_path / "v.db")
    one.put(TOKEN, SECRET)
    one.put(Place("token", "other"), SECRET)
    with sqlite3.connect(tmp_path / "v.db") as other:
        other.execute("UPDATE rows SET generation = 99 WHERE client = 'other'")
    with pytest.raises(VaultError):
        one.reseal("another seal", b"\x02" * 32)
    found = one.load(TOKEN)
    assert found is not None and found.value == SECRET


@pytest.mark.parametrize("value", [b"x" * (MAX_VALUE + 1)])
def test_what_is_too_large_is_not_kept(value: bytes) -> None:
    one = book(None)
    with pytest.raises(VaultError, match="larger than"):
        one.put(TOKEN, value)
    with pytest.raises(VaultError, match="larger than"):
        one.put(Place("token", "c" * 3000), b"")
    assert one.places("token") == []


def test_rows_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ROWS >= 1000
    monkeypatch.setattr("broker.vault.book.MAX_ROWS", 1)
    one = book(None)
    one.put(TOKEN, b"1")
    with pytest.raises(VaultError, match="rows already"):
        one.put(Place("token", "b"), b"1")
    assert one.places("token") == [TOKEN]


def test_a_file_that_others_may_read_a_link_and_no_database_are_refused(tmp_path: Path) -> None:
    loose, link, broken = tmp_path / "loose.db", tmp_path / "link.db", tmp_path / "broken.db"
    loose.touch(mode=0o644)
    link.symlink_to(loose)
    broken.touch(mode=0o600)
    broken.write_bytes(b"no database at all" * 100)
    for path in (loose, link, broken):
        with pytest.raises(VaultError, match="the vault"):
            open_database(path)
