"""All servers of one client behind one connection: each in a link of its own, and what is said goes where it is meant.

Nothing is judged or recorded here: every link does that for itself, under its server's own names.  A side that does not
take what it is sent stops the others from saying more.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from broker.config import Waits
from broker.endpoints.stdio import LineEndpoint
from broker.errors import BulkheadError, DeskError
from broker.model import ClientName, JsonObject, ServerName
from broker.protocol import replies
from broker.protocol.catalog import Catalog
from broker.protocol.frames import MAX_GROWTH, Frame, FrameDecoder, encode
from broker.protocol.together.acts import Act, Enter, Say
from broker.protocol.together.gathering import Gathering
from broker.protocol.versions import BATCH_VERSION
from broker.visit import Visit

MAX_FAULTS: Final = 1024  # lines of a client that are no messages, as on a link of one server


OpenLink: TypeAlias = Callable[[str, tuple[int, int]], Visit]
"""Opens a link to one server; it owns the descriptors, unless it raises BulkheadError."""


@dataclass(slots=True)
class _Member:
    """Our end of one link."""

    visit: Visit
    line: LineEndpoint
    out: socket.socket


class Assembly:
    """One client's connection to all its servers."""

    def __init__(
        self,
        client: ClientName,
        descriptors: tuple[int, int],
        servers: Callable[[], Iterable[ServerName]],
        catalog: Callable[[ServerName], Catalog],
        open_link: OpenLink,
        waits: Waits,
        most: int,
    ) -> None:
        """`most` is the size of the largest message to or from any of them; each link keeps to what is its own."""
        self.client = client
        self._most = most
        self._gathering = Gathering(servers, catalog)
        self._open_link = open_link
        self._waits = waits
        self._members: dict[ServerName, _Member] = {}
        self._acts: deque[Act] = deque()
        self._performing = False
        self._faults = 0
        self._client_gone = False
        self._drained = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        decoder = FrameDecoder("client", most, batches=True)
        self._client = LineEndpoint(
            *descriptors,
            on_bytes=lambda data: self._from_client(decoder.feed(data)),
            on_closed=self._client_closed,
            on_drained=self._client_drained,
        )
        self._client.start()

    def end(self, reason: str) -> None:
        """End it now; "" is the client's own goodbye."""
        if not self.ended.done():
            self.ended.set_result(reason)

    async def run(self) -> None:
        """Until it is ended: then every link is left, and the client has its last lines."""
        try:
            await asyncio.shield(self.ended)
        finally:
            if not self.ended.done():
                self.ended.set_result("bulkhead is stopping")
            self._client.pause_reading()
            for server in tuple(self._members):
                self._leave(server)
            if self._client.waiting and self.ended.result():
                try:
                    async with asyncio.timeout(self._waits.stop_stdin):
                        await self._drained.wait()
                except TimeoutError:
                    pass  # it does not read; nobody waits longer for it
            self._client.close()

    def tick(self, now: float) -> None:
        """Called about once a second."""
        since = self._client.stuck_since
        if since is not None and now - since > self._waits.send:
            self.end(f"the client did not read for {self._waits.send:.0f} s")
        if self._client_gone and self._client.deserted:
            self.end("")

    # --- what arrives ---

    def _from_client(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.fault is not None:
                self._faulty(frame.fault.reply)
            elif frame.batch and self._gathering.version != BATCH_VERSION:
                what = f"the client sent a batch, which only revision {BATCH_VERSION} of the protocol has"
                self._faulty(replies.error(None, replies.INVALID_REQUEST, what))
            else:
                for message in frame.batch or ((frame.message,) if frame.message is not None else ()):
                    self._perform(self._gathering.from_client(message))

    def _faulty(self, reply: JsonObject) -> None:
        self._faults += 1
        self._client.send(encode(reply))
        if self._faults > MAX_FAULTS:
            self.end("the client broke the rules of the wire too often")

    def _from_server(self, server: ServerName, frames: list[Frame]) -> None:
        for frame in frames:
            for message in frame.batch or ((frame.message,) if frame.message is not None else ()):
                self._perform(self._gathering.from_server(server, message))

    # --- what is done about it ---

    def _perform(self, acts: Iterable[Act]) -> None:
        """In order, what is to be done because of it included."""
        self._acts.extend(acts)
        if self._performing:
            return
        self._performing = True
        try:
            while self._acts and not self.ended.done():
                match self._acts.popleft():
                    case Enter(server):
                        self._enter(server)
                    case Say(None, message):
                        self._client.send(encode(message))
                    case Say(to, message):
                        if to in self._members:
                            self._members[to].line.send(encode(message))
        finally:
            self._performing = False
        self._regulate()

    def _enter(self, server: ServerName) -> None:
        near, far = socket.socketpair()
        theirs = (far.fileno(), os.dup(far.fileno()))
        far.detach()
        try:
            visit = self._open_link(server, theirs)
        except BulkheadError as problem:
            for descriptor in theirs:
                os.close(descriptor)
            near.close()
            self._perform(self._gathering.left(server, str(problem)))
            return
        decoder = FrameDecoder("server", self._most + MAX_GROWTH, batches=True)
        out = near.dup()
        line = LineEndpoint(
            near.detach(),
            os.dup(out.fileno()),
            on_bytes=lambda data: self._from_server(server, decoder.feed(data)),
            on_closed=partial(self._left, server),
            on_drained=self._regulate,
        )
        self._members[server] = _Member(visit, line, out)
        line.start()

    def _left(self, server: ServerName) -> None:
        """A link ended."""
        self._leave(server)
        self._perform(self._gathering.left(server, "its link ended"))
        self._leave_when_done()

    def _leave(self, server: ServerName) -> None:
        member = self._members.pop(server)
        member.line.close()
        member.out.close()
        member.visit.leave()

    def _regulate(self) -> None:
        """Listen to each side only while the other takes what it is sent."""
        if self.ended.done():
            return
        crowded = self._client.congested
        stuck = any(member.line.congested for member in self._members.values())
        for line, waits in ((self._client, stuck), *((member.line, crowded) for member in self._members.values())):
            if waits:
                line.pause_reading()
            else:
                line.resume_reading()
        self._say_no_more()

    def _client_drained(self) -> None:
        self._drained.set()
        self._regulate()
        self._leave_when_done()

    def _client_closed(self) -> None:
        """It said its last, and may still read what it asked for: the links end when they have told it."""
        self._client_gone = True
        self._say_no_more()
        self._leave_when_done()

    def _say_no_more(self) -> None:
        for member in self._members.values() if self._client_gone else ():
            if not member.line.waiting:
                with contextlib.suppress(OSError):  # it has ended meanwhile, or was told before
                    member.out.shutdown(socket.SHUT_WR)

    def _leave_when_done(self) -> None:
        if self._client_gone and not self._members and not self._client.waiting:
            self.end("")


class Assemblies:
    """All connections of this kind.  `many` is how many one client may have."""

    def __init__(
        self,
        servers: Callable[[], Iterable[ServerName]],
        catalog: Callable[[ServerName], Catalog],
        waits: Waits,
        many: int,
    ) -> None:
        self._servers = servers
        self._catalog = catalog
        self._waits = waits
        self._many = many
        self._open: dict[Assembly, asyncio.Task[None]] = {}

    def open(self, client: ClientName, descriptors: tuple[int, int], open_link: OpenLink, most: int) -> Visit:
        """Connect a client to all its servers.

        Raises:
            DeskError: it has too many of these already.
        """
        if sum(each.client == client for each in self._open) >= self._many:
            hint = "close some of its conversations, or see: bulkhead sessions"
            raise DeskError(f"{client} has {self._many} connections open already, and may have no more", hint=hint)
        assembly = Assembly(client, descriptors, self._servers, self._catalog, open_link, self._waits, most)
        task = asyncio.get_running_loop().create_task(assembly.run())
        self._open[assembly] = task
        task.add_done_callback(lambda _: self._open.pop(assembly, None))
        return Visit(secrets.token_hex(8), assembly.ended, lambda: assembly.end(""))

    def tick(self, now: float) -> None:
        for assembly in tuple(self._open):
            assembly.tick(now)

    async def close(self) -> None:
        """End them all; their links are closed by who opened them."""
        for assembly in tuple(self._open):
            assembly.end("bulkhead is stopping")
        await asyncio.gather(*self._open.values(), return_exceptions=True)
