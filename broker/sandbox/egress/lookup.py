"""Questions to a name service and their answers, as bytes (RFC 1035).

One plain question is understood; everything else has no answer at all.  Answers are written anew from the question that
was read, so nothing of what a server put around it comes back or goes on.  Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

MAX_QUESTION: Final = 512
MAX_ADDRESSES: Final = 8  # fits into 512 bytes beside the longest name
LIFE: Final = 30  # seconds a program may keep an answer
HEADER: Final = 12

ADDRESS, ADDRESS_6, ANYTHING = 1, 28, 255
INTERNET: Final = 1
RESPONSE, RECURSION_WANTED, RECURSION = 0x8000, 0x0100, 0x0080
OPCODE_AND_FLAGS: Final = 0xFE40  # a question: not a response, opcode 0, nothing truncated or authoritative
FINE, FAILED, NO_SUCH_NAME = 0, 2, 3

LABEL: Final = re.compile(rb"[0-9A-Za-z_-]{1,63}")


@dataclass(frozen=True, slots=True)
class Lookup:
    """One question.  `name` as it was asked, dots between the labels."""

    id: int
    recursion: bool
    name: str
    kind: int
    wire: bytes

    @property
    def wants_address(self) -> bool:
        return self.kind == ADDRESS


def parse_lookup(data: bytes) -> Lookup | None:
    """The one question `data` asks; None when it is not one that gets an answer."""
    if not HEADER < len(data) <= MAX_QUESTION:
        return None
    id, flags, questions, answers, authorities = (int.from_bytes(data[at : at + 2]) for at in range(0, 10, 2))
    if flags & OPCODE_AND_FLAGS or (questions, answers, authorities) != (1, 0, 0):
        return None
    labels: list[str] = []
    at = HEADER
    while at < len(data) and data[at]:
        label = data[at + 1 : at + 1 + data[at]]
        if len(label) != data[at] or LABEL.fullmatch(label) is None:
            return None  # a pointer, a cut, or bytes that no host has in its name
        labels.append(label.decode("ascii"))
        at += 1 + len(label)
    end = at + 5
    if not labels or end > len(data) or int.from_bytes(data[end - 2 : end]) != INTERNET or at - HEADER > 254:
        return None
    kind = int.from_bytes(data[end - 4 : end - 2])
    return Lookup(id, bool(flags & RECURSION_WANTED), ".".join(labels), kind, data[HEADER:end])


def answer(lookup: Lookup, code: int = FINE, addresses: Sequence[IPv4Address] = ()) -> bytes:
    """The answer: a code, and the addresses if any."""
    given = tuple(addresses)[:MAX_ADDRESSES]
    flags = RESPONSE | RECURSION | code | (RECURSION_WANTED if lookup.recursion else 0)
    header = b"".join(number.to_bytes(2) for number in (lookup.id, flags, 1, len(given), 0, 0))
    record = b"\xc0\x0c" + b"".join(number.to_bytes(2) for number in (ADDRESS, INTERNET)) + LIFE.to_bytes(4)
    return header + lookup.wire + b"".join(record + b"\x00\x04" + address.packed for address in given)
