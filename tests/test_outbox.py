import os
from pathlib import Path

import pytest

from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.receipt import check
from broker.audit.segments import segments
from broker.endpoints.stdio import LineEndpoint
from broker.errors import AuditError
from broker.model import Fact, Origin
from broker.outbox import Outbox


def lines_of(folder: Path) -> list[bytes]:
    return [line for segment in segments(folder) for line in segment.read_bytes().splitlines(keepends=True)]


def a_log(folder: Path) -> AuditLog:
    return AuditLog.open(folder, AuditKeys(b"a key of nobody"), lambda: 1.0, steady=lambda: 1.0)


def endpoint() -> tuple[int, LineEndpoint]:
    ours, theirs = os.pipe(), os.pipe()
    os.set_blocking(ours[0], False)
    made = LineEndpoint(theirs[0], ours[1], on_bytes=lambda _: None, on_closed=lambda: None, on_drained=lambda: None)
    os.close(theirs[1])
    return ours[0], made


def taken(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


async def test_what_is_said_together_leaves_in_its_order_behind_its_receipts(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    far, near = endpoint()
    outbox = Outbox(log.flush, 1 << 20, lambda _: None)
    for number in range(3):
        log.take_down(Origin(), Fact("request", "client", "ping", request=number))
        outbox.put(near, {"id": number})
    assert (lines_of(tmp_path), taken(far)) == ([], b"")
    outbox.send()
    assert taken(far) == b'{"id":0}\n{"id":1}\n{"id":2}\n'
    assert len(lines_of(tmp_path)) == 3
    assert check(lines_of(tmp_path)) is None
    log.close()
    near.close()
    os.close(far)


@pytest.mark.parametrize("taken_down", [True, False])
async def test_nothing_leaves_when_its_receipts_cannot_be_written(tmp_path: Path, taken_down: bool) -> None:
    """Also those that somebody else's flush was to write."""
    log = a_log(tmp_path)
    log.append(Origin(), Fact("request", "client", "ping"))
    far, near = endpoint()
    outbox = Outbox(log.flush, 1 << 20, lambda _: None)
    log.take_down(Origin(), Fact("request", "client", "ping"))
    outbox.put(near, {"id": 0})
    os.close(log._segment)
    log._segment = os.open(os.devnull, os.O_RDONLY)
    if not taken_down:
        with pytest.raises(AuditError):
            log.append(Origin(), Fact("daemon", "broker"))
    with pytest.raises(AuditError):
        outbox.send()
    with pytest.raises(AuditError):
        outbox.send()
    assert taken(far) == b""
    near.close()
    os.close(far)
    with pytest.raises(AuditError):
        log.append(Origin(), Fact("daemon", "broker"))
    log.close()


async def test_entries_taken_down_across_a_full_segment_are_one_chain(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path, AuditKeys(b"a key of nobody"), lambda: 1.0, steady=lambda: 1.0, segment_limit=2000)
    for number in range(9):
        log.take_down(Origin(), Fact("request", "client", "ping", request=number))
    log.close()
    assert len(list(segments(tmp_path))) > 1
    assert len(lines_of(tmp_path)) == 9
    assert check(lines_of(tmp_path)) is None


async def test_what_goes_on_as_it_came_is_not_written_again_and_what_became_another_is() -> None:
    far, near = endpoint()
    outbox = Outbox(lambda: None, 1 << 20, lambda _: None)
    came = {"id": 1}
    outbox.hear(came, b"as it came\n")
    outbox.put(near, came)
    outbox.put(near, dict(came))
    outbox.send()
    outbox.put(near, came)
    outbox.send()
    assert taken(far) == b'as it came\n{"id":1}\n{"id":1}\n'
    near.close()
    os.close(far)
