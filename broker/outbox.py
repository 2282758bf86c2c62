"""What one link says to its peers, held until its receipts are written.

What is said in one turn of the loop goes out together: one write takes the receipts, another the lines.  Nothing
leaves before the receipts of all of it are written.
"""

from collections.abc import Callable

from broker.endpoints.stdio import LineEndpoint
from broker.model import JsonObject
from broker.protocol.frames import encode


class Outbox:
    """`commit` writes the receipts of everything that was put in, or raises: then nothing of it leaves.

    `on_behind` is told of a peer for which more than `most` bytes wait.
    """

    def __init__(self, commit: Callable[[], None], most: int, on_behind: Callable[[LineEndpoint], None]) -> None:
        self._commit = commit
        self._most = most
        self._on_behind = on_behind
        self._held: list[tuple[LineEndpoint, bytes]] = []
        self._heard: JsonObject | None = None
        self._line = b""

    def hear(self, message: JsonObject, line: bytes) -> None:
        """This came now: if it goes on as it is, and we know what we write for it, it is not written again."""
        self._heard, self._line = message, line

    def put(self, to: LineEndpoint, said: JsonObject | tuple[JsonObject, ...]) -> None:
        """Say a message, or a batch, once `send` is called."""
        self._held.append((to, self._line if said is self._heard and self._line else encode(said)))

    def send(self) -> None:
        """Write the receipts, then let out what was put in, to each peer in its order."""
        held, self._held = self._held, []
        self._heard, self._line = None, b""
        self._commit()
        lines: dict[LineEndpoint, list[bytes]] = {}
        for to, line in held:
            lines.setdefault(to, []).append(line)
        for to, some in lines.items():
            to.send(some[0] if len(some) == 1 else b"".join(some))
            if to.waiting > self._most:
                self._on_behind(to)
