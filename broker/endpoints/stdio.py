"""Lines on a pair of descriptors: a client handed over by its shim, or a sandboxed server's pipes.

Nothing here reads ahead without bound: while the other side does not take what it was sent, reading stops.
"""

import asyncio
import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import Final

READ_SIZE: Final = 65536
HIGH_WATER: Final = 4 * 1024 * 1024  # one largest message may wait to be taken, not many


class LineEndpoint:
    """One peer that speaks JSON-RPC in lines.

    `on_bytes` is called with what arrived; `on_closed` once, when the peer's output ended or broke; `on_drained` when
    everything sent was taken.  The endpoint owns both descriptors, which are two, and closes them.
    """

    def __init__(
        self,
        read_descriptor: int,
        write_descriptor: int,
        *,
        on_bytes: Callable[[bytes], None],
        on_closed: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_descriptor = read_descriptor
        self._write_descriptor = write_descriptor
        self._on_bytes = on_bytes
        self._on_closed = on_closed
        self._on_drained = on_drained
        self._outbox = bytearray()
        self._reading = False
        self._writing = False
        self._closed = False
        self._ending = False
        self.broken = False
        """True once the peer can take nothing any more; until then an ended peer may still read."""
        self.stuck_since: float | None = None
        """Loop time since when the peer has not taken anything although something waits for it."""
        for descriptor in (read_descriptor, write_descriptor):
            os.set_blocking(descriptor, False)
        read, write = _as_socket(read_descriptor), _as_socket(write_descriptor)
        self._sockets = [each for each in (read, write) if each is not None]
        self._take: Callable[[], bytes] = (
            partial(read.recv, READ_SIZE, socket.MSG_DONTWAIT) if read else partial(os.read, read_descriptor, READ_SIZE)
        )
        self._give: Callable[[bytes | bytearray], int] = (
            (lambda data: write.send(data, socket.MSG_DONTWAIT)) if write else partial(os.write, write_descriptor)
        )

    def start(self) -> None:
        self.resume_reading()

    @property
    def waiting(self) -> int:
        """Bytes the peer has not taken yet."""
        return len(self._outbox)

    @property
    def deserted(self) -> bool:
        """Whether nobody is left who could read, found out without writing."""
        if not self.broken and not self._closed:
            look = select.poll()
            look.register(self._write_descriptor, 0)  # errors and hang-ups are told unasked, and nothing else is
            return bool(look.poll(0))
        return True

    @property
    def congested(self) -> bool:
        return len(self._outbox) > HIGH_WATER

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._read_descriptor)

    def resume_reading(self) -> None:
        if not self._reading and not self._closed and not self._ending:
            self._reading = True
            self._loop.add_reader(self._read_descriptor, self._readable)

    def send(self, data: bytes) -> None:
        """Write now what the peer takes; the rest waits in the outbox.  A peer that is gone is told to `on_closed`."""
        if self._closed or self.broken:
            return
        if self._outbox:
            self._outbox += data
            return
        written = self._write(data)
        if 0 <= written < len(data):
            self._outbox += data[written:]
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        if not self._writing:
            self._writing = True
            self.stuck_since = self._loop.time()
            self._loop.add_writer(self._write_descriptor, self._writable)

    def close(self) -> None:
        """Close both descriptors at once.  Idempotent; `on_closed` is not called for it."""
        if self._closed:
            return
        self._closed = True
        self.pause_reading()
        self._stop_writing()
        for each in self._sockets:
            each.detach()
        os.close(self._write_descriptor)
        os.close(self._read_descriptor)

    def _readable(self) -> None:
        try:
            data = self._take()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._on_bytes(data)
            return
        self._ending = True
        self.pause_reading()
        self._tell_closed()

    def _tell_closed(self) -> None:
        if not self._closed:  # closed by its owner in the meantime
            self._on_closed()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._give(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.broken = True
            self._outbox.clear()
            self._stop_writing()
            self.pause_reading()
            if not self._ending:
                self._ending = True
                self._loop.call_soon(self._tell_closed)
            return -1

    def _writable(self) -> None:
        written = self._write(self._outbox)
        if written > 0:
            del self._outbox[:written]
            self.stuck_since = self._loop.time()
        if written >= 0 and not self._outbox:
            self._stop_writing()
            self._on_drained()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._write_descriptor)
        self.stuck_since = None


def can_be_polled(descriptor: int) -> bool:
    """True for pipes and sockets, which the event loop can wait for."""
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode) or _is_socket(descriptor)


def reopened(descriptor: int, access: int) -> int:
    """An end of the same pipe that never blocks us, whatever its other holders do; a socket as it is.

    Whether a descriptor blocks belongs to what was opened, which whoever handed it over shares with us: they could
    switch it back, and then one write of ours would stop every link.  A socket is asked not to block call by call.
    `descriptor` is closed, or returned.

    Raises:
        OSError: the pipe's owner or mode does not let us open it, or nobody is at its other end any more.
    """
    if _is_socket(descriptor):
        return descriptor
    ours = os.open(f"/proc/self/fd/{descriptor}", access | os.O_NONBLOCK | os.O_CLOEXEC)
    os.close(descriptor)
    return ours


def _as_socket(descriptor: int) -> socket.socket | None:
    return socket.socket(fileno=descriptor) if _is_socket(descriptor) else None


def _is_socket(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
