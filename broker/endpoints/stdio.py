"""Lines on a pair of descriptors: a client handed over by its shim, or a sandboxed server's pipes.

Nothing here reads ahead without bound: while the other side does not take what it was sent, reading stops.
"""

import asyncio
import os
import stat
from collections.abc import Callable
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

    def start(self) -> None:
        self.resume_reading()

    @property
    def waiting(self) -> int:
        """Bytes the peer has not taken yet."""
        return len(self._outbox)

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
        if not self._outbox:
            written = self._write(data)
            if written < 0 or written == len(data):
                return
            data = data[written:]
        self._outbox += data
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
        os.close(self._write_descriptor)
        os.close(self._read_descriptor)

    def _readable(self) -> None:
        try:
            data = os.read(self._read_descriptor, READ_SIZE)
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
            return os.write(self._write_descriptor, data)
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
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
