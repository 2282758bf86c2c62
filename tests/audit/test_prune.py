"""What was let go is gone, what is left verifies, and nobody else can let go of anything."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.index import Index
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.prune import CLASSES, prune, read_stub, stub_path
from broker.audit.segments import segments
from broker.audit.verify import verify
from broker.errors import AuditError
from broker.model import Fact
from tests.audit import independent_verifier
from tests.audit.facts import KEY, NOON, ORIGIN, VAULT, called, lines_of

COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A minute from entry to entry; every fourth is a launch; three or four to a segment."""
    now = [NOON]
    log = AuditLog.open(tmp_path, VAULT, lambda: now[0], segment_limit=3000, steady=lambda: now[0])
    for number in range(COUNT):
        fact = Fact("launch", "broker", target=f"s-{number}") if number % 4 == 3 else called(body={"number": number})
        log.append(ORIGIN, fact)
        now[0] += 60
    log.close()
    return tmp_path


def whole(folder: Path) -> tuple[int, int]:
    """Entries and those let go, of a chain that both verifiers find whole."""
    report = verify(folder, KEY)
    assert report.broken is None and independent_verifier.verify(folder, KEY) == ""
    return report.entries, report.pruned


def left(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(folder)]


@pytest.mark.claim("C48")
def test_old_entries_of_one_class_go_and_the_chain_holds(folder: Path) -> None:
    done = prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
    assert done.entries == 8 and whole(folder) == (COUNT, 8)
    assert [entry["seq"] for entry in left(folder)] == [4, 8, *range(11, COUNT + 1)]


def test_beyond_its_size_the_oldest_of_a_class_go_first(folder: Path) -> None:
    size = sum(len(line) for line in lines_of(folder) if json.loads(line)["kind"] == "request")
    done = prune(folder, VAULT, ["messages"], older_than=None, keep=size // 2)
    requests = [entry["seq"] for entry in left(folder) if entry["kind"] == "request"]
    assert done.entries + len(requests) == 15 and done.bytes >= size // 2
    assert requests == [seq for seq in range(1, COUNT + 1) if seq % 4][-len(requests) :]
    assert whole(folder) == (COUNT, done.entries)


def test_a_dry_run_changes_nothing_and_says_the_same(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = prune(folder, VAULT, list(CLASSES), older_than=NOON + 600, keep=None, dry_run=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert prune(folder, VAULT, list(CLASSES), older_than=NOON + 600, keep=None) == said


def test_everything_closed_may_go_and_the_log_still_opens_and_goes_on(folder: Path) -> None:
    prune(folder, VAULT, list(CLASSES), older_than=NOON + 10_000, keep=None)
    last = segments(folder)[-1]
    assert all(not path.read_bytes() for path in segments(folder) if path != last) and last.read_bytes()
    log = AuditLog.open(folder, VAULT, lambda: NOON + 10_000, steady=lambda: NOON + 10_000)
    log.append(ORIGIN, called())
    log.close()
    assert whole(folder)[0] == COUNT + 1


@given(st.lists(st.tuples(st.sets(st.sampled_from(sorted(CLASSES)), min_size=1), st.integers(0, COUNT)), max_size=3))
def test_however_often_something_is_let_go_the_chain_holds(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[set[str], int]]
) -> None:
    now = [NOON]
    folder = tmp_path_factory.mktemp("log")
    log = AuditLog.open(folder, VAULT, lambda: now[0], segment_limit=2500, steady=lambda: now[0])
    for number in range(COUNT):
        log.append(ORIGIN, Fact("egress", "server") if number % 3 else called())
        now[0] += 60
    log.close()
    for classes, minutes in rounds:
        prune(folder, VAULT, classes, older_than=NOON + 60 * minutes, keep=None)
    assert whole(folder) == (COUNT, COUNT - len(lines_of(folder)))


@pytest.mark.parametrize(
    "harm", ["an entry less", "an entry changed", "a stub edited", "another's stub", "a stub moved"]
)
def test_what_is_changed_after_it_was_pruned_is_found(folder: Path, harm: str) -> None:
    prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
    first, second = segments(folder)[:2]
    match harm:
        case "an entry less":
            first.write_bytes(b"")
        case "an entry changed":
            first.write_bytes(first.read_bytes().replace(b"s-3", b"s-9"))
        case "a stub edited":
            stub_path(first).write_bytes(stub_path(first).read_bytes().replace(b'"kept":1', b'"kept":2'))
        case "another's stub":
            stub_path(first).unlink()
            other = AuditKeys(b"the key of somebody else's home!")
            with pytest.raises(AuditError):
                prune(folder, other, ["messages"], older_than=NOON + 6000, keep=None)
        case _:
            stub_path(first).write_bytes(stub_path(second).read_bytes())
    report = verify(folder, KEY)
    assert report.broken is not None and report.broken.segment == first.name
    assert independent_verifier.verify(folder, KEY).startswith(first.name)


def test_a_crash_between_the_stub_and_its_segment_leaves_a_whole_chain(folder: Path) -> None:
    first = segments(folder)[0]
    before = first.read_bytes()
    prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
    first.write_bytes(before)  # the stub came to the disk, and the segment did not
    assert read_stub(first, KEY) is not None and whole(folder)[0] == COUNT
    prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
    assert whole(folder) == (COUNT, 8)


def test_the_index_finds_only_what_is_left(folder: Path) -> None:
    with Index(folder) as index:
        assert len(index.search(client="cursor")) == COUNT
        prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
        assert len(index.search(client="cursor")) == COUNT - 8, "it notices by itself"
        index.forget()
        assert len(index.search(client="cursor")) == COUNT - 8


def test_segments_and_stubs_stay_the_owners_alone(folder: Path) -> None:
    prune(folder, VAULT, ["messages"], older_than=NOON + 600, keep=None)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
