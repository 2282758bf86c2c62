"""What is typed to find receipts, and the commands that the screen runs."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ui import scenes
from ui import shell
from ui.known import receipt_line
from ui.query import COLUMNS, Query, query
from ui.shell import Shell


def test_words_and_columns_are_told_apart_and_a_column_nobody_knows_is_a_word() -> None:
    assert query("client:cursor tool:read  since:2h nobody:x  a b") == Query(
        {"client": "cursor", "tool": "read"}, "nobody:x a b", 7200.0
    )
    assert query("since:soon client:") == Query({}, "since:soon client:")


@given(st.text(max_size=80))
def test_whatever_is_typed_can_be_searched_for_and_is_an_argument_never_an_option(typed: str) -> None:
    meant = query(typed)
    assert meant.search(lambda: 1e9).limit == 1000
    assert all(word.startswith(("--text=", "--since=", *(f"--{name}=" for name in COLUMNS))) for word in meant.words)


def test_a_column_must_be_exactly_so_and_a_session_may_be_its_beginning() -> None:
    line = receipt_line(1, scenes.receipt(1, target="read_file", session="5e55aa"))
    assert query("tool:read_file session:5e55 FILESYSTEM").holds(line)
    assert not query("tool:read").holds(line)
    assert not query("client:cursor").holds(line)


def test_a_command_of_the_screen_is_bounded_and_its_file_is_new_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = shell.COMMAND[0]
    monkeypatch.setattr(shell, "COMMAND", (python, "-c", "import sys; print('said', *sys.argv[1:]); sys.exit(3)"))
    assert asyncio.run(Shell().printed(("a", "b"))) == shell.Printed(3, "said a b\n")
    file = tmp_path / "new.jsonl"
    assert asyncio.run(Shell().kept(("c",), file)).code == 3
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("said c\n", 0o600)
    assert "cannot be written: File exists" in asyncio.run(Shell().kept(("c",), file)).problem
    monkeypatch.setattr(shell, "MAX_SAID", 3)
    assert "it printed more than" in asyncio.run(Shell().printed(())).problem
    monkeypatch.setattr(shell, "COMMAND", (python, "-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(shell, "WITHIN", 0.05)
    assert "came to no end" in asyncio.run(Shell().printed(())).problem
