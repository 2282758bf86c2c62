"""A server's standard error: taken as fast as it comes, so that nobody blocks on it, and told in whole lines.

Only its end is kept.  What is told is whole lines, so that no secret is cut in two before somebody looks for it.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

KEPT: Final = 8192  # bytes; enough for the traceback of a server that died
READ_SIZE: Final = 65536
TOLD: Final = 16 * 1024  # bytes told at once; a longer line is left out
BURST: Final = 16  # times it is told at once, and then so often a second
PER_SECOND: Final = 1.0


class LastWords:
    """Listens on a descriptor, which it owns, until its end.

    `tell` is called with what was written and how many bytes before it were left out, being too many.
    """

    def __init__(
        self, descriptor: int, tell: Callable[[str, int], None] | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._descriptor = descriptor
        self._tell = tell
        self._kept = b""
        self._untold = b""
        self._lost = 0
        self._left, self._since = float(BURST), self._clock()
        self._open = True
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self.take)

    @property
    def text(self) -> str:
        """The last of what was written: text from outside, for `present.untrusted` and evidence only."""
        return self._kept.decode("utf-8", "replace")

    def take(self) -> None:
        """Take what stands there now.  Whoever is about to hear an answer of the same server calls this first, so that
        its words come before the end of the request they are about."""
        if not self._open:
            return
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._kept = (self._kept + data)[-KEPT:]
        if self._tell is not None:
            self._tell_lines(data)

    def finish(self) -> None:
        """It is over with the server: tell what it wrote last, and nothing after that."""
        self.take()
        if self._untold:
            self._tell_lines(b"\n")
        self._tell = None

    def close(self) -> None:
        """Stop listening.  Idempotent."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _tell_lines(self, data: bytes) -> None:
        whole, found, rest = (self._untold + data).rpartition(b"\n")
        self._untold = rest
        if len(rest) > TOLD:
            self._lost += len(rest)
            self._untold = b""
        if not found or self._tell is None:
            return
        for piece in self._pieces(whole):
            if self._may_tell():
                lost, self._lost = self._lost, 0
                self._tell(piece.decode("utf-8", "replace"), lost)
            else:
                self._lost += len(piece)

    def _pieces(self, whole: bytes) -> list[bytes]:
        """Lines together, as many as are told at once."""
        pieces: list[bytes] = []
        for line in whole.split(b"\n"):
            if len(line) > TOLD:
                self._lost += len(line)
            elif pieces and len(pieces[-1]) + len(line) < TOLD:
                pieces[-1] += b"\n" + line
            else:
                pieces.append(line)
        return pieces

    def _may_tell(self) -> bool:
        now = self._clock()
        self._left = min(float(BURST), self._left + (now - self._since) * PER_SECOND)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
