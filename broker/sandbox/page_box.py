"""How a server asks for a page in the person's browser: `xdg-open` in its sandbox drops the address into a box of ours.

Nothing comes back and nothing is opened by it: whoever reads the box asks a person.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from broker.sandbox.browsing import MAX_ADDRESS
from broker.sandbox.sweep import Box

MAX_READ: Final = 4096  # as much as the kernel keeps in one piece
NAME: Final = "open"


class PageBox:
    """The box of one sandbox."""

    def __init__(self, uid: int) -> None:
        """`uid` is who may drop something in."""
        self._box = Box.make()
        self.path = self._box.folder / NAME
        try:
            os.mkfifo(self.path, 0o600)
            if uid != os.getuid():
                os.chown(self.path, uid, -1)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # never at its end
        except BaseException:
            self._box.remove()
            raise

    def listen(self, call: Callable[[str], None]) -> None:
        """Have `call` told of every address that is dropped in from now on; the words are the server's."""
        asyncio.get_running_loop().add_reader(self._descriptor, self._read, call)

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            self._box.remove()

    def _read(self, call: Callable[[str], None]) -> None:
        try:
            dropped = os.read(self._descriptor, MAX_READ)
        except BlockingIOError:
            return
        first = dropped.split(b"\n", 1)[0]  # one at a time: a person reads no more at once either
        call(first[: MAX_ADDRESS + 1].decode("latin-1"))
