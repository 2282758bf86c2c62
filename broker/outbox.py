"""What one link says to its peers, held until its receipts are written.

What is said in one turn of the loop goes out together: one write takes the receipts, another the lines.  Nothing
leaves before the receipts of all of it are written.
"""

from collections.abc import Callable
from typing import Final

from broker.endpoints.stdio import LineEndpoint

MAX_HELD: Final = 16  # messages; the peer may begin with the first ones while we are at the next


class Outbox:
    """`commit` writes the receipts of everything that was put in, or raises: then nothing of it leaves."""

    def __init__(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        self._held: list[tuple[LineEndpoint, bytes]] = []

    @property
    def full(self) -> bool:
        return len(self._held) >= MAX_HELD

    def put(self, to: LineEndpoint, line: bytes) -> None:
        """Say `line`, once `send` is called."""
        self._held.append((to, line))

    def send(self) -> None:
        """Write the receipts, then let out what was put in, to each peer in its order."""
        held, self._held = self._held, []
        self._commit()
        if len(held) == 1:
            to, line = held[0]
            to.send(line)
            return
        lines: dict[LineEndpoint, list[bytes]] = {}
        for to, line in held:
            lines.setdefault(to, []).append(line)
        for to, some in lines.items():
            to.send(b"".join(some))
