"""Receipts of the format before this one are set aside, the new chain begins with their last link, both verify."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, Final

import pytest

from broker.audit.head import NAME
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.older import ENDING, OlderChain, set_aside, verify_older
from broker.audit.receipt import GENESIS
from broker.audit.segments import segment_name
from broker.audit.verify import verify
from broker.model import Origin
from tests.audit.facts import NOON

KEY: Final = b"k" * 32
COUNT: Final = 7


def older_folder(folder: Path) -> None:
    """As a daemon of before left it."""
    folder.mkdir()
    previous, lines = GENESIS, []
    for seq in range(1, COUNT + 1):
        entry: dict[str, Any] = dict.fromkeys(OlderChain.keys, "")
        time = f"2026-01-0{8 - seq}T12:00:00.000000Z"  # its clock was set again and again
        entry |= {"v": 1, "seq": seq, "time": time, "prev": previous, "kind": "request", "request": seq, "body": None}
        core = json.dumps(entry, separators=(",", ":")).encode()
        previous = hashlib.sha256(core).hexdigest()
        lines.append(core[:-1] + f',"hash":"{previous}"}}\n'.encode())
    (folder / segment_name(1)).write_bytes(b"".join(lines))
    end = sum(map(len, lines))
    core = json.dumps({"seq": COUNT, "hash": previous, "segment": segment_name(1), "end": end}).encode()
    core = core.replace(b", ", b",").replace(b": ", b":")
    mac = hmac.new(KEY, b"bulkhead audit head 1\n" + core, hashlib.sha256).hexdigest()
    (folder / NAME).write_bytes(2 * ((core[:-1] + f',"mac":"{mac}"}}'.encode()).ljust(511) + b"\n"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    older_folder(tmp_path / "audit")
    return tmp_path / "audit"


def opened(folder: Path) -> AuditLog:
    witness = folder.with_name("audit.witness")
    return AuditLog.open(folder, AuditKeys(KEY), lambda: NOON, witness=witness, steady=lambda: NOON)


def test_an_older_folder_is_set_aside_and_verifies_and_the_new_chain_names_its_last_link(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    aside = set_aside(folder, KEY, folder.with_name("audit.witness"))
    assert aside is not None and (aside.entries, aside.folder.name) == (COUNT, f"audit{ENDING}")
    log = opened(folder)
    first = log.append(Origin(), aside.fact).entry
    log.close()
    assert first["body"]["hash"] == aside.hash and first["seq"] == 1
    assert {path.name: path.read_bytes() for path in aside.folder.iterdir()} == before
    report = verify_older(folder, KEY)
    assert report is not None and report.ok and (report.entries, report.vouched) == (COUNT, COUNT)
    assert verify(folder, AuditKeys(KEY).public, folder.with_name("audit.witness")).ok
    again = set_aside(folder, KEY, folder.with_name("audit.witness"))
    assert again == aside and folder.exists(), "the next start finds it, and moves nothing"


@pytest.mark.parametrize(
    "harm", ["an entry changed", "the end cut off", "the checkpoint changed", "the checkpoint gone"]
)
def test_what_was_set_aside_and_then_changed_is_found(folder: Path, harm: str) -> None:
    aside = set_aside(folder, KEY, folder.with_name("audit.witness"))
    assert aside is not None
    segment, head = aside.folder / segment_name(1), aside.folder / NAME
    match harm:
        case "an entry changed":
            segment.write_bytes(segment.read_bytes().replace(b'"request":3', b'"request":4'))
        case "the end cut off":
            segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
        case "the checkpoint changed":
            head.write_bytes(head.read_bytes().replace(b'"seq":7', b'"seq":6'))
        case _:
            head.unlink()
    report = verify_older(folder, KEY)
    assert report is not None and not report.ok


def test_a_folder_of_this_format_is_never_set_aside_whatever_stands_in_it(folder: Path, tmp_path: Path) -> None:
    head = (folder / NAME).read_bytes()
    assert set_aside(folder, b"x" * 32, folder.with_name("audit.witness")) is None, "the key of another home"
    aside = set_aside(folder, KEY, folder.with_name("audit.witness"))
    opened(folder).close()
    assert aside is not None
    aside.folder.rename(tmp_path / "elsewhere")
    (folder / NAME).write_bytes(head)  # somebody puts the old checkpoint back, to have the new chain forgotten
    assert set_aside(folder, KEY, folder.with_name("audit.witness")) is None and folder.exists()


def test_nothing_is_said_of_a_home_that_never_had_one(tmp_path: Path) -> None:
    assert set_aside(tmp_path / "audit", KEY, tmp_path / "audit.witness") is None
    assert verify_older(tmp_path / "audit", KEY) is None
