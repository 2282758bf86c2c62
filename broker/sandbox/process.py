"""One running server as the daemon sees it: three streams, how it ends, and an ordered, bounded stop.

The rule: once `wait` or `stop` has returned, no process of the sandbox is left.  Process 1 of its process namespace
dies only after all others in it, and that is what is waited for.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from broker.config import Waits
from broker.errors import SandboxError
from broker.model import Fact, Limits, ServerName
from broker.sandbox.cgroups import Group
from broker.sandbox.doorway import Doorway
from broker.sandbox.egress.service import Egress
from broker.sandbox.limits import Overrun, overrun
from broker.sandbox.page_box import PageBox
from broker.sandbox.reaper import STATUS
from broker.sandbox.supervisor import Started
from broker.sandbox.watch import Watch

T = TypeVar("T")

TOO_LARGE: Final = 128 + signal.SIGXFSZ  # as bwrap tells the end of a server that the kernel's own limit ended
KILL_LIMIT: Final = 10.0  # a fork storm of 128 processes took 160 ms; a slow disk may hold one in the kernel


@dataclass(frozen=True, slots=True)
class Streams:
    """The daemon's ends, non-blocking.  Whoever took them closes them."""

    stdin: int
    stdout: int
    stderr: int

    def close(self) -> None:
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes that matter: bwrap outside, process 1 inside, the server.  `first` and `server` are pidfds."""

    outer: Started
    first: int
    server: int
    server_pid: int


class Instance:
    """A server in its sandbox.  `pid` is the sandbox's outermost process: every process inside descends from it."""

    def __init__(
        self,
        server: ServerName,
        tier: str,
        tree: Tree,
        streams: Streams,
        waits: Waits,
        warnings: tuple[str, ...],
        egress: Egress | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        watch: Watch | None = None,
        record: Callable[[Fact], None] | None = None,
        group: Group | None = None,
        kept_by: str = "watch",
    ) -> None:
        """`egress` serves its network, if it has one, and is closed with it; so is the `watch` of its `limits`.
        `group` is the control group it is in, which ends with it; `kept_by` says who keeps the limits."""
        self.server = server
        self.tier = tier
        self.pid = tree.outer.pid
        self.server_pid = tree.server_pid
        self.warnings = warnings
        self._tree = tree
        self._streams: Streams | None = streams
        self._waits = waits
        self._egress = egress
        self._limits = limits
        self._at_end: list[Callable[[], Awaitable[None]]] = []
        self._watch = watch
        self._group = group
        self.kept_by = kept_by
        self.doorway: Doorway | None = None
        """What lets this machine reach what it listens on; closed with it."""
        self.pages: PageBox | None = None
        """What it asks to have opened in the browser; closed with it."""
        self._record: Callable[[Fact], None] = record or (lambda _: None)
        self.ending = ""
        """Why we ended it, in words for a person; empty while it runs, or when it ended by itself."""
        self._code: int | None = None
        self._first_alive = True
        self._stopping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(tree.outer.status, self._outer_reaped)
        self._loop.add_reader(tree.first, self._first_died)
        if watch is not None:
            watch.start(self._end_over)

    @property
    def stdin(self) -> int:
        return self._held().stdin

    @property
    def stdout(self) -> int:
        return self._held().stdout

    @property
    def stderr(self) -> int:
        return self._held().stderr

    @property
    def alive(self) -> bool:
        return not self._ended.done()

    def regrant(self, hosts: tuple[str, ...]) -> None:
        """Let it reach these hosts from now on; a sandbox that has no network keeps none."""
        if self._egress is not None:
            self._egress.regrant(hosts)

    @property
    def freezes(self) -> bool:
        """Whether it can be held still."""
        return self._group is not None and self._group.freezes

    async def freeze(self) -> None:
        """Hold every process of it still, so that it uses no processor time, until `thaw`.  Idempotent.

        Raises:
            SandboxError: it cannot be here, and goes on.
        """
        if self._group is None:
            hint = "bulkhead doctor says how limits are kept"
            raise SandboxError(f"{self.server} has no control group and cannot be held still", hint=hint)
        await asyncio.to_thread(self._group.freeze)

    def thaw(self) -> None:
        """Let it go on.  Idempotent."""
        if self._group is not None:
            self._group.thaw()

    def at_end(self, work: Callable[[], T], then: Callable[[T], None] | None = None) -> None:
        """Have `stop` do `work`, in a thread, once the tree is gone, and `then` take what it found."""

        async def do() -> None:
            found = await asyncio.to_thread(work)
            if then is not None:
                then(found)

        self._at_end.append(do)

    def take_streams(self) -> Streams:
        """Hand the three descriptors over.  Close stdin before `stop`: that is how a server is asked to leave."""
        streams = self._held()
        self._streams = None
        return streams

    async def wait(self) -> int:
        """The exit code, once the whole tree is gone: as the shell says it (128 + signal), -9 for a killed sandbox."""
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Close stdin, wait, ask it to terminate, wait, kill the sandbox.

        Idempotent; goes on when the caller is cancelled; due also after the server ended by itself.

        Raises:
            SandboxError: the kernel did not end the processes within `KILL_LIMIT`.
        """
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop())
        await asyncio.shield(self._stopping)

    def kill(self) -> None:
        """Kill the sandbox now; `wait` tells when it is gone."""
        self.thaw()  # what is held still by version 1 cannot be killed
        for pidfd in (self._tree.outer.pidfd, self._tree.first):
            self._signal(pidfd, signal.SIGKILL)

    def _end_over(self, found: Overrun) -> None:
        if self.ending:  # its end was seen by both of those who look
            return
        self.ending = found.text
        body = {"limit": found.flag, "reason": found.text}
        try:
            self._record(Fact("exit", "broker", "limit", self.server, body=body))
        finally:
            self.kill()

    async def _stop(self) -> None:
        self.thaw()
        try:
            await self._end()
        finally:
            if self._group is not None:
                await asyncio.to_thread(self._group.end)
            if self.doorway is not None:
                self.doorway.close()
                await self.doorway.wait_closed()
            if self._egress is not None:
                self._egress.close()
                await self._egress.wait_closed()
            while self._at_end:
                await self._at_end.pop()()

    async def _end(self) -> None:
        streams, self._streams = self._streams, None
        try:
            if streams is not None:
                os.close(streams.stdin)
            if await self._ends_within(self._waits.stop_stdin):
                return
            self._signal(self._tree.server, signal.SIGTERM)
            if await self._ends_within(self._waits.stop_terminate):
                return
            self.kill()
            if not await self._ends_within(KILL_LIMIT):
                late = f"{KILL_LIMIT:.0f} s after SIGKILL"
                raise SandboxError(f"{self.server} (process {self.pid}) is still there {late}")
        finally:
            if streams is not None:
                os.close(streams.stdout)
                os.close(streams.stderr)

    async def _ends_within(self, limit: float) -> bool:
        await asyncio.wait((self._ended,), timeout=limit)
        return self._ended.done()

    def _outer_reaped(self) -> None:
        self._loop.remove_reader(self._tree.outer.status)
        told = os.read(self._tree.outer.status, STATUS.size)
        if len(told) == STATUS.size:
            self._code = os.waitstatus_to_exitcode(STATUS.unpack(told)[0])
        else:  # the supervisor died and could not say; the kernel kills what it started, and so do we
            self._code = -signal.SIGKILL
        self.kill()
        if not self.ending and (found := self._ended_by_the_kernel()) is not None:
            self._end_over(found)
        self._settle()

    def _ended_by_the_kernel(self) -> Overrun | None:
        """The limit that the kernel itself ended it for."""
        if self._code == TOO_LARGE:
            return overrun(self.server, self._limits, "file-size")
        return self._watch.last_look() if self._watch is not None else None

    def _first_died(self) -> None:
        self._loop.remove_reader(self._tree.first)
        self._first_alive = False
        self._settle()

    def _settle(self) -> None:
        if self._code is None or self._first_alive:
            return
        for descriptor in (self._tree.outer.pidfd, self._tree.outer.status, self._tree.first, self._tree.server):
            os.close(descriptor)
        if self.pages is not None:
            self.pages.close()
        if self.doorway is not None:
            self.doorway.close()
        if self._egress is not None:
            self._egress.close()
        if self._watch is not None:
            self._watch.stop()
        self._ended.set_result(self._code)

    def _signal(self, pidfd: int, number: signal.Signals) -> None:
        if self._ended.done():  # the descriptors are closed
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)

    def _held(self) -> Streams:
        if self._streams is None:
            raise SandboxError(f"the streams of {self.server} were taken")
        return self._streams
