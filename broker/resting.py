"""Which servers are stopped because nobody uses them: only such as hold nothing between two calls.

A shipped label or a person says so of a server; it starts again, verified as ever, when it is needed.  Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.model import LinkId

STATELESS_SECONDS: Final = 300
"""How long a server that its label calls stateless is kept for the next call: a person's pause between two thoughts."""
LEAST_SECONDS: Final = 5.0  # an application calls several times in a row; want of memory does not stop it meanwhile


@dataclass(frozen=True, slots=True)
class Unused:
    """A running server that may be stopped, and for how long nobody used it.

    `after` is when it is stopped in any case; times are seconds, `memory` bytes.
    """

    link: LinkId
    seconds: float
    after: float
    memory: int = 0


def stopped_after(idle: int, stateless: bool) -> float:
    """Seconds without use after which a server is stopped; 0 for never.  `idle` is a person's choice, 0 if none."""
    return idle or (STATELESS_SECONDS if stateless else 0)


def stopping(unused: Sequence[Unused], together: int, budget: int) -> dict[LinkId, str]:
    """Which of `unused` are stopped now, and why.

    `together` is what all servers use: over `budget`, those that were unused the longest go first, as many as it takes.
    """
    found = {
        one.link: f"it was not used for {one.after:.0f} s; it starts again when it is needed"
        for one in unused
        if one.seconds >= one.after
    }
    left = together - sum(one.memory for one in unused if one.link in found)
    for one in sorted(unused, key=lambda one: -one.seconds):
        if left <= budget:
            break
        if one.link not in found and one.seconds >= LEAST_SECONDS and one.memory:
            found[one.link] = "all servers together take too much memory; it starts again when it is needed"
            left -= one.memory
    return found
