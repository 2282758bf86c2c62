"""Every change to what was written is found, and the first broken link is named."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.segments import segments
from broker.audit.verify import Broken, verify
from broker.errors import AuditError
from tests.audit import independent_verifier
from tests.audit.facts import KEY, ORIGIN, VAULT, called, lines_of, noon, written

COUNT: Final = 9
PER_SEGMENT: Final = 3


def log_of(folder: Path) -> list[list[bytes]]:
    """A log of several segments; its lines by segment."""
    written(folder, COUNT, segment_limit=2400)
    found = [segment.read_bytes().splitlines(keepends=True) for segment in segments(folder)]
    assert [len(lines) for lines in found] == [PER_SEGMENT] * 3
    return found


def spoil(folder: Path, lines: list[list[bytes]]) -> None:
    for segment, own in zip(segments(folder), lines, strict=True):
        segment.write_bytes(b"".join(own))


def place(index: int) -> tuple[int, int]:
    return divmod(index, PER_SEGMENT)


def both(folder: Path) -> Broken | None:
    """What `verify` says; the verifier that knows nothing of Bulkhead must agree, word by word, on where."""
    report = verify(folder, KEY)
    other = independent_verifier.verify(folder, KEY)
    if report.broken is None:
        assert other == ""
        return None
    named = f"{report.broken.segment}, line {report.broken.line}:"
    assert other.startswith((named, f"entry {report.broken.seq}:")), (other, str(report.broken))
    return report.broken


def test_an_untouched_log_verifies(tmp_path: Path) -> None:
    log_of(tmp_path)
    report = verify(tmp_path, KEY)
    assert (report.entries, report.segments, report.vouched, report.broken, report.torn) == (COUNT, 3, COUNT, None, 0)
    assert both(tmp_path) is None


def test_a_log_that_was_never_begun_verifies_as_empty(tmp_path: Path) -> None:
    assert both(tmp_path) is None
    assert both(tmp_path / "nowhere") is None


@pytest.mark.claim("C41")
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, COUNT - 1), byte=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_is_found_and_its_entry_named(at: int, byte: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = log_of(Path(name))
        segment, line = place(at)
        old = lines[segment][line]
        byte %= len(old) - 1  # the newline has a case of its own below
        lines[segment][line] = old[:byte] + bytes([old[byte] ^ change]) + old[byte + 1 :]
        spoil(Path(name), lines)
        broken = both(Path(name))
        assert broken is not None
        assert (broken.segment, broken.line, broken.seq) == (segments(Path(name))[segment].name, line + 1, at + 1)


@pytest.mark.claim("C41")
@settings(max_examples=40, deadline=None)
@given(one=st.integers(0, COUNT - 1), two=st.integers(0, COUNT - 1))
def test_entries_in_another_order_are_found_at_the_first_that_moved(one: int, two: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = log_of(Path(name))
        (a, b), (c, d) = place(one), place(two)
        lines[a][b], lines[c][d] = lines[c][d], lines[a][b]
        spoil(Path(name), lines)
        broken = both(Path(name))
        assert (broken.seq if broken else None) == (None if one == two else min(one, two) + 1)


@pytest.mark.claim("C41")
@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, COUNT - 1), length=st.integers(1, COUNT))
def test_missing_entries_are_found_wherever_they_are_missing(start: int, length: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = log_of(Path(name))
        for index in range(start, min(COUNT, start + length)):
            segment, line = place(index)
            lines[segment][line] = b""
        spoil(Path(name), lines)
        broken = both(Path(name))
        assert broken is not None and broken.seq == start + 1


@pytest.mark.claim("C41")
@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, COUNT - 1), which=st.integers(0, COUNT - 1))
def test_an_entry_written_twice_is_found(at: int, which: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = log_of(Path(name))
        (segment, line), (source, number) = place(at), place(which)
        lines[segment].insert(line, lines[source][number])
        spoil(Path(name), lines)
        broken = both(Path(name))
        assert broken is not None and broken.seq == (at + 2 if at == which else at + 1)


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(0, 10_000))
def test_a_log_cut_off_at_any_byte_is_found_and_the_first_lost_entry_named(kept: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = log_of(Path(name))
        whole = b"".join(line for segment in lines for line in segment)
        kept %= len(whole)
        for segment, own in zip(segments(Path(name)), lines, strict=True):
            part = b"".join(own)[:kept]
            kept -= len(part)
            segment.write_bytes(part)
            if not part:
                segment.unlink()
        broken = both(Path(name))
        assert broken is not None
        assert broken.seq == 1 + sum(line.endswith(b"\n") for line in lines_of(Path(name)))


def test_a_missing_segment_is_found_by_the_one_after_it(tmp_path: Path) -> None:
    log_of(tmp_path)
    first, second, third = segments(tmp_path)
    second.unlink()
    broken = both(tmp_path)
    assert broken is not None and (broken.segment, broken.line, broken.seq) == (third.name, 1, 4)
    first.unlink()
    broken = both(tmp_path)
    assert broken is not None and (broken.segment, broken.line, broken.seq) == (third.name, 1, 1)


def rewrite(folder: Path, start: int, change: Callable[[dict[str, object]], None]) -> None:
    """Change entry `start` and compute every later hash anew, as a forger does who knows all but the key."""
    seq, prev = 0, "0" * 64
    for segment in segments(folder):
        lines = []
        for line in segment.read_bytes().splitlines():
            seq += 1
            entry = json.loads(line)
            del entry["hash"]
            if seq == start:
                change(entry)
            entry["prev"] = prev
            core = json.dumps(entry, separators=(",", ":")).encode()
            prev = hashlib.sha256(core).hexdigest()
            lines.append(core[:-1] + f',"hash":"{prev}"}}\n'.encode())
        segment.write_bytes(b"".join(lines))


def test_a_chain_written_anew_without_the_key_is_found(tmp_path: Path) -> None:
    log_of(tmp_path)
    rewrite(tmp_path, 4, lambda entry: entry.update(target="harmless"))
    assert independent_verifier.verify(tmp_path) == "", "the chain alone does not notice"
    broken = both(tmp_path)
    assert broken is not None and "the chain was written anew" in broken.why and broken.seq == COUNT


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda head: head.unlink(), id="deleted"),
        pytest.param(lambda head: head.write_bytes(b""), id="emptied"),
        pytest.param(lambda head: head.write_bytes(b"x" * 5000), id="replaced"),
        pytest.param(lambda head: head.write_bytes(head.read_bytes().replace(b'"seq":9', b'"seq":8')), id="edited"),
    ],
)
def test_a_checkpoint_that_was_touched_vouches_for_nothing(tmp_path: Path, change: Callable[[Path], None]) -> None:
    log_of(tmp_path)
    change(tmp_path / "head")
    broken = both(tmp_path)
    assert broken is not None and broken.segment == "head"


@pytest.mark.parametrize("spoilt", [0, 512])
def test_a_checkpoint_spoilt_in_one_place_still_vouches_for_the_whole_chain(tmp_path: Path, spoilt: int) -> None:
    lines = log_of(tmp_path)
    data = (tmp_path / "head").read_bytes()
    (tmp_path / "head").write_bytes(data[:spoilt] + b"\0" * 512 + data[spoilt + 512 :])
    assert both(tmp_path) is None
    spoil(tmp_path, [lines[0], lines[1], lines[2][:-1]])
    broken = both(tmp_path)
    assert broken is not None and broken.seq == COUNT


def test_a_folder_put_back_as_it_once_was_is_found_by_the_witness_outside_of_it(tmp_path: Path) -> None:
    folder, witness = tmp_path / "audit", tmp_path / "witness"
    before: dict[str, bytes] = {}
    for _ in range(2):
        log = AuditLog.open(folder, VAULT, noon, witness=witness, steady=noon)
        for _ in range(3):
            log.append(ORIGIN, called())
        log.close()
        before = before or {path.name: path.read_bytes() for path in folder.iterdir()}
    assert verify(folder, KEY, witness).entries == 6
    for name, data in before.items():
        (folder / name).write_bytes(data)
    assert verify(folder, KEY).ok, "the folder alone does not notice"
    report = verify(folder, KEY, witness)
    assert report.broken is not None and report.broken.seq == 4 and "entries 4 to 6" in report.broken.why
    assert independent_verifier.verify(folder, KEY, witness) == "entry 4: gone, the checkpoint vouches for 6"
    with pytest.raises(AuditError, match="entry 6 of the audit log was written and is gone"):
        AuditLog.open(folder, VAULT, noon, witness=witness, steady=noon)


def test_a_checkpoint_signed_with_another_key_vouches_for_nothing(tmp_path: Path) -> None:
    log_of(tmp_path / "ours")
    other = AuditKeys(b"the key of somebody else's home!")
    log = AuditLog.open(tmp_path / "theirs", other, noon, steady=noon)
    log.append(ORIGIN, called())
    log.close()
    (tmp_path / "ours" / "head").write_bytes((tmp_path / "theirs" / "head").read_bytes())
    broken = both(tmp_path / "ours")
    assert broken is not None and broken.segment == "head"


def test_verifying_changes_nothing(tmp_path: Path) -> None:
    log_of(tmp_path)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    verify(tmp_path, KEY)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_the_independent_verifier_is_short_and_knows_nothing_of_us(tmp_path: Path) -> None:
    source = Path(independent_verifier.__file__)
    text = source.read_text()
    assert len(text.splitlines()) < 150 and "import broker" not in text and "from broker" not in text
    log_of(tmp_path / "audit")
    command = [sys.executable, "-I", str(source), str(tmp_path / "audit"), KEY.hex()]
    assert subprocess.run(command, timeout=30, capture_output=True, check=False).returncode == 0
    segments(tmp_path / "audit")[1].unlink()
    done = subprocess.run(command, timeout=30, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "segment-000000000007.jsonl, line 1: entry 4 should begin a segment here\n"
