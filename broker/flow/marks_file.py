"""The marks of a session's reads as bytes of a file: records, each whole or worthless.

What cannot be understood becomes an origin whose marks are unknown, and that matches everything.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.flow.labels import WORST
from broker.flow.provenance import Origin
from broker.model import ServerName

MAX_HEADER: Final = 2048
MAX_TARGET: Final = 256
UNKNOWN: Final = Origin(0, ServerName("?"), "", "", WORST.flags, blind=True)
"""Where marks came from that cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Record:
    """An origin and the marks it was noted with; `end` is where the next one begins.

    `clean`: a person declassified what was noted of this origin before.
    """

    origin: Origin
    marks: frozenset[int]
    end: int
    clean: bool = False


def written(origin: Origin, marks: Iterable[int], seal: Callable[[bytes], bytes], *, clean: bool = False) -> bytes:
    """One record.  `seal` makes a keyed hash of it."""
    body = array("Q", marks).tobytes()
    row = {
        "size": len(body), "number": origin.number, "server": origin.server, "scope": origin.scope,
        "target": origin.target[:MAX_TARGET], "flags": "".join(sorted(origin.flags)), "blind": origin.blind,
        **({"clean": True} if clean else {}),
    }  # fmt: skip
    header = json.dumps(row, separators=(",", ":")).encode("ascii")
    return header + b"\n" + body + seal(header + body)


def records(data: bytes, seal: Callable[[bytes], bytes]) -> Iterator[Record]:
    """Every whole record.  The one after the last whole one was never finished; one that was changed is `UNKNOWN`."""
    start, sealed = 0, len(seal(b""))
    while start < len(data):
        line = data.find(b"\n", start, start + MAX_HEADER)
        if line < 0:
            if len(data) - start >= MAX_HEADER:
                yield Record(UNKNOWN, frozenset(), len(data))
            return
        origin, size, clean = _origin(data[start:line])
        end = line + 1 + size + sealed
        if end > len(data) and origin is not UNKNOWN:
            return
        body = data[line + 1 : line + 1 + size]
        if origin is UNKNOWN or seal(data[start:line] + body) != data[end - sealed : end]:
            yield Record(UNKNOWN, frozenset(), len(data))  # nobody knows where the next one begins
            return
        yield Record(origin, frozenset(array("Q", body)), end, clean)
        start = end


def _origin(header: bytes) -> tuple[Origin, int, bool]:
    try:
        row = json.loads(header)
        texts = [row[name] for name in ("server", "scope", "target", "flags")]
        size = row["size"]
        if all(isinstance(text, str) for text in texts) and isinstance(size, int) and size >= 0 and size % 8 == 0:
            server, scope, target, flags = texts
            if set(flags) <= WORST.flags:
                return Origin(int(row["number"]), ServerName(server), scope, target, frozenset(flags),
                              bool(row["blind"])), size, row.get("clean") is True  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # changed by somebody: the unknown source below is the safe reading
    return UNKNOWN, 0, False
