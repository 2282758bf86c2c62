"""The doors of one sandbox: opened on the sockets that were made inside it, closed with it.

What cannot be recorded does not happen: a receipt that cannot be written closes all of them.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from broker.errors import BulkheadError
from broker.sandbox.egress.capture import serve_direct
from broker.sandbox.egress.head import HeadError
from broker.sandbox.egress.proxy import serve_proxy
from broker.sandbox.egress.receipts import Asked, Denied
from broker.sandbox.egress.stub import NameStub
from broker.sandbox.egress.way import Way
from broker.sandbox.egress.wire import BUFFER, Stream
from broker.sandbox.hosts import HostRules
from broker.sandbox.limits import refusal

BACKLOG: Final = 64
END_LIMIT: Final = 15.0  # a connection lets its last words go for 10 seconds

Serve: TypeAlias = Callable[[Way, Stream], Awaitable[None]]
_log = logging.getLogger(__name__)


class Egress:
    """Everything that serves one sandbox's network."""

    def __init__(self, way: Way, trust: bytes = b"") -> None:
        """`trust`: the authorities, as PEM, that the sandbox must trust because its connections are looked into."""
        self.trust = trust
        self._way = way
        self._servers: list[asyncio.Server] = []
        self._names: NameStub | None = None
        self._open: dict[asyncio.Task[None], Stream] = {}
        self._closed = False

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Serve them, which it owns from now on: the proxy's, one of each captured port, and the name service's."""
        proxy, *captured, names = sockets
        taken: list[socket.socket] = []
        try:
            for listener, serve in ((proxy, serve_proxy), *((one, serve_direct) for one in captured)):
                # Not serving yet: until the server is in the list, nothing may interrupt us.
                server = await asyncio.start_server(
                    self._door(serve), sock=listener, limit=BUFFER, backlog=BACKLOG, start_serving=False
                )
                taken.append(listener)
                self._servers.append(server)
            for server in self._servers:
                await server.start_serving()
            loop = asyncio.get_running_loop()
            _, self._names = await loop.create_datagram_endpoint(lambda: NameStub(self._way, self._failed), sock=names)
            taken.append(names)
        except BaseException:
            self.close()
            for listener in sockets:
                if listener not in taken:
                    listener.close()
            raise

    def regrant(self, hosts: tuple[str, ...]) -> None:
        """Judge by these grants from now on.  The whole public network is not among what a running server can get."""
        rules = HostRules.of(hosts)
        if self._way.rules.public == rules.public:
            self._way.rules = rules

    def close(self) -> None:
        """Close every door and drop every connection; `wait_closed` tells when their receipts are written."""
        if self._closed:
            return
        self._closed = True
        for server in self._servers:
            server.close()
        if self._names is not None:
            self._names.close()
        for task in self._open:
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when nothing is open any more; call it after `close`."""
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=END_LIMIT)
        try:
            self._way.receipts.finish()
        except BulkheadError as cause:
            _log.warning("what was denied to a server at last cannot be recorded: %s", cause)

    def _door(self, serve: Serve) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = Stream(reader, writer)
            if self._closed or len(self._open) >= self._way.limits.connections:
                client.abort()
                self._deny_one_too_many()
                return
            task = asyncio.get_running_loop().create_task(self._serve(serve, client))
            self._open[task] = client
            task.add_done_callback(lambda done: self._open.pop(done, None))

        return enter

    def _deny_one_too_many(self) -> None:
        if self._closed:
            return
        denied = Denied(refusal(self._way.server, self._way.limits, "connections"))
        try:
            self._way.receipts.denied(Asked("direct", "any host"), denied)
        except BulkheadError as cause:
            self._failed(cause)

    async def _serve(self, serve: Serve, client: Stream) -> None:
        try:
            await serve(self._way, client)
            await client.close()
        except (OSError, EOFError, HeadError, asyncio.LimitOverrunError):
            client.abort()  # one of the two sides broke off, fell silent or stopped making sense
        except BulkheadError as cause:
            client.abort()
            self._failed(cause)
        except BaseException:
            client.abort()
            raise

    def _failed(self, cause: BaseException) -> None:
        _log.error("the network of a sandbox is closed: %s", cause)
        self.close()
