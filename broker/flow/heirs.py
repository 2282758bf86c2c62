"""Which sessions of a client the next one goes on from, so that a restart sheds no ledger.

Only a person (`bulkhead session new`) or a quiet time makes a client new.  Names of sessions are hashes.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from broker.flow.ledger import EVERYTHING, INHERITED, Read

QUIET_SECONDS: Final = 8 * 3600.0  # without a read; then the next session of a client begins with nothing
KEPT_SECONDS: Final = 14 * 86_400.0  # a session may read again long after it began
MAX_HEIRS: Final = 4096
MAX_FILE: Final = MAX_HEIRS * 64


def parse_heirs(data: bytes) -> dict[str, float]:
    """Each session of a client and when it began, the oldest first; a line that cannot be understood names none."""
    rows = (line.split(" ") for line in data.decode("ascii", "replace").split("\n"))
    return {row[0]: float(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal() and row[0].isalnum()}


def format_heirs(begun: dict[str, float]) -> bytes:
    lines = [f"{name} {int(when)}" for name, when in begun.items()][-MAX_HEIRS:]
    return "\n".join(lines).encode("ascii")


def inherited(reads: Iterable[Read]) -> tuple[Read, ...]:
    """What a new session begins with of what others read: labels by compartment, no calls and no text.

    What a person declassified was so for one session only.
    """
    found: dict[tuple[str, str], Read] = {}
    for read in reads:
        if read.clean:
            continue  # the read itself stands before it
        known = found.get((read.server, read.scope))
        flags = read.flags | known.flags if known is not None else read.flags
        kept = replace(read, method=INHERITED, target=EVERYTHING, flags=flags, digest="", count=1)
        found[read.server, read.scope] = kept
    return tuple(found.values())
