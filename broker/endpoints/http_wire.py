"""The near end of a link whose client speaks HTTP: the link itself sees lines, as from a shim.

What is posted becomes a line; what the link says is handed on message by message, and no faster than it is taken.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.model import JsonObject
from broker.protocol.frames import MAX_FRAME, MAX_GROWTH, encode

SEND_SECONDS: Final = 30.0  # a link that takes nothing for so long is stuck behind its server


class Visit(Protocol):
    """A link that was opened: `ended` tells why it ended, `leave` ends it."""

    @property
    def link(self) -> str: ...
    @property
    def ended(self) -> Awaitable[str]: ...
    @property
    def leave(self) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True)
class Welcome:
    """A guest that may have a link.  `open` makes it for two descriptors, which it then owns.

    `open` raises BulkheadError and owns nothing if the link is refused.  `schemas` are the agreed ones of the tools,
    and `most` is the size of the largest message.
    """

    open: Callable[[tuple[int, int]], Visit]
    schemas: Mapping[str, object] = field(default_factory=dict)
    most: int = MAX_FRAME


class Wire:
    """One link.  `heard` is given each message with its text; it may wait, and the link waits with it."""

    def __init__(self, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int) -> None:
        self.visit = visit
        self.most = most
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()

    @classmethod
    async def open(cls, welcome: Welcome) -> "Wire":
        """Open a link.

        Raises:
            BulkheadError: the link was refused, and why.
        """
        ours, theirs = socket.socketpair()
        read = theirs.detach()
        write = os.dup(read)
        try:
            visit = welcome.open((read, write))
        except BaseException:
            ours.close()
            os.close(read)
            os.close(write)
            raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=welcome.most + MAX_GROWTH)
        return cls(visit, reader, writer, welcome.most)

    async def send(self, *messages: JsonObject) -> None:
        """Hand messages to the link, in order.

        Raises:
            ConnectionError, TimeoutError: the link ended, or takes nothing any more.
        """
        async with self._sending:
            self._writer.write(b"".join(map(encode, messages)))
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()

    async def listen(self, heard: Callable[[JsonObject, str], Awaitable[None]]) -> None:
        """Hand on what the link says, until it ends."""
        while line := await self._reader.readline():
            text = line.decode("utf-8").rstrip("\n")
            await heard(json.loads(text), text)

    def close(self) -> None:
        """Leave the link.  Idempotent."""
        self._writer.close()
        self.visit.leave()
