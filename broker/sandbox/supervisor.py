"""The single-threaded process that starts every sandbox and, with the kernel, ends it.

It is forked before the daemon has a thread, because the kernel's parent-death signal follows the thread, not the
process.  When the daemon goes, however it goes, everything started here goes; when this process goes, the kernel
kills what it started.  One request at a time: a message with descriptors in, a message with descriptors out.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from broker.errors import SandboxError
from broker.sandbox.commands import Command
from broker.sandbox.kernel import memory_file
from broker.sandbox.reaper import LISTEN, MAX_ANSWER, MAX_PASSED, REACH, SPAWN, supervise
from broker.sandbox.sweep import sweep, sweep_boxes

T = TypeVar("T")

DIED: Final = "the supervisor has died, and every server with it"
RESTART: Final = "restart: bulkhead down, bulkhead up"
EXCHANGE_LIMIT: Final = 15.0  # a fork and a message take 2 ms; a machine that swaps needs longer
END_LIMIT: Final = 5.0
"""How long to wait for the kernel to kill everything; 64 processes took 22 ms."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process the supervisor started.  `status` yields its wait status once it was reaped, and then ends."""

    pid: int
    pidfd: int
    status: int

    def discard(self) -> None:
        """Kill it and let go of it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.close(self.pidfd)
        os.close(self.status)


class Supervisor:
    """The daemon's handle on it."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._turn = asyncio.Lock()
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def start(cls) -> "Supervisor":
        """Fork it, after removing what an earlier one may have left.  Call this first of all.

        Raises:
            SandboxError: this process already has more than one thread.
        """
        if len(os.listdir("/proc/self/task")) != 1:
            raise SandboxError("the supervisor must be started before any thread")
        sweep()
        sweep_boxes()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        daemon = os.getpid()
        pid = os.fork()
        if pid == 0:
            supervise(its.detach(), daemon)
        its.close()
        ours.setblocking(False)
        return cls(ours, pid)

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        if self._pidfd < 0:
            return False
        look = select.poll()
        look.register(self._pidfd, select.POLLIN)
        return not look.poll(0)

    @contextlib.contextmanager
    def watched(self, died: Callable[[], None]) -> Iterator[None]:
        """Call `died` once if it dies meanwhile: what it had half built may then wait for its dead parent for ever."""
        if not self.alive:
            died()
            yield
            return
        loop, pidfd = asyncio.get_running_loop(), os.dup(self._pidfd)

        def tell() -> None:
            loop.remove_reader(pidfd)
            died()

        loop.add_reader(pidfd, tell)
        try:
            yield
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    async def spawn(self, command: Command) -> Started:
        """Start `command`, which is closed afterwards in any case.

        Raises:
            SandboxError: the supervisor is gone, does not answer, or could not fork.
        """
        return await or_discard(self._exchange(command), Started.discard)

    async def listen(self, namespace: int, ports: Sequence[int]) -> list[socket.socket]:
        """Listeners inside the network `namespace`: the proxy's, one for each of `ports`, the name service's.

        Takes `namespace` over.

        Raises:
            SandboxError: this machine does not let us in there, or the supervisor is gone.
        """
        return await or_discard(self._sockets(LISTEN, namespace, ports, len(ports) + 2), _close_all)

    async def reach(self, namespace: int, port: int) -> socket.socket:
        """A connection to what listens at `port` inside the network `namespace`, which it takes over.

        Raises:
            SandboxError: nothing listens there, or the supervisor is gone.
        """
        (connection,) = await or_discard(self._sockets(REACH, namespace, (port,), 1), _close_all)
        return connection

    async def stop(self) -> None:
        """End it and everything it started.  Idempotent.

        Raises:
            SandboxError: it is still there after `END_LIMIT`.
        """
        self._channel.close()
        if self._pidfd < 0:
            return
        pidfd, self._pidfd = self._pidfd, -1
        try:
            if not await readable(pidfd, END_LIMIT):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if not await readable(pidfd, END_LIMIT):
                    raise SandboxError(f"the supervisor (process {self.pid}) cannot be ended")
            _collect(self.pid)
        finally:
            os.close(pidfd)

    async def _exchange(self, command: Command) -> Started:
        try:
            async with self._turn:
                return await self._start(command)
        finally:
            command.close()

    async def _sockets(self, what: bytes, namespace: int, ports: Sequence[int], count: int) -> list[socket.socket]:
        try:
            async with self._turn:
                told, passed = await self._ask(what, {"ports": list(ports)}, (namespace,))
        finally:
            os.close(namespace)
        listeners = [socket.socket(fileno=descriptor) for descriptor in passed]
        if "error" in told or len(listeners) != count:
            _close_all(listeners)
            raise SandboxError(str(told.get("error", "not all sockets came"))[:300])
        for listener in listeners:
            listener.setblocking(False)
        return listeners

    async def _start(self, command: Command) -> Started:
        request: dict[str, Any] = {
            "argv": command.argv,
            "env": dict(command.env),
            "rlimits": command.rlimits,
            "cwd": command.cwd,
            "watched": command.watched,
            "groups": command.groups,
            "thawing": command.thawing,
        }
        if command.landlock is not None:
            request["landlock"] = command.landlock
        told, passed = await self._ask(SPAWN, request, command.descriptors)
        if "error" in told or len(passed) != 2:
            for descriptor in passed:
                os.close(descriptor)
            raise SandboxError(f"the supervisor could not start a process: {told.get('error', 'no descriptors')}")
        return Started(int(told["pid"]), *passed)

    async def _ask(
        self, what: bytes, words: dict[str, Any], descriptors: Sequence[int]
    ) -> tuple[dict[str, Any], list[int]]:
        request = json.dumps(words, ensure_ascii=True).encode()
        if self._channel.fileno() < 0:
            raise SandboxError("the supervisor was stopped: no server can be started")
        body = memory_file("request", request)
        try:
            # Strictly one request at a time: the socket's buffer is empty, this cannot block.
            socket.send_fds(self._channel, [what], [body, *descriptors])
            if not await readable(self._channel.fileno(), EXCHANGE_LIMIT):
                self._channel.close()  # its late answer would be taken for another one's
                raise SandboxError(f"the supervisor did not answer within {EXCHANGE_LIMIT:.0f} seconds and was ended")
            answer, passed, _, _ = socket.recv_fds(self._channel, MAX_ANSWER, MAX_PASSED, socket.MSG_CMSG_CLOEXEC)
        except OSError as cause:
            raise SandboxError(f"the supervisor cannot be reached: {cause.strerror}", hint=RESTART) from cause
        finally:
            os.close(body)
        if not answer:
            raise SandboxError(DIED, hint=RESTART)
        return json.loads(answer), passed


async def readable(descriptor: int, limit: float | None) -> bool:
    """Wait until `descriptor` can be read, at most `limit` seconds (None: the caller has set one); whether it can."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        async with asyncio.timeout(limit):
            await ready
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def _close_all(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _collect(dead: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody else of this process waited for it
        os.waitpid(dead, os.WNOHANG)


async def or_discard(work: Coroutine[Any, Any, T], discard: Callable[[T], None]) -> T:
    """The result of `work`, which is never cut short: if the caller is cancelled meanwhile, `discard` gets it."""

    def drop(done: "asyncio.Future[T]") -> None:
        if not done.cancelled() and done.exception() is None:
            discard(done.result())

    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(drop)
        raise
