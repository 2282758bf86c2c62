"""Who is calling, which session, and whether the link may be opened.

A session is one run of one client: its secret says which client, the application behind the shim which run.  The
working directory is shown and recorded; it never opens another ledger.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from broker.applications import Applications
from broker.assembly import Assemblies
from broker.consent import WITHDRAWN, Ticket
from broker.errors import BulkheadError, ConfigError, DeskError
from broker.house import House
from broker.links import Link, server_of
from broker.model import Answer, ClientName, Decision, Fact, JsonObject, LinkId, Peer, ServerName, SessionId, Verdict
from broker.policy.evaluate import connection
from broker.processes import boot_id, process, same_program
from broker.visit import ALL, Hello, Visit

MAX_SESSIONS: Final = 4096
IDLE_SECONDS: Final = 12 * 3600.0  # without a link; then the session and what was allowed for it are over
TICK_SECONDS: Final = 1.0
NEW_PROGRAM: Final = "new-program"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Session:
    """One run of one client.  `peer` is that of its first link."""

    id: SessionId
    client: ClientName
    peer: Peer
    started: float
    links: dict[LinkId, Link] = field(default_factory=dict)
    idle_since: float = 0.0
    by_bearer: bool = False
    """It is a bearer, whichever program brings it: no process ends it."""


class Sessions:
    """All sessions and links of this home."""

    def __init__(self, house: House, applications: Applications) -> None:
        self._house = house
        self._applications = applications
        self._sessions: dict[SessionId, Session] = {}
        self._assemblies = Assemblies(house.registry.names, house.registry.offered, house.waits, house.bounds.links)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # --- opening ---

    def open_link(self, hello: Hello, peer: Peer, descriptors: tuple[int, int]) -> Visit:
        """Let a shim in, or raise what it is told.  A link that still needs a person's yes is opened and waits.

        Raises:
            BulkheadError: who was refused, why, and what to do.
        """
        if self._closing:
            raise DeskError("the daemon is stopping", hint="start the client again in a moment")
        if peer.uid != self._house.owner:
            raise DeskError("this daemon belongs to another user", code="presence")
        registry = self._house.registry
        if not registry.clients.is_client(hello.client, hello.secret):
            raise ConfigError(
                f"{hello.client!r:.80} is not a registered client, or not with this secret",
                hint=f"bulkhead client add {hello.client:.64}",
            )
        return self._open(ClientName(hello.client), hello.server, peer, descriptors)

    def open_by_bearer(self, client: str, server: str, bearer: str, peer: Peer, descriptors: tuple[int, int]) -> Visit:
        """Let in who proved with a bearer to be `client`.  One bearer, by whatever names it, is one session.

        Raises:
            BulkheadError: who was refused, why, and what to do.
        """
        if self._closing:
            raise DeskError("the daemon is stopping", hint="start the client again in a moment")
        if peer.uid != self._house.owner:
            raise DeskError("this daemon belongs to another user", code="presence")
        return self._open(self._house.registry.clients.find(client).name, server, peer, descriptors, bearer)

    def _open(self, client: ClientName, name: str, peer: Peer, descriptors: tuple[int, int], bearer: str = "") -> Visit:
        if name == ALL:
            return self._assemblies.open(
                client,
                descriptors,
                lambda one, ends: self._open(client, one, peer, ends, bearer),
                max((one.grants.limits.message for one in self._house.registry.servers()), default=0),
            )
        self._check_room(client)
        server, pin, catalog = server_of(self._house.registry, name)
        session = self._session_of(client, peer, bearer)
        decision = self._admission(session, server.name, peer.root_executable)
        if decision.verdict is Verdict.DENY:
            raise ConfigError(
                f"the policy lets {client} not use {server.name}: {decision.reason}", hint="bulkhead policy show"
            )
        link = Link(self._house, LinkId(secrets.token_hex(8)), client, session.id, server, pin, catalog, descriptors,
                    decision.verdict is Verdict.ALLOW, peer.cwd)  # fmt: skip
        facts = {"pid": peer.pid, "uid": peer.uid, "executable": peer.executable, "cwd": peer.cwd,
                 "root_pid": peer.root_pid, "root_executable": peer.root_executable}  # fmt: skip
        link.record_opening(Fact("link-opened", "broker", decision=decision, body=facts))
        session.links[link.id] = link
        self._start(self._carry(session, link))
        if not link.admitted:
            self._start(self._ask_admission(session, link, decision, peer))
        self._house.changed()
        return Visit(link.id, link.ended, lambda: link.end("the client ended its side"))

    def _session_of(self, client: ClientName, peer: Peer, bearer: str) -> Session:
        id = self._id_of(client, peer, bearer)
        known = self._sessions.get(id)
        if known is None and len(self._sessions) >= MAX_SESSIONS:
            raise DeskError("there are too many sessions", hint="bulkhead sessions; bulkhead session end ID")
        if peer.root_pid and (known is None or bearer):  # several programs may come with one bearer, one after another
            program = {(found.pid, found.started) for found in same_program(peer.root_pid)}
            self._applications.add({(peer.root_pid, peer.root_started), *program})
        if known is None:
            self._house.ledgers.begin(id, client)
            known = self._sessions[id] = Session(id, client, peer, time.time(), by_bearer=bool(bearer))
        return known

    def _id_of(self, client: ClientName, peer: Peer, bearer: str) -> SessionId:
        """256 bits nobody can guess, and the same again for the same run after a restart of the daemon."""
        run = f"{client}\n{peer.root_pid}\n{peer.root_started}\n{boot_id()}"
        if bearer:
            run = f"{client}\nbearer {bearer}"
        return SessionId(hmac.new(self._house.key, b"session\n" + run.encode(), hashlib.sha256).hexdigest())

    def _admission(self, session: Session, server: ServerName, executable: str) -> Decision:
        """Whether this client, run by this program, may use this server."""
        grants, policy = self._house.grants, self._house.policy.current
        beyond = self._house.walls.current.beyond(session.client, session.id, server)
        decision = beyond or grants.connected(session.client, server, session.id, policy)
        if decision.verdict is not Verdict.ALLOW:
            return decision
        clients = self._house.registry.clients
        known = clients.programs(session.client, server)
        if not known and executable:
            clients.add_program(session.client, server, executable)  # the first use binds the grant
        elif executable not in known:
            reason = f"{session.client} is run by a program that never used {server} before: {executable or 'unknown'}"
            return Decision(Verdict.ASK, NEW_PROGRAM, reason)
        return decision

    async def _ask_admission(self, session: Session, link: Link, decision: Decision, peer: Peer) -> None:
        """Ask once; the handshake waits a while, then gets empty lists, and a later yes brings them."""
        house, server = self._house, link.server
        ticket = house.consent.ask(
            kind="connection",
            client=session.client,
            server=server.name,
            session=session.id,
            what=f"{session.client} wants to use {server.name} for the first time",
            why=f"{decision.reason}{link.judge.caveat}",
            digest_of={"connection": [session.client, server.name, peer.root_executable], "rule": decision.rule},
            evidence=(f"program: {peer.root_executable or 'unknown'} (process {peer.root_pid})", f"folder: {peer.cwd}"),
            detail="",
            wait_seconds=house.waits.question,
        )
        try:
            answer = await self._unless_ended(link, ticket)
            lifetime = link.judge.lasting(answer.lifetime)
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        if answer is WITHDRAWN and link.ended.done():  # it is on record, and nobody is there to be told
            body: JsonObject = {"question": ticket.question.id, "withdrawn": "the client is gone"}
            house.audit.append(link.origin, Fact("answer", "broker", "connection", server.name, body=body))
            house.changed()
            return
        body = {"allowed": answer.allowed, "for": lifetime, "by": answer.by, "program": peer.root_executable}
        fact = Fact("answer", "person", "connection", server.name, body=body, durable=True)
        try:
            await house.audit.append_durable(link.origin, fact)
            if answer.allowed:
                call = connection(session.client, server.name, session.id)
                if decision.rule != NEW_PROGRAM:
                    house.grants.add("connection", call, decision, lifetime)
                if lifetime == "always" and peer.root_executable:  # one that cannot be seen is never known
                    house.registry.clients.add_program(session.client, server.name, peer.root_executable)
        except BulkheadError as problem:  # a yes that cannot be recorded or kept lets nobody in
            link.end(str(problem))
            return
        link.admit(answer.allowed, "" if answer.allowed else "you have not allowed this client to use this server")
        house.changed()

    async def _unless_ended(self, link: Link, ticket: Ticket) -> Answer:
        """The answer; once the link is gone nobody needs it, and the question leaves the desk with its last asker."""
        waiting = asyncio.ensure_future(ticket.answer())
        either: set[asyncio.Future[Any]] = {waiting, link.ended}
        patience = self._house.waits.handshake_answer
        try:
            done, _ = await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                link.admission_delayed()
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not ticket.answered:
                ticket.withdraw()
            return await waiting
        finally:
            waiting.cancel()

    # --- living and ending ---

    async def _carry(self, session: Session, link: Link) -> None:
        try:
            await link.run()
        except BulkheadError as problem:
            _log.error("a link of %s ended: %s", link.server.name, problem)
        finally:
            session.links.pop(link.id, None)
            session.idle_since = time.time()
            self._house.changed()

    async def tick(self) -> None:
        """Once a second, for ever: bounded waits of the links, and sessions that are over."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for session in tuple(self._sessions.values()):
                for link in tuple(session.links.values()):
                    link.tick(loop.time())
                if not session.links and self._is_over(session):
                    self._forget(session)
            self._assemblies.tick(loop.time())
            self._tell_counts()

    def _check_room(self, client: ClientName) -> None:
        """Each link may be a server of its own: one client's loop must not use up the machine."""
        most = self._house.bounds.links
        if sum(link.client == client for link in self.links()) >= most:
            hint = "close some of its conversations, or see: bulkhead sessions"
            raise DeskError(f"{client} has {most} links open already, and may have no more", hint=hint)

    def _tell_counts(self, *, everything: bool = False) -> None:
        """What clients were refused again and again, as one receipt each."""
        if not self._house.audit.failure:
            for origin, fact in self._house.refusals.due(everything=everything):
                self._house.audit.append(origin, fact)

    def _is_over(self, session: Session) -> bool:
        return time.time() - session.idle_since > IDLE_SECONDS or self._ended(session)

    def _ended(self, session: Session) -> bool:
        application = process(session.peer.root_pid)
        same = application is not None and application.started == session.peer.root_started
        return not session.by_bearer and not same

    def _forget(self, session: Session) -> None:
        if self._ended(session):  # one that only slept comes again, and is limited then as before
            self._house.walls.forget(session=session.id)
        self._sessions.pop(session.id, None)
        self._house.grants.end_session(session.id)
        self._house.tokens.end_session(session.id)
        self._house.autonomy.end_session(session.id)
        self._house.changed()

    def end_session(self, id: str) -> None:
        """End a session and forget what was allowed for it and what it has read.

        Raises:
            DeskError: there is none of this id, or several begin with it.
        """
        session = self.find(id)
        for link in tuple(session.links.values()):
            link.end("you ended this session")
        self._house.ledgers.end_session(session.id)
        self._house.walls.forget(session=session.id)
        self._forget(session)

    def new_session(self, client: str) -> None:
        """End every session of a client; its next one begins with nothing read and nothing allowed.

        Raises:
            ConfigError: there is no such client.
        """
        name = self._house.registry.clients.find(client).name
        for session in self.all():
            if session.client == name:
                self.end_session(session.id)
        self._house.ledgers.forget_client(name)

    async def close(self) -> None:
        """End every link in order: both sides closed, every server's tree gone.  Bounded by `waits.shutdown`."""
        self._closing = True
        await self._assemblies.close()
        for link in self.links():
            link.end("bulkhead is stopping")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._house.waits.shutdown)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tell_counts(everything=True)

    # --- looking ---

    def find(self, id: str) -> Session:
        """The one session whose id begins so.

        Raises:
            DeskError: there is none, or several are.
        """
        matching = [session for session in self._sessions.values() if session.id.startswith(id)]
        if not id or len(matching) != 1:
            raise DeskError(f"there is no one session {id!r:.80}", hint="bulkhead sessions", code="unknown")
        return matching[0]

    def all(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def links(self, server: str = "") -> tuple[Link, ...]:
        """Live links, of one server or of all."""
        live = (link for session in self._sessions.values() for link in session.links.values())
        return tuple(link for link in live if not server or link.server.name == server)

    def trees(self) -> frozenset[str]:
        """What live links keep in the store."""
        return frozenset(tree for link in self.links() for tree in link.trees)

    @property
    def applications(self) -> frozenset[tuple[int, int]]:
        """Every application that opened a link since the machine started: none of their children may say yes."""
        return self._applications.seen

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
