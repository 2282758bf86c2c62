"""What a server listens on inside, reached at the same port of this machine's own loopback, while its link lasts.

Only a port that was granted, only from this machine, and never a port that somebody else has.  Each connection is
recorded before it goes in; what a server answers there counts as sent out.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from broker.errors import BulkheadError, SandboxError
from broker.model import Fact, Limits, ServerName
from broker.sandbox.egress.wire import BUFFER, Budget, Carried, Stream, carry
from broker.sandbox.limits import refusal

HOST: Final = "127.0.0.1"
MOST_AT_ONCE: Final = 16
END_LIMIT: Final = 15.0
_log = logging.getLogger(__name__)


class Doorway:
    """The ports of one sandbox.  `reach` makes a connection to one of them inside."""

    def __init__(
        self,
        server: ServerName,
        ports: Sequence[int],
        limits: Limits,
        record: Callable[[Fact], None],
        reach: Callable[[int, int], Awaitable[socket.socket]],
    ) -> None:
        """Takes the ports at once.

        Raises:
            SandboxError: somebody else has one of them.
        """
        self._server = server
        self._record = record
        self._reach = reach
        self._namespace = -1
        self._budget = Budget(limits.bytes_out, lambda: _log.warning("%s", refusal(server, limits, "bytes-out")))
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()
        self._taken: list[socket.socket] = []
        try:
            for port in ports:
                self._taken.append(_taken(server, port))
        except BaseException:
            self.close()
            raise

    async def open(self, namespace: int) -> None:
        """Serve them from now on; `namespace` is the network they lead to, and is owned from here on."""
        self._namespace = namespace
        while self._taken:
            listener = self._taken.pop()
            port = listener.getsockname()[1]
            self._servers.append(await asyncio.start_server(self._door(port), sock=listener, limit=BUFFER))

    def close(self) -> None:
        """Give the ports back and drop what is open.  Idempotent."""
        for server in self._servers:
            server.close()
        for listener in self._taken:
            listener.close()
        self._servers, self._taken = [], []
        for task in self._open:
            task.cancel()
        namespace, self._namespace = self._namespace, -1
        if namespace >= 0:
            os.close(namespace)

    async def wait_closed(self) -> None:
        """Return when nothing is open any more; call it after `close`."""
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=END_LIMIT)

    def _door(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = Stream(reader, writer)
            if self._namespace < 0 or len(self._open) >= MOST_AT_ONCE:
                client.abort()
                return
            task = asyncio.get_running_loop().create_task(self._serve(client, port))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

        return enter

    async def _serve(self, client: Stream, port: int) -> None:
        carried = Carried(self._budget)
        try:
            self._record(Fact("egress", "broker", "listen", f"{HOST}:{port}", body={"port": port}))
            inside = await self._reach(os.dup(self._namespace), port)
            stream = Stream(*await asyncio.open_connection(sock=inside, limit=BUFFER))
            try:
                await carry(stream, client, carried)
                await client.close()
            finally:
                stream.abort()
            body = {"port": port, "bytes_out": carried.out, "bytes_in": carried.back}
            self._record(Fact("egress", "broker", "listened", f"{HOST}:{port}", body=body))
        except (OSError, EOFError):  # nobody listens inside yet, or one of the two broke off
            client.abort()
        except BulkheadError as cause:
            client.abort()
            _log.info("a connection to what %s listens on was refused: %s", self._server, cause)
        except BaseException:
            client.abort()
            raise


def _taken(server: ServerName, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that just closed; never one that is open
        listener.bind((HOST, port))
        listener.listen(MOST_AT_ONCE)
    except OSError as cause:
        listener.close()
        taken = "another link of it or another program has it" if cause.errno == errno.EADDRINUSE else cause.strerror
        raise SandboxError(
            f"{server} may listen at port {port}, which cannot be had: {taken}",
            hint=f"end the other one, or take the port back: bulkhead grant {server} --no-listen",
        ) from cause
    listener.setblocking(False)
    return listener
