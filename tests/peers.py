"""Both far ends of a link, in the test's own hands: a client and a server of lines over real pipes."""

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass

from broker.model import JsonObject
from broker.protocol.catalog import View
from tests.protocol.stage import LEGACY, Stage
from tests.waiting import WITHIN

Answer = Callable[[JsonObject], JsonObject | None]


class FarEnd:
    """What a peer of the daemon holds.  Says and hears exactly what the test wants, never blocks the loop."""

    def __init__(self, read: int, write: int) -> None:
        self.read = read
        self.write = write
        self._heard = bytearray()
        for descriptor in (read, write):
            os.set_blocking(descriptor, False)

    async def say(self, *messages: JsonObject) -> None:
        for message in messages:
            await self.say_bytes(json.dumps(message).encode() + b"\n")

    async def say_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        async with asyncio.timeout(WITHIN):
            while rest:
                try:
                    rest = rest[os.write(self.write, rest) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)

    async def hear(self, within: float = WITHIN) -> JsonObject:
        """The next message.

        Raises:
            EOFError: the daemon closed this side.
        """
        line = await self.hear_line(within)
        if not line:
            raise EOFError
        message: JsonObject = json.loads(line)
        return message

    async def hear_line(self, within: float = WITHIN) -> bytes:
        """The next line, empty at the end."""
        async with asyncio.timeout(within):
            while b"\n" not in self._heard:
                try:
                    piece = os.read(self.read, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
                    continue
                if not piece:
                    return b""
                self._heard += piece
        line, _, rest = self._heard.partition(b"\n")
        self._heard = bytearray(rest)
        return bytes(line)

    async def hear_all(self) -> list[JsonObject]:
        """Everything up to the end."""
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.hear())
        return found

    @property
    def unheard(self) -> int:
        """Bytes that were sent and not yet read."""
        if self.read < 0:
            return 0
        size: int = struct.unpack("i", fcntl.ioctl(self.read, termios.FIONREAD, b"\0" * 4))[0]
        return size + len(self._heard)

    def stop_talking(self) -> None:
        self.write = _closed(self.write)

    def stop_hearing(self) -> None:
        self.read = _closed(self.read)

    def close(self) -> None:
        self.stop_talking()
        self.stop_hearing()


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def wire() -> tuple[tuple[int, int], FarEnd]:
    """The daemon's two descriptors of a new peer, and the peer's end."""
    ours, speak = os.pipe()
    hear, theirs = os.pipe()
    return (ours, theirs), FarEnd(hear, speak)


@dataclass(frozen=True, slots=True)
class Streams:
    stdin: int
    stdout: int
    stderr: int


class ToyServer:
    """A server instance in this process.  It answers the broker as a server with `view` does, and calls by `answer`.

    `stop` is the whole end of it, as the daemon's own instances promise.
    """

    tier = "none"
    pid = 4711
    kept_by = "nobody"
    pages = None
    warnings = ()

    def __init__(self, view: View = LEGACY, answer: Answer = lambda message: None, *, serve: bool = True) -> None:
        self.heard: list[JsonObject] = []
        self.stopped = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self._stage = Stage(live=view)
        self._answer = answer
        (stdout, stdin), self.far = wire()
        stderr, self.complain = os.pipe()
        self._streams = Streams(stdin, stdout, stderr)
        self._taken = False
        self.ending = ""
        self._work = asyncio.ensure_future(self._serve()) if serve else None

    @property
    def alive(self) -> bool:
        return not self.stopped.is_set()

    def take_streams(self) -> Streams:
        self._taken = True
        return self._streams

    async def stop(self) -> None:
        await self.may_stop.wait()
        self.leave()

    def leave(self) -> None:
        """End, at once."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        if self._work is not None:
            self._work.cancel()
        self.far.close()
        os.close(self.complain)
        if not self._taken:
            for descriptor in (self._streams.stdin, self._streams.stdout, self._streams.stderr):
                os.close(descriptor)

    async def _serve(self) -> None:
        while True:
            try:
                message = await self.far.hear(within=3600.0)
            except EOFError:
                return
            self.heard.append(message)
            reply = self._stage.from_view(message) or self._answer(message)
            if reply is not None:
                await self.far.say(reply)


def echo(message: JsonObject) -> JsonObject | None:
    """Answer every call with its own arguments."""
    if message.get("method") != "tools/call":
        return None
    words = json.dumps(message["params"].get("arguments"))
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": words}]}}
