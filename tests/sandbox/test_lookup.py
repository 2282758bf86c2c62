"""Questions to the name service: one plain one is understood, and its answer holds nothing else."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.egress.lookup import NO_SUCH_NAME, answer, parse_lookup

labels = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=6).map(".".join)


def query(name: str, kind: int = 1, flags: int = 0x0100, counts: tuple[int, ...] = (1, 0, 0, 0), kin: int = 1) -> bytes:
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack(">HHHHHH", 0xBEEF, flags, *counts) + wire + struct.pack(">HH", kind, kin)


@given(names, st.integers(1, 300))
def test_a_plain_question_is_understood(name: str, kind: int) -> None:
    lookup = parse_lookup(query(name, kind))
    assert lookup is not None
    assert (lookup.id, lookup.name, lookup.kind, lookup.recursion) == (0xBEEF, name, kind, True)


def test_what_stands_behind_the_question_does_not_come_back() -> None:
    lookup = parse_lookup(query("a.test", counts=(1, 0, 0, 1)) + b"\0\0\x29\x10\0\0\0\0\0\0\0secret")
    assert lookup is not None
    assert b"secret" not in answer(lookup, NO_SUCH_NAME)


@given(names, st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), max_size=12))
def test_an_answer_fits_and_holds_the_addresses(name: str, addresses: list[IPv4Address]) -> None:
    lookup = parse_lookup(query(name))
    assert lookup is not None
    reply = answer(lookup, 0, addresses)
    id, flags, questions, records = struct.unpack(">HHHH", reply[:8])
    assert (id, flags, questions, records) == (0xBEEF, 0x8180, 1, min(len(addresses), 8))
    assert len(reply) <= 512
    end = 12 + len(lookup.wire)
    found = [IPv4Address(reply[at + 12 : at + 16]) for at in range(end, len(reply), 16)]
    assert found == addresses[:8]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        query("a.test")[:12],
        query("a.test")[:-1],
        query("a.test", flags=0x8180),  # an answer
        query("a.test", flags=0x2900),  # another operation
        query("a.test", counts=(2, 0, 0, 0)),
        query("a.test", counts=(1, 1, 0, 0)),
        query("a.test", kin=3),  # another class than the Internet's
        query("a.test").replace(b"\1a", b"\xc0\x0c"),  # a pointer
        query("a b.test"),
        query("a\0b.test"),
        query(".".join(["a" * 50] * 6)),
        query("a.test") + bytes(600),
        struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">HH", 1, 1),  # the root
    ],
)
def test_what_is_no_plain_question_has_no_answer(data: bytes) -> None:
    assert parse_lookup(data) is None


@given(st.binary(max_size=600))
def test_no_bytes_break_it(data: bytes) -> None:
    lookup = parse_lookup(data)
    assert lookup is None or lookup.wire in data
