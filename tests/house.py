"""A whole house in one folder, with every real owner of state; only what would start a sandbox is a toy."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from broker.agreed import Agreed
from broker.applications import Applications
from broker.audit.index import Index
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.redact import Redactor
from broker.config import Bounds, Paths, Waits, make_folders, paths_under
from broker.consent import ConsentDesk
from broker.drift import DriftBook
from broker.endpoints.proxy_book import ProxyBook
from broker.files import sha256_hex
from broker.flow.store import LabelBook, LedgerStore
from broker.house import House
from broker.laws import violations
from broker.lessons import Lessons
from broker.model import Fact, Grants, NamedArtifact, Peer, Proof, ServerName
from broker.pin import LaunchRequest, Pin, PinnedArtifact
from broker.policy.store import GrantBook, PolicyStore
from broker.policy.tokens import Tokens
from broker.policy.wall_book import WallBook
from broker.protocol.catalog import Catalog
from broker.provisions import Provisions
from broker.registry import Registry, Server
from broker.sandbox.egress.leaving import Bodies
from broker.sandbox.process import Instance
from broker.sessions import Sessions
from broker.telemetry.watching import Watching
from broker.trust.advisories import Advisories
from broker.trust.store import Store
from broker.vault.backends import Keychain, NoKeychain
from broker.vault.vault import Vault
from broker.visit import Hello, Visit
from tests.peers import FarEnd, ToyServer, echo, wire
from tests.protocol.stage import CATALOG
from tests.waiting import WITHIN, until

KEY: Final = b"k" * 32
ROOMY: Final = Bounds()
QUICK: Final = Waits(handshake_answer=0.1, question=5.0, launch=5.0, send=1.0, stop_stdin=0.2, shutdown=5.0)
OPEN: Final = b"""version = 1
name = "open"
description = "for tests: nothing is asked but what has no rule"
[[rule]]
name = "all"
effect = "allow"
reason = "fine"
"""
ME: Final = Peer(os.getpid(), os.getuid(), os.getgid(), "/opt/shim", os.getppid(), "/opt/desk", 1, "/home/me")


def no_keychain() -> Keychain:
    """The tests of a house leave nothing in anybody's keychain."""
    raise NoKeychain("no keychain can be reached")


@dataclass
class Rooms:
    """The house, its owners, and what was started in it."""

    house: House
    paths: Paths
    agreed: Agreed
    drifts: DriftBook
    sessions: Sessions
    clock: list[float]
    servers: list[ToyServer] = field(default_factory=list)
    spawned: list[tuple[NamedArtifact, Grants, Mapping[str, str]]] = field(default_factory=list)
    changes: int = 0
    bodies: Bodies | None = None
    """Who judges what the last server sends by itself."""

    @property
    def registry(self) -> Registry:
        return self.house.registry

    def secret(self, client: str) -> str:
        return (self.paths.config / "clients" / f"{client}.secret").read_text().strip()

    def enter(
        self, server: str = "notes", client: str = "desk", peer: Peer = ME, secret: str | None = None
    ) -> tuple[Visit, FarEnd]:
        """Open a link as a shim does."""
        descriptors, far = wire()
        hello = Hello(server, client, self.secret(client) if secret is None else secret, peer.cwd)
        try:
            return self.sessions.open_link(hello, peer, descriptors), far
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            far.close()
            raise

    def receipts(self) -> list[dict[str, Any]]:
        """Everything recorded so far, opened."""
        index = Index(self.paths.audit)
        try:
            return [self.house.audit.keys.opened(entry) for entry in index.tail(10_000)]
        finally:
            index.close()


def pin_server(
    rooms: Rooms, name: str = "notes", catalog: Catalog = CATALOG, env: tuple[str, ...] = (), **more: Any
) -> Pin:
    """Register a server that is one program of this folder, pinned by its hash."""
    program = rooms.paths.home / f"{name}-program"
    program.write_bytes(b"#!/bin/true\n" + name.encode())
    program.chmod(0o755)
    artifact = PinnedArtifact(
        "binary", name, "", entry=str(program), files=((str(program), sha256_hex(program.read_bytes())),)
    )
    launch = LaunchRequest((str(program),), "program", "binary", str(program))
    pin = rooms.registry.put_pin(Pin(ServerName(name), "2026-01-01T00:00:00Z", launch, artifact), catalog)
    rooms.registry.put_server(Server(ServerName(name), (str(program),), pin.created, env=env, **more))
    return pin


@asynccontextmanager
async def housed(
    folder: Path,
    *,
    toy: Callable[[], ToyServer] = lambda: ToyServer(answer=echo),
    waits: Waits = QUICK,
    bounds: Bounds = ROOMY,
    policy: bytes | None = OPEN,
    watching: Watching | None = None,
) -> AsyncIterator[Rooms]:
    """Build it, with a server `notes` and a client `desk`; at the end everything is closed."""
    paths = paths_under(folder / "home")
    make_folders(paths)
    agreed = Agreed(paths.config, paths.state / "agreed", KEY)
    if policy is not None:
        agreed.write("policy.toml", policy)
    registry = Registry(agreed, paths.config)
    clock = [time.time()]
    numbers = iter(range(1, 10_000))
    drifts = DriftBook(registry)
    redactor = Redactor()
    audit = AuditLog.open(paths.audit, AuditKeys(KEY), lambda: clock[0], redactor, steady=lambda: clock[0])
    vault = Vault(paths.state / "vault", paths.home, find=no_keychain)
    vault.open()
    rooms: Rooms

    async def spawn(
        artifact: NamedArtifact,
        grants: Grants,
        env: Mapping[str, str],
        record: Callable[[Fact], None],
        session: str,
        proof: Proof,
        bodies: Bodies,
        client: str,
    ) -> Instance:
        await proof()
        rooms.bodies = bodies
        rooms.spawned.append((artifact, grants, env))
        rooms.servers.append(toy())
        return cast(Instance, rooms.servers[-1])

    def changed() -> None:
        rooms.changes += 1

    house = House(
        registry=registry,
        audit=audit,
        consent=ConsentDesk(lambda: clock[0], lambda: f"q{next(numbers)}"),
        policy=PolicyStore(agreed),
        proxies=ProxyBook(agreed),
        grants=GrantBook(agreed, lambda: clock[0], lambda: f"g{next(numbers)}"),
        tokens=Tokens(KEY, lambda: clock[0]),
        walls=WallBook(agreed, lambda: f"l{next(numbers)}"),
        ledgers=LedgerStore(paths.state / "ledgers", KEY, lambda: clock[0]),
        labels=LabelBook({}),
        store=Store(paths.store),
        advisories=Advisories(paths.advisories),
        spawn=spawn,
        waits=waits,
        drifted=drifts.note,
        changed=changed,
        owner=os.getuid(),
        lessons=Lessons(folder, list),
        vault=vault,
        provisions=Provisions(registry, vault, redactor),
        key=KEY,
        bounds=bounds,
        watching=watching,
    )
    rooms = Rooms(house, paths, agreed, drifts, Sessions(house, Applications(paths.state / "applications")), clock)
    pin_server(rooms)
    registry.clients.put("desk", "2026-01-01T00:00:00Z")
    try:
        yield rooms
    finally:
        house.consent.close()
        async with asyncio.timeout(WITHIN):
            await rooms.sessions.close()
        await until(lambda: all(server.stopped.is_set() for server in rooms.servers))
        audit.close()
        vault.close()
    entries = [json.loads(line) for file in sorted(paths.audit.glob("*.jsonl")) for line in file.open()]
    assert list(violations(entries)) == []
