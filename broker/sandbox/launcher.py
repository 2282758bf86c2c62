"""From a SandboxSpec to a running Instance: build, wait at the gate, limit, let go.

No server's first instruction runs before the daemon, still alive, said so; and whatever fails on the way leaves
nothing behind.
"""

import asyncio
import contextlib
import itertools
import json
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from broker.config import Waits
from broker.errors import SandboxError
from broker.model import Fact, SandboxSpec, ServerName
from broker.sandbox import bubblewrap
from broker.sandbox.bubblewrap import Command, Ends
from broker.sandbox.egress.outside import real_outside
from broker.sandbox.egress.service import Egress
from broker.sandbox.egress.way import Outside, Way
from broker.sandbox.hosts import HostRules
from broker.sandbox.process import Instance, Streams, Tree
from broker.sandbox.supervisor import Started, Supervisor, or_discard, readable
from broker.sandbox.sweep import sweep
from broker.sandbox.tiers import Tier
from broker.sandbox.watch import Watch

MAX_INFO: Final = 4096  # bwrap writes a few numbers
SHOWN_COMPLAINT: Final = 400
CREDENTIALS: Final = struct.Struct("3i")
FILTERED: Final = b"\nSeccomp:\t2\n"
ARMED_LIMIT: Final = 5.0
ARMED_PAUSE: Final = 0.001
SWEEP_PAUSES: Final = (0.0, 0.05, 0.5)


class Launcher:
    """Starts servers in the sandboxes this machine can build."""

    def __init__(
        self, supervisor: Supervisor, tier: Tier, waits: Waits | None = None, outside: Outside | None = None
    ) -> None:
        """`outside` is the network that servers with hosts get a part of."""
        self._outside = outside or real_outside()
        self._supervisor = supervisor
        self._tier = tier
        self._waits = waits or Waits()
        self._uids: Iterator[int] = itertools.cycle(tier.uids or (os.getuid(),))

    @property
    def tier(self) -> Tier:
        return self._tier

    async def spawn(self, spec: SandboxSpec, record: Callable[[Fact], None] | None = None) -> Instance:
        """Start the server of `spec` and return once it has been let go.

        `record` takes what it does on the network: it is called before that happens, and prevents it by raising.
        A server with hosts is not started without it.

        Raises:
            MachineError: this machine cannot build a sandbox.
            SandboxError: this one could not be built; with what bwrap said.
        """
        tier = self._tier.require()
        egress = None
        if spec.hosts:
            if record is None:
                raise SandboxError(f"{spec.server} has a network, and nobody keeps its receipts")
            egress = Egress(Way(spec.server, HostRules.of(spec.hosts), self._outside, record))
        wires = _Wires()
        try:
            async with asyncio.timeout(self._waits.launch):
                return await self._build(spec, tier, wires, egress, record)
        except TimeoutError as cause:
            limit = f"{self._waits.launch:.0f} seconds"
            raise SandboxError(f"the sandbox of {spec.server} was not ready within {limit}") from cause
        finally:
            wires.close()
            if not self._supervisor.alive:
                await or_discard(_sweep_up(), lambda _: None)

    async def _build(
        self,
        spec: SandboxSpec,
        tier: Tier,
        wires: "_Wires",
        egress: Egress | None,
        record: Callable[[Fact], None] | None,
    ) -> Instance:
        identity = tier.identity(next(self._uids))
        # In a thread: a granted folder may lie on a network that hangs.
        composing = asyncio.to_thread(bubblewrap.command, spec, tier.bwrap, identity, wires.hand_over())
        command = await or_discard(composing, Command.close)
        started = await self._supervisor.spawn(command)
        try:
            tree, watch = await self._at_the_gate(
                spec, started, wires, egress, limit_processes=identity.setpriv is None
            )
        except BaseException:
            started.discard()
            if egress is not None:
                egress.close()
            raise
        streams = wires.take_streams()
        return Instance(
            spec.server, tier.name, tree, streams, self._waits, command.warnings, egress, spec.limits, watch, record
        )

    async def _at_the_gate(
        self, spec: SandboxSpec, started: Started, wires: "_Wires", egress: Egress | None, *, limit_processes: bool
    ) -> tuple[Tree, Watch]:
        first_pid = await wires.first_process(spec.server)
        server_pid = await wires.server_process(spec.server)
        first = server = -1
        watch: Watch | None = None
        try:
            first = os.pidfd_open(first_pid)
            server = os.pidfd_open(server_pid)
            if limit_processes:
                hard = resource.prlimit(server_pid, resource.RLIMIT_NPROC)[1]
                most = spec.limits.processes if hard == resource.RLIM_INFINITY else min(spec.limits.processes, hard)
                resource.prlimit(server_pid, resource.RLIMIT_NPROC, (most, most))
            await _armed(first_pid)
            if egress is not None:
                await self._open_ways_out(spec, first_pid, egress)
            watch = Watch(spec.server, first_pid, spec.limits)
            wires.let_go()  # fails if the gate is gone; so both were alive when their descriptors were opened
        except BaseException as cause:
            if watch is not None:
                watch.stop()
            for descriptor in (first, server):
                if descriptor >= 0:
                    os.close(descriptor)
            if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
                raise wires.failure(spec.server) from cause
            raise
        return Tree(started, first, server, server_pid), watch

    async def _open_ways_out(self, spec: SandboxSpec, first_pid: int, egress: Egress) -> None:
        """Serve the sandbox's network before its server runs.  Without the filter there is no server."""
        namespace = os.open(f"/proc/{first_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            listeners = await self._supervisor.listen(namespace, HostRules.of(spec.hosts).ports)
        except SandboxError as cause:
            raise SandboxError(
                f"the network of {spec.server} cannot be filtered here, so it was not started: {cause}",
                hint=f"bulkhead doctor says why; without hosts, {spec.server} starts without a network",
            ) from cause
        await egress.open(listeners)


async def _sweep_up() -> None:
    """Kill what the supervisor had half built when it died itself: nobody else adopts and ends it.

    Its outer process may need a moment to die, and only then is the rest known for what it is.
    """
    for pause in SWEEP_PAUSES:
        await asyncio.sleep(pause)
        await asyncio.to_thread(sweep)


class _Wires:
    """Everything between the daemon and one sandbox until it runs."""

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


async def _armed(first_pid: int) -> None:
    """Wait until process 1 has armed its parent-death signal: right after that it loads the filter, which shows."""
    async with asyncio.timeout(ARMED_LIMIT):
        while FILTERED not in _status(first_pid):  # noqa: ASYNC110 - the kernel has no event for this
            await asyncio.sleep(ARMED_PAUSE)


def _status(pid: int) -> bytes:
    with open(f"/proc/{pid}/status", "rb") as file:
        return file.read(16_384)
