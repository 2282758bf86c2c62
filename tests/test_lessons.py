"""Lessons: who is watched and for how long, and that looking at what was asked for goes nowhere far."""

import time
from pathlib import Path

import pytest

from broker import lessons
from broker.errors import DeskError
from broker.lessons import NOWHERE, Lessons
from broker.model import Grants, ServerName

NOTES = ServerName("notes")


def test_a_watched_start_gets_a_network_that_leads_nowhere_and_what_it_had(tmp_path: Path) -> None:
    lesson = Lessons(tmp_path, list).open(NOTES, 60)
    assert lesson.grants(Grants(read=(tmp_path,))) == Grants(read=(tmp_path,), hosts=(NOWHERE,))
    assert lesson.grants(Grants(hosts=("a.example",))) == Grants(hosts=("a.example",))
    assert lesson.starts == 2


def test_a_lesson_ends_by_itself_and_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Lessons(tmp_path, list)
    lesson = book.open(NOTES, 10**9)
    assert book.of(NOTES) is lesson and book.of(ServerName("others")) is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3601)
    assert book.of(NOTES) is None
    assert book.close(NOTES) is lesson
    with pytest.raises(DeskError, match="notes is not being watched"):
        book.close(NOTES)


def test_real_files_are_proposed_and_what_is_protected_credentials_or_a_link_is_not(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    for name in ("work/a", "work/b", ".aws/credentials", "ours/c"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).touch()
    (home / "link").symlink_to(home / "work")
    book = Lessons(home, lambda: [home / "ours"])
    lesson = book.open(NOTES, 60)
    for name in ("work/a", "work/b", ".aws/credentials", "ours/c", "link/a", "absent", "."):
        lesson.seen.note(str(home / name), "read")
    found = book.proposals(lesson)
    assert [(one.path, one.writable) for one in found.found] == [(home / "work", False)]
    assert found.withheld == 2


def test_nothing_on_the_network_is_even_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path.resolve()
    (home / "far").mkdir()
    (home / "far" / "a").touch()
    monkeypatch.setattr(lessons, "mounted", lambda: [(Path("/"), "ext4"), (home / "far", "autofs")])
    book = Lessons(home, list)
    lesson = book.open(NOTES, 60)
    lesson.seen.note(str(home / "far" / "a"), "read")
    assert book.proposals(lesson).found == ()
