"""Searching: the index says what the segments say, and can always be built again."""

from pathlib import Path
from typing import Any

import pytest

from broker.audit.index import MAX_LIMIT, NAME, Index
from broker.audit.segments import segments
from broker.model import Decision, Fact, Origin, Verdict
from tests.audit.facts import NOON, ORIGIN, called, opened, written


def seqs(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["seq"] for entry in entries]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Seven entries of two clients and two servers."""
    log = opened(tmp_path, segment_limit=2000)
    log.append(Origin("cursor", "files", "s-1", pin="/home/Müller/100%_done"), called("read_file"))
    log.append(Origin("cursor", "files", "s-1"), called("write_file"))
    log.append(Origin("claude", "files", "s-2"), called("read_file"))
    log.append(Origin("claude", "time", "s-2"), called("get_current_time"))
    denied = Decision(Verdict.DENY, "no-roots", "the server sees only the folders granted to it")
    log.append(Origin("claude", "time", "s-2"), Fact("request", "server", "roots/list", "roots/list", 1, denied))
    log.append(Origin("claude", "time", "s-2"), Fact("link-closed", "broker"))
    log.append(Origin("claude", "time", "s-2"), Fact("notification", "client", "read_file", "read_file"))
    log.close()
    return tmp_path


def test_the_tail_is_the_last_entries_oldest_first(filled: Path) -> None:
    with Index(filled) as index:
        assert seqs(index.tail(3)) == [5, 6, 7]
        assert index.tail(1)[0]["kind"] == "notification"
        assert seqs(index.tail(0)) == []
        assert index.show(4) == index.tail(4)[0]
        assert index.show(99) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"client": "cursor"}, [1, 2]),
        ({"server": "time"}, [4, 5, 6, 7]),
        ({"session": "s-2", "kind": "request"}, [3, 4, 5]),
        ({"tool": "read_file"}, [1, 3]),
        ({"rule": "no-roots"}, [5]),
        ({"text": "müller"}, [1]),
        ({"text": "MÜLLER"}, []),
        ({"text": "Müller"}, [1]),
        ({"text": "100%_DONE"}, [1]),
        ({"text": "100__done"}, []),
        ({"text": "ROOTS"}, [5]),
        ({"client": "' OR 1 --"}, []),
        ({"since": NOON}, [1, 2, 3, 4, 5, 6, 7]),
        ({"since": NOON + 0.001}, []),
        ({"limit": 2}, [6, 7]),
        ({"limit": 10**9}, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_search_finds_what_matches_everything_that_was_given(
    filled: Path, wanted: dict[str, Any], found: list[int]
) -> None:
    with Index(filled) as index:
        assert seqs(index.search(**wanted)) == found


def test_what_is_appended_after_the_index_was_built_is_found_too(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with Index(tmp_path) as index:
        for seq in (1, 2, 3):
            receipt = log.append(ORIGIN, called())
            assert index.follow(seq - 1) == [receipt.entry]
        assert seqs(index.follow(1)) == [2, 3]
        assert seqs(index.follow(0, limit=2)) == [1, 2]
        assert index.follow(3) == []
    log.close()


@pytest.mark.parametrize("there", [50, -1])
def test_a_line_that_is_still_being_written_waits_for_the_next_time(tmp_path: Path, there: int) -> None:
    lines = written(tmp_path, 2)
    (segment,) = segments(tmp_path)
    segment.write_bytes(lines[0] + lines[1][:there])
    with Index(tmp_path) as index:
        assert seqs(index.tail(9)) == [1]
        segment.write_bytes(lines[0] + lines[1])
        assert seqs(index.tail(9)) == [1, 2]


@pytest.mark.parametrize("harm", ["deleted", "overwritten", "emptied", "no database"])
def test_an_index_that_is_gone_or_damaged_is_built_again(filled: Path, harm: str) -> None:
    with Index(filled) as index:
        before = index.tail(100)
        path = filled / NAME
        match harm:
            case "deleted":
                path.unlink()
            case "overwritten":
                data = bytearray(path.read_bytes())
                data[1024:] = b"\xa5" * (len(data) - 1024)
                path.write_bytes(data)
            case "emptied":
                path.write_bytes(b"")
            case _:
                path.write_bytes(b"this is no database at all, and long enough to say so" * 40)
        assert index.tail(100) == before
    with Index(filled) as again:
        assert again.tail(100) == before


def test_a_new_chain_in_the_same_folder_replaces_the_old_entries(tmp_path: Path) -> None:
    written(tmp_path, 5)
    with Index(tmp_path) as index:
        assert len(index.tail(10)) == 5
        for path in (*segments(tmp_path), tmp_path / "head"):
            path.unlink()
        lines = [line.decode() for line in written(tmp_path, 2)]
        assert [entry["hash"] in line for entry, line in zip(index.tail(10), lines, strict=True)] == [True, True]


def test_text_that_is_no_entry_does_not_keep_the_others_from_being_found(tmp_path: Path) -> None:
    lines = written(tmp_path, 3)
    (segment,) = segments(tmp_path)
    odd = [b"nonsense\n", b"[1]\n", b'{"seq":99999999999999999999,"time":"","hash":""}\n', b'{"seq":"x"}\n', b"\xff\n"]
    segment.write_bytes(lines[0] + b"".join(odd) + lines[1] + lines[2])
    with Index(tmp_path) as index:
        assert seqs(index.tail(9)) == [1, 2, 3]


def test_no_answer_is_longer_than_its_bound(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(MAX_LIMIT + 5):
        log.append(ORIGIN, called())
    log.close()
    with Index(tmp_path) as index:
        assert len(index.follow(0, limit=10**6)) == MAX_LIMIT == len(index.tail(10**6))


def test_the_index_is_the_owners_alone(filled: Path) -> None:
    with Index(filled) as index:
        index.tail(1)
    assert (filled / NAME).stat().st_mode & 0o777 == 0o600
