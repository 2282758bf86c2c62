"""The log being written: nothing is lost, one writer, closed at the first failure."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest

from broker.audit.head import read_head
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.receipt import MAX_LINE
from broker.audit.segments import segments
from broker.audit.verify import verify
from broker.errors import AuditError
from broker.model import Origin
from tests.audit.facts import KEY, ORIGIN, VAULT, called, lines_of, noon, opened, written

PROJECT: Final = Path(__file__).resolve().parents[2]


@pytest.mark.claim("C40")
def test_an_entry_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    log = opened(tmp_path)
    receipt = log.append(ORIGIN, called())
    assert lines_of(tmp_path) == [receipt.line]
    log.close()


def test_the_folder_and_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    written(folder, 3)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert modes == {"head": 0o600, "lock": 0o600, "segment-000000000001.jsonl": 0o600}


def test_the_chain_goes_on_where_the_last_writer_stopped(tmp_path: Path) -> None:
    written(tmp_path, 3)
    log = opened(tmp_path)
    assert (log.append(ORIGIN, called()).seq, log.seq) == (4, 4)
    log.close()
    assert verify(tmp_path, KEY).entries == 4 and verify(tmp_path, KEY).ok


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(ORIGIN, called())
    with pytest.raises(AuditError, match="another process writes the audit log"):
        opened(tmp_path)
    log.append(ORIGIN, called())
    log.close()
    assert verify(tmp_path, KEY).entries == 2


def test_a_full_segment_is_followed_by_one_that_links_to_it(tmp_path: Path) -> None:
    lines = written(tmp_path, 10, segment_limit=1700)
    names = [segment.name for segment in segments(tmp_path)]
    assert names == [f"segment-{seq:012d}.jsonl" for seq in (1, 3, 5, 7, 9)]
    assert lines_of(tmp_path) == lines
    assert verify(tmp_path, KEY).ok
    log = opened(tmp_path, segment_limit=1700)
    assert log.append(ORIGIN, called()).seq == 11
    log.close()
    assert verify(tmp_path, KEY).ok


def test_a_closed_log_records_nothing_and_says_so(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="nothing can be recorded"):
        log.append(ORIGIN, called())
    assert lines_of(tmp_path) == []


async def test_a_durable_entry_is_on_the_disk_and_vouched_for_when_it_returns(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(ORIGIN, called())
    assert log.synced_seq == 0
    receipt = await log.record(ORIGIN, called(durable=True))
    head = read_head(tmp_path, KEY)
    assert (log.synced_seq, head.seq if head else 0, head.hash if head else "") == (2, 2, receipt.hash)
    log.close()


async def test_an_ordinary_entry_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    log = opened(tmp_path)
    await log.record(ORIGIN, called())
    assert (log.seq, log.synced_seq) == (1, 0)
    log.close()


async def test_those_who_wait_for_the_disk_together_share_one_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    turns: list[int] = []
    real = log.sync

    def counted() -> None:
        turns.append(log.seq)
        real()

    monkeypatch.setattr(log, "sync", counted)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(log.append_durable, ORIGIN, called())
    assert (log.seq, log.synced_seq) == (50, 50)
    assert len(turns) <= 3, "one for the first, one for all who came meanwhile"
    log.close()


async def test_everything_reaches_the_disk_while_the_log_runs(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.run_sync)
            for wanted in (5, 9):
                while log.seq < wanted:
                    log.append(ORIGIN, called())
                await synced(log, wanted)
            log.close()  # and with it `run_sync` ends
    head = read_head(tmp_path, KEY)
    assert head is not None and head.seq == 9


async def test_segments_may_change_while_the_disk_is_busy(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_limit=2000)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.run_sync)
            for _ in range(40):
                await log.append_durable(ORIGIN, called())
                for _ in range(7):
                    log.append(ORIGIN, called())
            log.close()
    assert verify(tmp_path, KEY).ok and verify(tmp_path, KEY).vouched == 320


async def synced(log: AuditLog, seq: int) -> None:
    """Wait until entry `seq` is on the disk; the caller bounds the wait."""
    while log.synced_seq < seq:  # noqa: ASYNC110 - another thread moves it, and nobody is told
        await anyio.sleep(0.005)


WRITER: Final = """
import sys, time
from pathlib import Path
from tests.audit.facts import ORIGIN, called, opened
log = opened(Path(sys.argv[1]), segment_limit=20_000)
while True:
    receipt = log.append(ORIGIN, called(body={"text": "x" * 300}))
    print(receipt.seq, receipt.hash, flush=True)
"""


def test_a_writer_killed_with_sigkill_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(200)]
    writer.send_signal(signal.SIGKILL)
    said += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    writer.wait(timeout=10)
    writer.stdout.close()
    seq, hash = said[-1].split()
    log = opened(tmp_path)
    assert log.seq >= int(seq) >= 200
    log.close()
    hashes = [line[-67:-3] for line in lines_of(tmp_path)]
    assert hashes[int(seq) - 1] == hash
    assert verify(tmp_path, KEY).ok


def test_half_a_line_left_by_a_crash_is_kept_aside_and_told_of(tmp_path: Path) -> None:
    lines = written(tmp_path, 3)
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(lines[0][:100])
    assert (verify(tmp_path, KEY).ok, verify(tmp_path, KEY).torn) == (True, 100)
    log = opened(tmp_path)
    log.close()
    (aside,) = tmp_path.glob("*.torn")
    assert aside.read_bytes() == lines[0][:100]
    assert lines_of(tmp_path)[:3] == lines
    assert b'"target":"audit-recovery"' in lines_of(tmp_path)[3] and aside.name.encode() in lines_of(tmp_path)[3]
    assert verify(tmp_path, KEY).ok


def test_what_a_power_cut_spoils_after_the_checkpoint_is_kept_aside_across_segments(tmp_path: Path) -> None:
    lines = written(tmp_path, 2, segment_limit=1700)
    head = (tmp_path / "head").read_bytes()
    log = opened(tmp_path, segment_limit=1700)
    for _ in range(6):
        log.append(ORIGIN, called())
    log.close()
    (tmp_path / "head").write_bytes(head)  # the checkpoint did not reach the disk
    second = segments(tmp_path)[1]
    second.write_bytes(b"\0" * second.stat().st_size)  # nor did this segment's bytes, though later ones did
    log = opened(tmp_path)
    assert log.seq == 3, "the two that were vouched for, and the entry that tells of it"
    log.close()
    assert lines_of(tmp_path)[:2] == lines
    assert len(list(tmp_path.glob("*.torn"))) == 3
    assert verify(tmp_path, KEY).ok


@pytest.mark.parametrize("what", ["the last entry", "the last segment", "everything", "the checkpoint", "another key"])
def test_a_log_that_lost_what_its_checkpoint_vouches_for_does_not_open(tmp_path: Path, what: str) -> None:
    lines = written(tmp_path, 6, segment_limit=1700)
    keys = VAULT
    match what:
        case "the last entry":
            last = segments(tmp_path)[-1]
            last.write_bytes(last.read_bytes()[: -len(lines[-1])])
        case "the last segment":
            segments(tmp_path)[-1].unlink()
        case "everything":
            for segment in segments(tmp_path):
                segment.unlink()
        case "the checkpoint":
            (tmp_path / "head").unlink()
        case _:
            keys = AuditKeys(b"the key of somebody else's home!")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(AuditError) as caught:
        AuditLog.open(tmp_path, keys, noon)
    assert caught.value.hint
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not verify(tmp_path, keys.public).ok


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may grow past this size: a full disk, as far as write(2) can tell.

    Only around the writing itself: pytest's own report may be a file, too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(log: AuditLog) -> AuditError:
    """Append until the log refuses."""
    with small_files():
        try:
            for _ in range(100):
                log.append(ORIGIN, called())
        except AuditError as error:
            return error
    raise AssertionError("the disk took everything")


def test_a_full_disk_closes_the_log_and_leaves_only_whole_entries(tmp_path: Path) -> None:
    log = opened(tmp_path)
    refusal = fill(log)
    assert "cannot be written" in str(refusal) and "free some space" in refusal.hint
    assert len(lines_of(tmp_path)) == log.seq > 0 and all(line.endswith(b"\n") for line in lines_of(tmp_path))
    assert log.failure
    log.close()


def test_after_a_full_disk_nothing_is_recorded_until_the_log_is_opened_again(tmp_path: Path) -> None:
    log = opened(tmp_path)
    fill(log)
    appended = log.seq
    with pytest.raises(AuditError, match="nothing can be recorded"):
        log.append(Origin(), called(body={}))
    log.close()
    again = opened(tmp_path)
    assert again.append(ORIGIN, called()).seq == appended + 1
    again.close()
    assert verify(tmp_path, KEY).ok


async def test_a_disk_that_fails_while_syncing_closes_the_log_and_ends_the_sync_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)

    def failing(_: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr("broker.audit.log._sync_file", failing)
    log.append(ORIGIN, called())
    with anyio.fail_after(10):
        await log.run_sync()
    assert "Input/output error" in log.failure
    with pytest.raises(AuditError, match="nothing can be recorded"):
        await log.append_durable(ORIGIN, called())
    assert (log.seq, log.synced_seq) == (1, 0)
    log.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be opened"):
        opened(tmp_path / "file" / "audit")


def test_a_link_in_place_of_a_file_of_ours_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "lock").symlink_to(victim)
    with pytest.raises(AuditError):
        opened(folder)
    assert victim.read_text() == "precious"


def test_a_line_without_end_is_no_entry_and_does_not_fill_memory(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.truncate(segment.stat().st_size + 40 * MAX_LINE)
    assert verify(tmp_path, KEY).entries == 2
    log = opened(tmp_path)
    log.close()
    assert verify(tmp_path, KEY).entries == 3
