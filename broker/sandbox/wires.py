"""Everything between the daemon and one sandbox until it runs: its streams, the gate, what bwrap tells.

Whoever speaks at the gate is named by the kernel, and nobody speaks there before it is built or after it is let go.
"""

import contextlib
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from broker.errors import SandboxError
from broker.model import ServerName
from broker.sandbox.commands import Ends
from broker.sandbox.process import Streams
from broker.sandbox.supervisor import readable

MAX_INFO: Final = 4096  # bwrap writes a few numbers
SHOWN_COMPLAINT: Final = 400
CREDENTIALS: Final = struct.Struct("3i")
PASSED: Final = struct.Struct("i")


class Wires:
    """Both ends of all of them; `close` closes what was not handed over."""

    def __init__(self) -> None:
        opened: list[int] = []
        try:
            for _ in range(4):
                opened += os.pipe2(os.O_CLOEXEC)
            self._gate, gate = socket.socketpair()
        except OSError as cause:
            for descriptor in opened:
                os.close(descriptor)
            raise SandboxError(f"no sandbox can be started: {cause.strerror}", hint="close some sessions") from cause
        stdin, stdin_ours, stdout_ours, stdout, stderr_ours, stderr, self._info, info = opened
        self._theirs: Ends | None = Ends(stdin, stdout, stderr, gate.detach(), info)
        self._streams: Streams | None = Streams(stdin_ours, stdout_ours, stderr_ours)
        self._gate.setblocking(False)
        # The kernel then says, in our own numbers, which process speaks at the gate: the one that becomes the server.
        self._gate.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for descriptor in (stdin_ours, stdout_ours, stderr_ours, self._info):
            os.set_blocking(descriptor, False)

    def hand_over(self) -> Ends:
        ends, self._theirs = self._theirs, None
        assert ends is not None
        return ends

    def take_streams(self) -> Streams:
        streams, self._streams = self._streams, None
        assert streams is not None
        return streams

    def let_go(self) -> None:
        self._gate.send(b"\n")

    async def first_process(self, server: ServerName) -> int:
        """Process 1 of the sandbox, in our numbers, as bwrap reports it."""
        told = b""
        while b"}" not in told:
            await readable(self._info, None)
            part = os.read(self._info, MAX_INFO)
            told += part
            if not part or len(told) > MAX_INFO:
                raise self.failure(server)
        return int(json.loads(told)["child-pid"])

    async def listeners(self, server: ServerName) -> Sequence[socket.socket]:
        """What the program before the gate made inside: the proxy's listener, and a socket nobody sends names to."""
        await readable(self._gate.fileno(), None)
        room = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(2 * PASSED.size)
        said, ancillary, _, _ = self._gate.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
        passed = [data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)]
        found = [socket.socket(fileno=number) for data in passed for (number,) in PASSED.iter_unpack(data)]
        if said != b"l" or len(found) != 2:
            for listener in found:
                listener.close()
            raise self.failure(server)
        for listener in found:
            listener.setblocking(False)
        return found

    async def server_process(self, server: ServerName) -> int:
        """The process that waits at the gate."""
        await readable(self._gate.fileno(), None)
        said, ancillary, _, _ = self._gate.recvmsg(16, socket.CMSG_SPACE(CREDENTIALS.size))
        for level, kind, data in ancillary:
            if said and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, _, _ = CREDENTIALS.unpack(data[: CREDENTIALS.size])
                if pid > 0:
                    return int(pid)
        raise self.failure(server)

    def failure(self, server: ServerName) -> SandboxError:
        """What bwrap, setpriv or the gate wrote before giving up; never a server's words, for none has run."""
        said = b""
        if self._streams is not None:
            with contextlib.suppress(BlockingIOError):
                said = os.read(self._streams.stderr, 4 * SHOWN_COMPLAINT)
        text = " ".join("".join(c if c.isprintable() else " " for c in said.decode(errors="replace")).split())
        return SandboxError(
            f"the sandbox of {server} could not be built: {text[:SHOWN_COMPLAINT] or 'bwrap ended without a word'}",
            hint="bulkhead doctor shows what this machine can enforce",
        )

    def close(self) -> None:
        self._gate.close()
        theirs, self._theirs = self._theirs, None
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.close()
        if theirs is not None:
            for descriptor in (theirs.stdin, theirs.stdout, theirs.stderr, theirs.gate, theirs.info):
                os.close(descriptor)
        info, self._info = self._info, -1
        if info >= 0:
            os.close(info)
