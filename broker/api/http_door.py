"""The door by HTTP: opened when somebody first asks for an address, and held from the daemon's start on ever after.

Nobody else may stand at the port that clients know: whoever does could collect their bearers.  Finding it taken, the
daemon throws all bearers away and says so; it never moves to another port by itself.
"""

import asyncio
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

from broker.entries import Entries, Surroundings
from broker.errors import ConfigError
from broker.guest_book import GuestBook
from broker.house import House
from broker.model import Fact, Origin, Peer, ServerName
from broker.passes import addresses
from broker.passes.book import Pass
from broker.processes import application_itself
from broker.protocol.frames import MAX_FRAME
from broker.protocol.http_gate import Guest
from broker.protocol.together.names import shown
from broker.sessions import Sessions
from broker.tcp import owner_of
from broker.visit import ALL, Visit

if TYPE_CHECKING:
    from broker.endpoints.http_front import HttpFront
    from broker.endpoints.http_server import Head
    from broker.endpoints.http_wire import Welcome

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 128
TAKEN: Final = "another program holds the port of Bulkhead's clients"

_log = logging.getLogger(__name__)


class HttpDoor:
    """All that listens by HTTP.  Loads nothing of it before it is needed."""

    def __init__(self, book: GuestBook, house: House, sessions: Sessions) -> None:
        self._book = book
        self._house = house
        self._sessions = sessions
        around = Surroundings(
            house.consent, house.audit, house.vault, house.key, house.changed, self._is_served, self._ended
        )
        self.entries = Entries(around)
        self._front: HttpFront | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def hold(self) -> None:
        """Stand at the port clients know, if they know one."""
        for name, value in self._book.secrets().items():
            self._house.audit.redactor.add(name, value)
        if port := self._book.port:
            try:
                self._open(port)
            except ConfigError as problem:
                self._book.forget()
                self.entries.forget()
                body = {"problem": TAKEN, "port": port, "done": "every bearer was thrown away"}
                self._house.audit.append(Origin(), Fact("violation", "broker", "http", body=body))
                _log.error("%s; every bearer was thrown away", problem)

    async def stand_at(self, port: int) -> None:
        """Stand at the port a person chose, now and from each start on; whoever knows another one has to be told.

        Raises:
            ConfigError: another program is there; nothing has changed then.
        """
        if self._front is not None and self._book.port == port:
            return
        before, sweeping = self._front, self._sweeping
        self._open(port)
        self._book.port = port
        if sweeping is not None and before is not None:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await before.close()

    def address(self, client: str, server: str, workspace: str, *, signs_in: bool = False) -> tuple[str, Guest]:
        """The address of a server for a client in a folder, and whose it is.

        With `signs_in` it has no bearer: its application signs in, and a person is asked.

        Raises:
            ConfigError: there is no such client or server, or the port is taken.
        """
        self._house.registry.clients.find(client)
        self._servers(server)
        if self._front is None:
            if known := self._book.port:
                self._open(known)
            else:
                self._book.port = self._open_any()
        guest = self._book.mint(client, workspace, signs_in=signs_in)
        for name, value in self._book.secrets().items():
            self._house.audit.redactor.add(name, value)
        return f"http://{LOOPBACK}:{self._book.port}/{guest.path}/{server}", guest

    def _servers(self, server: str) -> list[ServerName]:
        """Those an address leads to.

        Raises:
            ConfigError: there is none of this name.
        """
        registry = self._house.registry
        return registry.names() if server == ALL else [registry.server(server).name]

    def _most(self, server: str) -> int:
        """How long a message may be: each link keeps to what its own server was given."""
        if server == addresses.DESK:
            return addresses.MAX_BODY
        registry = self._house.registry
        servers = [registry.server(name) for name in registry.names() if server in (ALL, name)]
        return max((each.grants.limits.message for each in servers), default=MAX_FRAME)

    def file(self, guest: Guest) -> str:
        """Where its bearer lies."""
        return str(self._book.file(guest))

    def forget(self, client: str) -> None:
        """A client is no client any more."""
        self._book.forget(client)
        self.entries.forget(client=client)

    def _is_served(self, server: str) -> bool:
        return server == ALL or self._house.registry.has_server(server)

    def _ended(self, one: Pass, why: str) -> None:
        """Whoever came in with it leaves."""
        for session in self._sessions.all():
            if session.by_bearer and session.client == one.client:
                for link in tuple(session.links.values()):
                    if one.server in (ALL, link.server.name):
                        link.end(f"the sign-in of {one.client} is over: {why}")

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._front is not None:
            await self._front.close()

    def _open_any(self) -> int:
        for port in self._book.candidates():
            try:
                self._open(port)
            except ConfigError:
                continue
            return port
        raise ConfigError("no port of this machine is free", hint="bulkhead doctor")

    def _open(self, port: int) -> None:
        from broker.endpoints.http_front import HttpFront
        from broker.passes.counter import Counter

        listener, host = _listen(port), f"{LOOPBACK}:{port}"
        counter = Counter(host, self._book.guests, self.entries.passes, self.entries.world())
        self._front = HttpFront(host, self._book.guests, self._receive, self._most, counter)
        self._front.server.open(listener)
        self._sweeping = asyncio.get_running_loop().create_task(self._front.run())

    async def _receive(self, guest: Guest, server: str, head: "Head") -> "Welcome":
        """Who is behind the connection, by the kernel's word, and what its tools are agreed to take."""
        from broker.endpoints.http_wire import Welcome

        peer = await asyncio.to_thread(_peer, head, self._book.port, guest.workspace)
        schemas: dict[str, object] = {}
        for each in self._servers(server):
            for view in self._house.registry.offered(each).views.values():
                for tool in view.tools:
                    name = str(tool.get("name"))
                    schemas.setdefault(shown(each, name) if server == ALL else name, tool.get("inputSchema"))

        def open_link(descriptors: tuple[int, int]) -> Visit:
            return self._sessions.open_by_bearer(guest.client, server, guest.path, peer, descriptors)

        return Welcome(open_link, schemas, self._most(server))


def _peer(head: "Head", port: int, workspace: str) -> Peer:
    found = owner_of(head.caller, (LOOPBACK, port))
    if found is None:  # in another network namespace, say: nobody known, and so nobody from a person's own machine
        return Peer(0, os.getuid(), os.getgid(), cwd=workspace)
    uid, pid = found
    return application_itself(pid, uid, workspace) if pid else Peer(0, uid, os.getgid(), cwd=workspace)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only past connections may still use it
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
    except OSError as cause:
        listener.close()
        taken = TAKEN if cause.errno == errno.EADDRINUSE else str(cause.strerror)
        hint = f"find it with: ss -ltnp 'sport = :{port}', end it, then: bulkhead down, bulkhead up"
        raise ConfigError(f"{LOOPBACK}:{port} cannot be listened on: {taken}", hint=hint) from cause
    return listener
