"""Ledgers survive a restart, keep no plain text, and read damage as the worst."""

import resource
from pathlib import Path
from typing import Final

import pytest

from broker.errors import ConfigError
from broker.flow.labels import WORST, Labels
from broker.flow.ledger import MAX_READS, Ledger, hold
from broker.flow.store import MAX_LOADED, UNKNOWN, LedgerStore
from broker.model import Call, ClientName, JsonObject, ServerName, SessionId

KEY: Final = b"integrity key of this test home!"
ONE, TWO = SessionId("s-1"), SessionId("s-2")
TIME, FILES = ServerName("time"), ServerName("files")
PRIVATE: Final = Labels(frozenset({"P"}), "L", "reads a file")
WRITE: Final = Call(ClientName("c"), FILES, ONE, "client", "tools/call", "write_file", {}, "")


def store(folder: Path, key: bytes = KEY) -> LedgerStore:
    return LedgerStore(folder / "ledgers", key, lambda: 1000.0)


def note(ledgers: LedgerStore, session: SessionId = ONE, server: ServerName = TIME, target: str = "now",
         method: str = "tools/call", text: JsonObject | None = None) -> Ledger:  # fmt: skip
    return ledgers.note(session, server, method, target, PRIVATE, text or {"content": "secret words"})


def test_what_was_read_is_remembered_after_a_restart(tmp_path: Path) -> None:
    before = note(store(tmp_path))
    after = store(tmp_path).view(ONE)
    assert after == before and len(after.reads) == 1
    assert hold(WRITE, WORST, after) is not None


def test_a_read_is_on_its_way_to_the_disk_before_note_returns(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    for target in ("now", "zone"):
        note(ledgers, target=target)
        assert [read.target for read in store(tmp_path).view(ONE).reads][-1] == target


def test_sessions_do_not_see_each_others_reads(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers, ONE)
    assert ledgers.view(TWO) == Ledger()
    ledgers.end_session(ONE)
    assert ledgers.view(ONE) == Ledger() == store(tmp_path).view(ONE)
    ledgers.end_session(ONE)


def test_no_text_and_no_address_is_kept_only_keyed_hashes(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers, text={"content": "my diary says"})
    note(ledgers, method="resources/read", target="file:///home/me/diary.txt", text={"contents": "my diary says"})
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    kept = journal.read_text() + journal.name
    assert "diary" not in kept and "s-1" not in kept and "now" in kept
    digests = {read.digest for key in (KEY, b"k" * 32) for read in note(store(tmp_path / key.hex(), key)).reads}
    assert len(digests) == 2, "without the key nobody can try texts out"


def test_the_journal_is_the_owners_alone(tmp_path: Path) -> None:
    note(store(tmp_path))
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    assert (journal.stat().st_mode & 0o777, journal.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_reading_the_same_again_writes_nothing(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    size = journal.stat().st_size
    assert note(ledgers, text={"content": "other words"}).reads[0].count == 2
    assert journal.stat().st_size == size


def test_a_journal_has_a_bound_however_much_is_read(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    for number in range(MAX_READS + 1):
        note(ledgers, target=str(number))
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    size = journal.stat().st_size
    for number in range(MAX_READS + 1, MAX_READS + 100):
        note(ledgers, target=str(number))
    assert journal.stat().st_size == size
    note(ledgers, server=FILES)
    assert {read.server for read in store(tmp_path).view(ONE).reads} == {TIME, FILES}


def test_a_line_cut_short_by_a_crash_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    note(store(tmp_path))
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"server":"mail","met')
    ledgers = store(tmp_path)
    assert {read.server for read in ledgers.view(ONE).reads} == {TIME}
    note(ledgers, server=FILES)
    assert [read.server for read in store(tmp_path).view(ONE).reads] == [TIME, FILES]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"{}\n",
        b"[]\n",
        b"\xff\n",
        b"\n",
        b'{"server":"files","method":"m","target":"t","flags":"XYZ","digest":"d","when":1}\n',
    ],
)
def test_a_line_nobody_understands_counts_as_a_read_from_an_unknown_server(tmp_path: Path, line: bytes) -> None:
    note(store(tmp_path), server=FILES)
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    journal.write_bytes(journal.read_bytes() + line)
    ledger = store(tmp_path).view(ONE)
    assert [read.server for read in ledger.reads] == [FILES, UNKNOWN]
    assert hold(WRITE, WORST, ledger) is not None


def test_a_journal_that_cannot_be_read_is_an_error_and_not_an_empty_ledger(tmp_path: Path) -> None:
    note(store(tmp_path))
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    journal.unlink()
    journal.mkdir()
    with pytest.raises(ConfigError):
        store(tmp_path).view(ONE)


def test_on_a_full_disk_nothing_is_read_and_the_journal_stays_whole(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    before = journal.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(ConfigError, match="what this session reads cannot be noted"):
            note(ledgers, server=FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.read_bytes() == before
    assert {read.server for read in ledgers.view(ONE).reads} == {TIME}


def test_only_so_many_sessions_stay_in_memory_and_none_is_forgotten(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers, ONE)
    for number in range(MAX_LOADED + 10):
        ledgers.view(SessionId(f"other-{number}"))
    assert len(ledgers._loaded) == MAX_LOADED
    assert {read.server for read in ledgers.view(ONE).reads} == {TIME}


def test_old_ledgers_can_be_pruned(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    (journal,) = (tmp_path / "ledgers").glob("*.jsonl")
    changed = journal.stat().st_mtime
    assert (ledgers.prune(changed), journal.exists()) == (0, True)
    assert (ledgers.prune(changed + 1), journal.exists()) == (1, False)
