"""From a SandboxSpec to a running Instance: build, wait at the gate, limit, let go.

No server's first instruction runs before the daemon, still alive, said so; and whatever fails on the way leaves
nothing behind.
"""

import asyncio
import itertools
import os
import resource
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from broker.config import Waits
from broker.errors import SandboxError
from broker.model import Fact, Proof, SandboxSpec
from broker.sandbox.browsing import asks_for_pages
from broker.sandbox.cgroups import Group
from broker.sandbox.commands import Command, Identity
from broker.sandbox.composing import compose
from broker.sandbox.delegation import Groups, no_groups
from broker.sandbox.doorway import Doorway
from broker.sandbox.egress.leaving import Bodies
from broker.sandbox.egress.making import make_egress
from broker.sandbox.egress.outside import real_outside
from broker.sandbox.egress.service import Egress
from broker.sandbox.egress.way import Outside
from broker.sandbox.eyes import Eyes, Seen, watched
from broker.sandbox.filters import armed
from broker.sandbox.page_box import PageBox
from broker.sandbox.plan import plan_probe, rules_of
from broker.sandbox.process import Instance, Tree
from broker.sandbox.supervisor import DIED, RESTART, Started, Supervisor, or_discard
from broker.sandbox.sweep import Box, sweep_up
from broker.sandbox.tiers import STARTS_NOTHING, Tier, from_inside
from broker.sandbox.watch import Watch
from broker.sandbox.wires import Wires

PROBE_HOST: Final = "host.invalid"


class NetworkError(SandboxError):
    """A sandbox was built, and its network cannot be entered from outside."""


class Launcher:
    """Starts servers in the sandboxes this machine can build."""

    def __init__(
        self,
        supervisor: Supervisor,
        tier: Tier,
        waits: Waits | None = None,
        outside: Outside | None = None,
        groups: Groups | None = None,
    ) -> None:
        """`outside` is the network that servers with hosts get a part of; `groups` are where limits are kept."""
        self._groups = groups or no_groups()
        self._outside = outside or real_outside()
        self._supervisor = supervisor
        self._tier = tier
        self._waits = waits or Waits()
        self._uids: Iterator[int] = itertools.cycle(tier.uids or (os.getuid(),))

    @property
    def tier(self) -> Tier:
        return self._tier

    @property
    def limits(self) -> str:
        """Who keeps the limits, for a person."""
        return self._groups.note

    async def settle(self) -> Tier:
        """Try how a sandbox gets its network, which decides the tier that is in force from now on."""
        if self._tier.name in {"B", *STARTS_NOTHING}:
            return self._tier
        probe = replace(plan_probe(("/bin/true",)), hosts=(PROBE_HOST,))
        try:
            await (await self.spawn(probe, lambda _: None)).stop()
        except NetworkError as cause:
            self._tier = from_inside(self._tier, str(cause.__cause__))
        return self._tier

    def identity(self) -> Identity:
        """Who the next sandbox will be to the kernel: as root, another user each time.

        Raises:
            MachineError: this machine cannot build a sandbox.
        """
        return self._tier.require().identity(next(self._uids))

    async def spawn(
        self,
        spec: SandboxSpec,
        record: Callable[[Fact], None] | None = None,
        identity: Identity | None = None,
        seen: Seen | None = None,
        proof: Proof | None = None,
        bodies: Bodies | None = None,
    ) -> Instance:
        """Start the server of `spec` and return once it has been let go.  `identity` was asked for before.

        What `spec` runs may be read and judged meanwhile: the gate opens only after `proof` answered.

        `record` takes what it does on the network: it is called before that happens, and prevents it by raising.
        A server with hosts is not started without it.  `bodies` judges what it sends by itself.  With `seen`, it is
        watched, and what it asks for in vain noted.

        Raises:
            MachineError: this machine cannot build a sandbox.
            SandboxError: this one could not be built; with what bwrap said.
            TrustError: what `proof` raised; nothing of the server has run.
        """
        if identity is None:
            identity = self.identity() if spec.boxed else Identity(os.getuid(), os.getgid())
        egress = None
        if spec.hosts and spec.boxed and self._tier.name != "B":
            if record is None:
                raise SandboxError(f"{spec.server} has a network, and nobody keeps its receipts")
            egress = make_egress(spec, rules_of(spec), self._outside, record, bodies)
        doorway = self._doorway(spec, record) if spec.listen and spec.boxed else None
        try:
            instance = await self._spawn(spec, identity, egress, record, seen, partial(self._prove, proof), doorway)
        except BaseException:
            if doorway is not None:
                doorway.close()
            raise
        instance.doorway = doorway
        return instance

    async def _spawn(
        self,
        spec: SandboxSpec,
        identity: Identity,
        egress: Egress | None,
        record: Callable[[Fact], None] | None,
        seen: Seen | None,
        prove: Callable[[asyncio.Timeout], Awaitable[None]],
        doorway: Doorway | None,
    ) -> Instance:
        wires = Wires()
        try:
            async with asyncio.timeout(self._waits.launch) as end:
                with self._supervisor.watched(lambda: None if end.expired() else end.reschedule(0)):
                    return await self._build(
                        *(spec, identity, wires, egress, record, seen, partial(prove, end), doorway)
                    )
        except TimeoutError as cause:
            if not self._supervisor.alive:
                raise SandboxError(DIED, hint=RESTART) from cause
            limit = f"{self._waits.launch:.0f} seconds"
            raise SandboxError(f"the sandbox of {spec.server} was not ready within {limit}") from cause
        finally:
            wires.close()
            if not self._supervisor.alive:
                await or_discard(sweep_up(), lambda _: None)

    async def _build(
        self,
        spec: SandboxSpec,
        identity: Identity,
        wires: Wires,
        egress: Egress | None,
        record: Callable[[Fact], None] | None,
        seen: Seen | None,
        prove: Callable[[], Awaitable[None]],
        doorway: Doorway | None,
    ) -> Instance:
        tier = self._tier
        walled = spec.boxed and tier.name != "B"
        box = None if spec.boxed == walled else Box.make()
        group: Group | None = None
        asks = walled and not spec.tool and asks_for_pages(spec.hosts, spec.listen, spec.image is not None, spec.boxed)
        pages = PageBox(identity.uid) if asks else None
        try:
            group = await or_discard(asyncio.to_thread(self._group, spec), _end)
            # In a thread: a granted folder may lie on a network that hangs.
            trust = egress.trust if egress is not None else b""
            folder = box.folder if box is not None else None
            asked = pages.path if pages is not None else None
            seen = seen if walled else None
            made = partial(compose, spec, tier, identity, wires.hand_over(), trust, folder, asked, seen is not None)
            command = _held(await or_discard(asyncio.to_thread(made), Command.close), group)
            told = None
            if seen is not None:
                command, told = watched(command)
            started = await self._supervisor.spawn(command)
            try:
                eyes = await Eyes.open(told, spec.server, seen) if told is not None and seen is not None else None
                limited = walled and identity.setpriv is None
                tree, watch = await self._at_the_gate(
                    spec,
                    started,
                    wires,
                    egress,
                    limit_processes=limited,
                    walled=walled,
                    kept=spec.state or folder,
                    eyes=eyes,
                    group=group,
                    prove=prove,
                    doorway=doorway,
                )
            except BaseException:
                started.discard()
                raise
        except BaseException:
            if egress is not None:
                egress.close()
            if pages is not None:
                pages.close()
            if box is not None:
                box.remove()
            if group is not None:
                await or_discard(asyncio.to_thread(group.end), lambda _: None)
            raise
        streams, name = wires.take_streams(), tier.name if spec.boxed else "off"
        instance = Instance(
            *(spec.server, name, tree, streams, self._waits, command.warnings, egress, spec.limits, watch, record),
            *(group, self._groups.name),
        )
        instance.pages = pages
        if box is not None:
            instance.at_end(box.remove)
        if eyes is not None:
            instance.at_end(eyes.close)
        return instance

    async def _at_the_gate(
        self,
        spec: SandboxSpec,
        started: Started,
        wires: Wires,
        egress: Egress | None,
        *,
        limit_processes: bool,
        walled: bool,
        kept: Path | None,
        eyes: Eyes | None,
        group: Group | None,
        prove: Callable[[], Awaitable[None]],
        doorway: Doorway | None,
    ) -> tuple[Tree, Watch]:
        first_pid = await wires.first_process(spec.server) if walled else 0
        made_inside = egress is not None and self._tier.listener is not None
        listeners = await wires.listeners(spec.server) if made_inside else ()
        server_pid = await wires.server_process(spec.server)
        first_pid = first_pid or server_pid
        first = server = -1
        watch: Watch | None = None
        try:
            first = os.pidfd_open(first_pid)
            server = os.pidfd_open(server_pid)
            if limit_processes:
                hard = resource.prlimit(server_pid, resource.RLIMIT_NPROC)[1]
                most = spec.limits.processes if hard == resource.RLIM_INFINITY else min(spec.limits.processes, hard)
                resource.prlimit(server_pid, resource.RLIMIT_NPROC, (most, most))
            if walled:
                await armed(first_pid, watched=eyes is not None)
            if egress is not None and made_inside:
                await egress.open(listeners)
            elif egress is not None:
                await self._open_ways_out(spec, first_pid, egress)
            watch = Watch(spec.server, first_pid, spec.limits, kept, walled=walled, group=group)
            await prove()
            if doorway is not None:
                await doorway.open(_network_of(first_pid))
            if eyes is not None:
                eyes.collecting = True
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

    def _doorway(self, spec: SandboxSpec, record: Callable[[Fact], None] | None) -> Doorway:
        if record is None or self._tier.name not in ("A", "A-root"):
            raise SandboxError(
                f"{spec.server} may listen, and this machine cannot enter a sandbox's network (tier {self._tier.name})",
                hint=f"bulkhead doctor says why; to start it without: bulkhead grant {spec.server} --no-listen",
            )
        return Doorway(spec.server, spec.listen, spec.limits, record, self._supervisor.reach)

    def _group(self, spec: SandboxSpec) -> Group | None:
        try:
            return self._groups.new(spec.limits)
        except OSError as cause:
            raise SandboxError(
                f"the limits of {spec.server} cannot be set ({self._groups.name}): {cause.strerror}", hint=RESTART
            ) from cause

    async def _prove(self, proof: Proof | None, end: asyncio.Timeout) -> None:
        """Reading what would run takes as long as it takes; whoever reads it has a limit of their own."""
        if proof is None:
            return
        end.reschedule(None)
        await proof()
        end.reschedule(asyncio.get_running_loop().time() + self._waits.launch)

    async def _open_ways_out(self, spec: SandboxSpec, first_pid: int, egress: Egress) -> None:
        """Serve the sandbox's network before its server runs.  Without the filter there is no server."""
        try:
            listeners = await self._supervisor.listen(_network_of(first_pid), rules_of(spec).ports)
        except SandboxError as cause:
            raise NetworkError(
                f"the network of {spec.server} cannot be filtered here, so it was not started: {cause}",
                hint=f"bulkhead doctor says why; without hosts, {spec.server} starts without a network",
            ) from cause
        await egress.open(listeners)


def _network_of(pid: int) -> int:
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _held(command: Command, group: Group | None) -> Command:
    return command if group is None else replace(command, groups=group.entries, thawing=group.thawing)


def _end(group: Group | None) -> None:
    if group is not None:
        group.end()
