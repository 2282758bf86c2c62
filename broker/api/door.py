"""The door of `connect.sock`: a shim says who it is and hands over its client's descriptors; a link is all it can get.

The conversation on this socket is three lines: the shim's hello with two descriptors, our yes or no, and at the end
why the link ended.  None of it ever reaches the client's standard output.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from broker.endpoints.stdio import can_be_polled, reopened
from broker.errors import BulkheadError, ProtocolError
from broker.model import Peer
from broker.processes import peer_of
from broker.visit import Hello, Visit

MAX_HELLO: Final = 8192
HELLO_SECONDS: Final = 5.0
MAX_LINKS: Final = 4096  # descriptors of one process; far above what a person's clients open
FIELDS: Final = 5
REST_SECONDS: Final = 0.2  # while there is nothing to let anybody in with; a shim waits 10
PAUSE_SECONDS: Final = 1.0  # until another link may have given its descriptors back

_log = logging.getLogger(__name__)


class Door:
    """All shims of one home."""

    def __init__(self, open_link: Callable[[Hello, Peer, tuple[int, int]], Visit]) -> None:
        self._open_link = open_link
        self._visitors: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._rest: asyncio.TimerHandle | None = None

    def open(self, listener: socket.socket) -> None:
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._knock)

    async def close(self) -> None:
        """Let nobody in any more, and wait until everybody was told why their link ended."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        if self._visitors:
            await asyncio.wait(self._visitors, timeout=HELLO_SECONDS)
        for task in self._visitors:
            task.cancel()
        await asyncio.gather(*self._visitors, return_exceptions=True)

    def _knock(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return  # the shim gave up
        except OSError as problem:
            _log.error("nobody can be let in for a moment: %s", problem.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)  # out of descriptors: it would wake us again and again for nothing
            loop.call_later(PAUSE_SECONDS, self._listen_again)
            return
        if len(self._visitors) >= MAX_LINKS:
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._receive(connection))
        self._visitors.add(task)
        task.add_done_callback(self._visitors.discard)

    def _listen_again(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._knock)

    async def _receive(self, connection: socket.socket) -> None:
        with connection:
            descriptors: list[int] = []
            try:
                async with asyncio.timeout(HELLO_SECONDS):
                    text = await _hello(connection, descriptors)
                visit = self._welcome(text, descriptors, connection)
            except Exception as problem:  # noqa: BLE001 - the top of this conversation: it closes, and says so
                _tell(connection, b"no " + _sentence(problem))
                return
            finally:
                for descriptor in descriptors:  # those of a link that was opened are not in here any more
                    os.close(descriptor)
            _tell(connection, b"ok " + visit.link.encode())
            await self._stay(connection, visit)

    def _welcome(self, text: bytes, descriptors: list[int], connection: socket.socket) -> Visit:
        fields = text.decode("utf-8", "replace").split("\0")
        if len(fields) != FIELDS or fields[0] != "bulkhead 1":
            raise ProtocolError("the shim", "speaks another language than this daemon", hint="bulkhead down")
        if len(descriptors) != 2 or not all(can_be_polled(descriptor) for descriptor in descriptors):
            raise ProtocolError("the shim", "did not hand over two pipes or sockets")
        try:
            descriptors[0] = reopened(descriptors[0], os.O_RDONLY)
            descriptors[1] = reopened(descriptors[1], os.O_WRONLY)
        except OSError as cause:
            raise ProtocolError("the shim", f"handed over a pipe that cannot be used: {cause.strerror}") from cause
        hello = Hello(server=fields[1], client=fields[2], secret=fields[3], cwd=fields[4])
        visit = self._open_link(hello, peer_of(connection, hello.cwd), (descriptors[0], descriptors[1]))
        descriptors.clear()  # they belong to the link now
        return visit

    async def _stay(self, connection: socket.socket, visit: Visit) -> None:
        """Until the link ends, or the shim does: a client that kills its server ends the link."""
        loop = asyncio.get_running_loop()
        ended = asyncio.ensure_future(visit.ended)
        hangup = asyncio.ensure_future(loop.sock_recv(connection, 1))
        try:
            await asyncio.wait({ended, hangup}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                visit.leave()
            reason = await asyncio.shield(ended)  # it is the link's, and says to others too why it ended
            _tell(connection, f"end {1 if reason else 0} {reason}".encode("utf-8", "replace"))
        finally:
            hangup.cancel()
            await asyncio.gather(hangup, return_exceptions=True)  # it listens on the connection, which is closed next


async def _hello(connection: socket.socket, descriptors: list[int]) -> bytes:
    """The first line, and the descriptors that came with it; `descriptors` is filled even if this fails later."""
    loop = asyncio.get_running_loop()
    text = b""
    while b"\n" not in text:
        readable = loop.create_future()
        loop.add_reader(connection, _wake, readable)
        try:
            await readable
        finally:
            loop.remove_reader(connection)
        data, received, _flags, _address = socket.recv_fds(connection, MAX_HELLO, 4, socket.MSG_CMSG_CLOEXEC)
        descriptors += received
        text += data
        if not data or len(text) > MAX_HELLO or len(descriptors) > 2:
            raise ProtocolError("the shim", "did not say hello in one line with two descriptors")
    return text.partition(b"\n")[0]


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _sentence(problem: BaseException) -> bytes:
    if isinstance(problem, BulkheadError):
        return f"{problem}\t{problem.hint or 'bulkhead status'}".replace("\n", " ").encode("utf-8", "replace")
    if isinstance(problem, OSError):
        return b"the shim did not say hello in time\tbulkhead status"
    _log.error("a link could not be opened", exc_info=problem)
    return f"the link could not be opened inside the daemon: {type(problem).__name__}\tbulkhead status".encode()


def _tell(connection: socket.socket, line: bytes) -> None:
    try:
        connection.send(line.replace(b"\n", b" ") + b"\n")
    except OSError:
        _log.debug("a shim left before it was told")
