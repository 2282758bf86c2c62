"""One entry: its bytes, its bounds, its link."""

import hashlib
import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.receipt import GENESIS, KEYS, MAX_BODY, MAX_EVIDENCE, MAX_LINE, MAX_TEXT, Chain, Receipt, check, seal
from broker.audit.redact import Redactor
from broker.errors import AuditError
from broker.model import Decision, Fact, Origin, Verdict
from tests.audit.facts import NOON, ORIGIN, VAULT, called

REDACT: Final = Redactor()
ANY_TEXT: Final = st.text(st.characters(), max_size=60)  # lone surrogates included: JSON can carry them


def chain_of(count: int) -> list[Receipt]:
    receipts: list[Receipt] = []
    previous = GENESIS
    for seq in range(1, count + 1):
        receipts.append(seal(previous, seq, NOON, ORIGIN, called(f"tool_{seq}"), REDACT, VAULT))
        previous = receipts[-1].hash
    return receipts


def sealed_body(receipt: Receipt) -> dict[str, object]:
    """What stands in place of {"path": "/tmp/ä"}."""
    clear = b'{"path":"/tmp/\\u00e4"}'
    return {"digest": hashlib.sha256(clear).hexdigest(), "size": len(clear), "sealed": receipt.entry["body"]["sealed"]}


def test_an_entry_is_one_line_with_the_documented_keys_in_their_order() -> None:
    receipt = seal(GENESIS, 1, NOON, ORIGIN, called(body={"path": "/tmp/ä"}), REDACT, VAULT)
    assert receipt.line.endswith(b"\n") and receipt.line.count(b"\n") == 1 and receipt.line.isascii()
    assert tuple(receipt.entry) == (*KEYS, "hash")
    assert receipt.entry == {
        "v": 2, "seq": 1, "time": "2025-06-15T15:06:40.250000Z", "prev": "0" * 64,
        "client": "cursor", "server": "files", "session": "s-1", "link": "l-1", "stories": [],
        "pin": "pin-1", "tier": "A", "labels": "",
        "kind": "request", "side": "client", "method": "tools/call", "target": "read_file", "request": 1,
        "verdict": "allow", "rule": "agreed-server", "reason": "the client may use this server", "evidence": [],
        "size": 120, "digest": "ab" * 32, "durable": False, "truncated": False, "body": sealed_body(receipt),
        "hash": receipt.hash,
    }  # fmt: skip


def test_the_hash_covers_every_byte_of_the_line_but_its_own_field() -> None:
    receipt = seal(GENESIS, 1, NOON, ORIGIN, called(), REDACT, VAULT)
    rest = receipt.line.removesuffix(f',"hash":"{receipt.hash}"}}\n'.encode()) + b"}"
    assert hashlib.sha256(rest).hexdigest() == receipt.hash


def test_a_chain_of_entries_holds_and_each_carries_the_hash_before() -> None:
    receipts = chain_of(4)
    assert [receipt.prev for receipt in receipts] == [GENESIS, *(receipt.hash for receipt in receipts[:3])]
    assert check(receipt.line for receipt in receipts) is None
    assert check([receipts[3].line], 3, receipts[2].hash) is None


def test_a_body_that_is_too_large_stands_as_its_digest_and_size() -> None:
    text = json.dumps({"text": "x" * MAX_BODY}, separators=(",", ":"))
    entry = seal(GENESIS, 1, NOON, ORIGIN, called(body={"text": "x" * MAX_BODY}), REDACT, VAULT).entry
    assert entry["truncated"] is True
    assert entry["body"] == {"digest": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}


def test_no_column_is_longer_than_its_bound_and_no_line_longer_than_a_reader_takes() -> None:
    huge = "\U0001f600" * 100_000
    decision = Decision(Verdict.DENY, huge, huge, (huge,) * 100)
    fact = Fact("request", "client", huge, huge, huge, decision, 1, huge, {"text": "\U0001f600" * 5000})
    receipt = seal(GENESIS, 1, NOON, Origin(huge, huge, huge, huge, huge, huge), fact, REDACT, VAULT)
    entry = receipt.entry
    assert len(receipt.line) < MAX_LINE
    assert (entry["truncated"], len(entry["target"]), len(entry["evidence"])) == (True, MAX_TEXT + 1, MAX_EVIDENCE)
    assert check([receipt.line]) is None


def test_a_secret_across_the_bound_of_a_column_does_not_leave_its_first_half() -> None:
    redactor = Redactor()
    redactor.add("KEY", "hunter2-hunter2-hunter2")
    target = "x" * (MAX_TEXT - 10) + "hunter2-hunter2-hunter2"
    line = seal(GENESIS, 1, NOON, ORIGIN, called(target), redactor, VAULT).line
    assert b"hunter2" not in line


@pytest.mark.parametrize("value", ["evidence", "durable\u0000", "verdict!", "notification"])
def test_a_secret_that_reads_like_a_column_name_does_not_break_the_entry(value: str) -> None:
    redactor = Redactor()
    redactor.add("KEY", value)
    receipt = seal(GENESIS, 1, NOON, ORIGIN, called(value, {value: value}), redactor, VAULT)
    assert check([receipt.line]) is None
    assert receipt.entry["target"] == "[redacted:KEY]"
    assert VAULT.opened(receipt.entry)["body"] == {"[redacted:KEY]": "[redacted:KEY]"}


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": {1, 2}}])
def test_what_json_cannot_say_is_refused_and_not_recorded_as_something_else(body: dict[str, object]) -> None:
    with pytest.raises(AuditError, match="cannot be written as JSON"):
        seal(GENESIS, 1, NOON, ORIGIN, called(body=body), REDACT, VAULT)


@given(ANY_TEXT, ANY_TEXT, st.one_of(ANY_TEXT, st.integers(), st.none()), st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_whatever_a_peer_writes_stays_one_well_formed_entry(
    method: str, target: str, request: str | int | None, body: dict[str, str]
) -> None:
    fact = Fact("request", "server", method, target, request, None, 1, "", dict(body))
    receipt = seal(GENESIS, 1, NOON, ORIGIN, fact, REDACT, VAULT)
    assert receipt.line.count(b"\n") == 1
    assert check([receipt.line]) is None
    assert (receipt.entry["method"], receipt.entry["target"], receipt.entry["request"]) == (method, target, request)


def resealed(line: bytes, **changes: object) -> bytes:
    """The entry with other columns and a hash that fits them: what somebody writes who knows the format."""
    entry = {key: value for key, value in json.loads(line).items() if key != "hash"} | changes
    core = json.dumps(entry, separators=(",", ":")).encode()
    return core[:-1] + f',"hash":"{hashlib.sha256(core).hexdigest()}"}}\n'.encode()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda line: line.replace(b"tool_2", b"tool_9"), "it was changed"),
        (lambda line: line[:-1], "no hash at its end"),
        (lambda line: b"\n", "no hash at its end"),
        (lambda line: resealed(line, seq=7), "entry 2 is expected here, and this one says 7"),
        (lambda line: resealed(line, v=1), "version 1"),
        (lambda line: resealed(line, prev="f" * 64), "does not follow entry 1"),
        (lambda line: resealed(line, extra=1), "keys of an audit entry"),
        (lambda line: resealed(line, seq="2"), "entry 2 is expected"),
    ],
)
def test_the_chain_says_what_is_wrong_with_an_entry(spoil: "type[bytes]", why: str) -> None:
    first, second = (receipt.line for receipt in chain_of(2))
    chain = Chain()
    assert chain.follow(first) == ""
    assert why in chain.follow(spoil(second))
    assert chain.follow(second) == "", "a refused line moves nothing"
