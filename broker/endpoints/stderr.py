"""A server's standard error: taken as fast as it comes, so that nobody blocks on it, and forgotten but for the end."""

import asyncio
import os
from typing import Final

KEPT: Final = 8192  # bytes; enough for the traceback of a server that died
READ_SIZE: Final = 65536


class LastWords:
    """Listens on a descriptor, which it owns, until its end."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._kept = b""
        self._open = True
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    @property
    def text(self) -> str:
        """The last of what was written: text from outside, for `present.untrusted` and evidence only."""
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """Stop listening.  Idempotent."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _readable(self) -> None:
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
