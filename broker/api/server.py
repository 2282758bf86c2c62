"""What each route does.  Every answer is made from the owners' own state; nothing is remembered here."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from broker import __version__
from broker.agreed import Agreed
from broker.api import presence, schema, views
from broker.api.presence import Presence
from broker.api.wire import Caller, Handler
from broker.audit.index import Index
from broker.config import Paths
from broker.drift import DriftBook
from broker.errors import BulkheadError, DeskError
from broker.links import House
from broker.model import Fact, Origin, Peer, QuestionId
from broker.pinning import Pinner, grants_of
from broker.policy.document import parse_policy
from broker.policy.store import GRANTS, POLICY
from broker.processes import ancestry
from broker.registry import check_name
from broker.sandbox.tiers import Tier
from broker.sessions import Sessions

RECEIPTS_SHOWN: Final = 200
WATCH_SECONDS: Final = 0.1  # changes are gathered for so long; a person does not see faster
REFRESH_SECONDS: Final = 1.0  # receipts are appended without a word to anybody
MAX_PAGE: Final = 1000


class News(Protocol):
    """Wakes whoever watches."""

    async def wait(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Premises:
    """Everything the desk looks at or acts on."""

    house: House
    sessions: Sessions
    pinner: Pinner
    drifts: DriftBook
    agreed: Agreed
    index: Index
    paths: Paths
    tier: Tier
    keychain: str
    presence: Presence
    supervisor: int
    started: float
    stop: Callable[[], None]
    news: News


class Handlers:
    """One method a route; `table` is what the front desk calls."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.STATUS.method: self._status,
            schema.WATCH.method: self._watch,
            schema.STOP.method: self._stop,
            schema.PENDING.method: self._pending,
            schema.APPROVE.method: self._answer,
            schema.DENY.method: self._deny,
            schema.SERVERS.method: self._servers,
            schema.PREPARE.method: self._prepare,
            schema.AGREE.method: self._agree,
            schema.REMOVE.method: self._remove,
            schema.ENABLE.method: self._enable,
            schema.DISABLE.method: self._disable,
            schema.VERIFY.method: self._verify,
            schema.GRANT_PATHS.method: self._grant_paths,
            schema.REVIEW.method: self._review,
            schema.ACCEPT.method: self._accept,
            schema.SESSIONS.method: self._sessions,
            schema.SESSION_END.method: self._session_end,
            schema.CLIENTS.method: self._clients,
            schema.CLIENT_ADD.method: self._client_add,
            schema.CLIENT_REMOVE.method: self._client_remove,
            schema.CONNECT.method: self._connect,
            schema.GRANTS.method: self._grants,
            schema.REVOKE.method: self._revoke,
            schema.POLICY_USE.method: self._policy_use,
            schema.AUDIT.method: self._audit,
        }

    def gate(self, peer: Peer, route: schema.Route) -> None:
        """Whether this caller may use this route.

        Raises:
            DeskError: it loosens something, and no person can be seen behind it.
        """
        at = self._at
        if peer.uid != at.house.owner:
            raise DeskError("this desk belongs to another user", code="presence")
        if route.access != "loosen":
            return
        why = presence.why_absent(list(ancestry(peer.pid)), at.sessions.applications, at.supervisor, at.presence)
        if why is not None:
            refused = {"route": route.method, "pid": peer.pid, "executable": peer.executable, "why": why}
            at.house.audit.append(Origin(), Fact("violation", "broker", "presence", route.method, body=refused))
            raise DeskError(
                f"only a person may do this, and {why}",
                hint="type it yourself in a terminal outside of your AI applications, or use the screen: bulkhead",
                code="presence",
            )

    # --- the daemon ---

    async def _status(self, _caller: Caller, _params: schema.Nothing) -> schema.Statuses:
        return schema.Statuses(status=self._status_now())

    def _status_now(self) -> schema.Status:
        at, house = self._at, self._at.house
        sessions = at.sessions.all()
        return schema.Status(
            version=__version__,
            pid=os.getpid(),
            uptime=time.monotonic() - at.started,
            home=str(at.paths.home),
            tier=at.tier.name,
            tier_note=at.tier.reason if at.tier.name != "none" else f"{at.tier.reason}; {at.tier.fix}",
            keychain=at.keychain,
            presence=at.presence,
            sessions=len(sessions),
            links=sum(len(session.links) for session in sessions),
            questions=len(house.consent.open()),
            servers=len(house.registry.servers()),
            policy=house.policy.current.name,
            policy_problem=house.policy.problem or house.audit.failure,
            drifted_documents=[str(document.path) for document in at.agreed.drifted()],
            receipts=house.audit.seq,
        )

    async def _watch(self, caller: Caller, _params: schema.Nothing) -> schema.Nothing:
        """A snapshot, then only what differs from what was last said."""
        status, questions, sessions = self._status_now(), self._questions_now(), self._sessions_now()
        servers, grants = self._servers_now(), self._grants_now()
        receipts = await asyncio.to_thread(self._at.index.tail, RECEIPTS_SHOWN)
        seen = receipts[-1]["seq"] if receipts else 0
        caller.event(
            schema.Snapshot(
                status=status, questions=questions, sessions=sessions, servers=servers, grants=grants, receipts=receipts
            )
        )
        said: dict[type[schema.Words], Any] = {
            schema.QuestionsChanged: questions,
            schema.SessionsChanged: sessions,
            schema.ServersChanged: servers,
            schema.GrantsChanged: grants,
            schema.StatusChanged: _steady(status),
        }
        while True:
            await self._at.news.wait(REFRESH_SECONDS)
            await asyncio.sleep(WATCH_SECONDS)
            now = self._status_now()
            fresh: list[tuple[schema.Words, Any]] = [
                (schema.QuestionsChanged(questions=(found := self._questions_now())), found),
                (schema.SessionsChanged(sessions=(runs := self._sessions_now())), runs),
                (schema.ServersChanged(servers=(rows := self._servers_now())), rows),
                (schema.GrantsChanged(grants=(held := self._grants_now())), held),
                (schema.StatusChanged(status=now), _steady(now)),
            ]
            for words, value in fresh:
                if said[type(words)] != value:
                    said[type(words)] = value
                    caller.event(words)
            while page := await asyncio.to_thread(self._at.index.follow, seen, MAX_PAGE):
                seen = page[-1]["seq"]
                caller.event(schema.ReceiptsAdded(receipts=page))

    async def _stop(self, _caller: Caller, _params: schema.Nothing) -> schema.Nothing:
        self._at.stop()
        return schema.Nothing()

    # --- questions ---

    def _questions_now(self) -> list[schema.QuestionView]:
        return [views.question_view(question) for question in self._at.house.consent.open()]

    async def _pending(self, _caller: Caller, _params: schema.Nothing) -> schema.Questions:
        return schema.Questions(questions=self._questions_now())

    async def _answer(self, caller: Caller, params: schema.Answered) -> schema.Nothing:
        if not params.allow:
            raise DeskError("this route says yes", hint="bulkhead deny ID", code="usage")
        by = f"person (process {caller.peer.pid})"
        self._at.house.consent.answer(
            QuestionId(params.id), params.digest, allowed=True, lifetime=params.lifetime, by=by
        )
        return schema.Nothing()

    async def _deny(self, caller: Caller, params: schema.Answered) -> schema.Nothing:
        by = f"person (process {caller.peer.pid})"
        self._at.house.consent.answer(QuestionId(params.id), params.digest, allowed=False, by=by)
        return schema.Nothing()

    # --- servers ---

    def _servers_now(self) -> list[schema.ServerView]:
        registry = self._at.house.registry
        found = []
        for server in registry.servers():
            drift = self._at.drifts.of(server.name)
            changes, digest = (drift.changes, drift.digest) if drift else ((), "")
            found.append(views.server_view(registry, server, changes, digest))
        return found

    async def _servers(self, _caller: Caller, _params: schema.Nothing) -> schema.Servers:
        return schema.Servers(servers=self._servers_now())

    async def _prepare(self, caller: Caller, params: schema.Prepare) -> schema.Proposal:
        prepared = await self._at.pinner.prepare(params.name, params.argv, params.environment, caller.progress)
        return schema.Proposal(
            id=prepared.id,
            name=prepared.server,
            digest=prepared.digest,
            lines=list(prepared.lines),
            paths=list(prepared.launch.paths),
            replaces=self._at.house.registry.has_server(prepared.server),
        )

    async def _agree(self, caller: Caller, params: schema.Agree) -> schema.Agreed:
        house = self._at.house
        grants = grants_of(params.read, params.write)
        for value_name, value in params.env.items():
            house.audit.redactor.add(value_name, value)
        pin, notes = await self._at.pinner.agree(params.id, params.digest, grants, params.env, caller.progress)
        server = house.registry.server(pin.server)
        for value_name, value in house.registry.env(server).items():
            house.audit.redactor.add(f"{server.name}/{value_name}", value)
        self._at.drifts.forget(server.name)
        for client in params.connect:
            self._connect_now(client, server.name)
        agreed = {"argv": list(server.argv), "tree": pin.artifact.tree, "catalog": pin.catalog, "by": caller.peer.pid,
                  "read": params.read, "write": params.write, "variables": list(server.env)}  # fmt: skip
        fact = Fact("pin", "person", target=server.name, digest=params.digest, body=agreed, durable=True)
        await house.audit.append_durable(Origin(server=server.name), fact)
        for link in self._at.sessions.links(server.name):
            link.end(f"{server.name} was pinned anew; connect again")
        house.changed()
        return schema.Agreed(server=views.server_view(house.registry, server, (), ""), notes=list(notes))

    async def _remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        house = self._at.house
        house.registry.remove_server(params.name)
        house.grants.forget(server=params.name)
        self._at.drifts.forget(params.name)
        for link in self._at.sessions.links(params.name):
            link.end(f"{params.name} was removed")
        await self._did("pin", "server.remove", params.name, Origin(server=params.name))
        return schema.Nothing()

    async def _enable(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._switch(params.name, True)
        return schema.Nothing()

    async def _disable(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._switch(params.name, False)
        return schema.Nothing()

    async def _switch(self, name: str, enabled: bool) -> None:
        name, _, tool = name.partition("/")
        registry = self._at.house.registry
        registry.set_enabled(name, tool, enabled)
        server = registry.server(name)
        for link in self._at.sessions.links(name):
            link.server_changed(server)
            if not server.enabled:
                link.end(f"{name} was switched off")
        await self._did("policy", "enable" if enabled else "disable", f"{name}/{tool}".rstrip("/"), Origin(server=name))

    async def _verify(self, caller: Caller, params: schema.Verify) -> schema.Checks:
        house, checks = self._at.house, []
        for name in params.names or [server.name for server in house.registry.servers()]:
            caller.progress(f"hashing {name}")
            try:
                pin = house.registry.pin(name)
                if pin is None:
                    raise DeskError(f"{name} is not pinned", hint="bulkhead servers", code="unknown")
                await house.store.verified(pin)
                checks.append(schema.Check(name=name))
            except BulkheadError as problem:
                checks.append(schema.Check(name=name, problem=str(problem)))
        return schema.Checks(checks=checks)

    async def _grant_paths(self, _caller: Caller, params: schema.GrantPaths) -> schema.Nothing:
        registry = self._at.house.registry
        server = registry.server(params.name)
        more = grants_of(params.read, params.write)
        grants = replace(
            server.grants,
            read=(*server.grants.read, *(path for path in more.read if path not in server.grants.read)),
            write=(*server.grants.write, *(path for path in more.write if path not in server.grants.write)),
        )
        registry.put_server(replace(server, grants=grants))
        body = {"read": params.read, "write": params.write}
        await self._did("grant", "server.grant", params.name, Origin(server=params.name), body)
        return schema.Nothing()

    # --- what changed without a yes ---

    async def _review(self, _caller: Caller, _params: schema.Nothing) -> schema.Review:
        items = [
            schema.ReviewItem(
                kind="catalog",
                name=server,
                digest=drift.digest,
                changes=[views.change_line(change) for change in drift.changes],
            )
            for server, drift in self._at.drifts.all().items()
        ]
        items += [
            schema.ReviewItem(kind="document", name=str(found.path), digest=found.digest, changes=list(found.diff))
            for found in self._at.agreed.drifted()
        ]
        return schema.Review(items=items)

    async def _accept(self, _caller: Caller, params: schema.Accept) -> schema.Nothing:
        if self._at.drifts.of(params.name) is not None:
            live = self._at.drifts.accept(params.name, params.digest)
            for link in self._at.sessions.links(params.name):
                link.drift_accepted(live)
        else:
            self._accept_document(params)
        await self._did("policy", "review.accept", params.name, Origin(), {"digest": params.digest})
        return schema.Nothing()

    def _accept_document(self, params: schema.Accept) -> None:
        house = self._at.house
        known = {str(found.path) for found in self._at.agreed.drifted()}
        if params.name not in known:
            raise DeskError(f"{params.name} has not changed", hint="bulkhead review", code="unknown")
        if params.name == POLICY and params.digest:
            parse_policy((self._at.paths.config / POLICY).read_bytes(), POLICY)  # a bad one is refused before it counts
        self._at.agreed.accept(params.name, params.digest)
        if params.name == POLICY:
            house.policy.reload()
        if params.name == GRANTS:
            house.grants.reload()

    # --- sessions, clients, grants ---

    def _sessions_now(self) -> list[schema.SessionView]:
        ledgers = self._at.house.ledgers
        found = []
        for session in self._at.sessions.all():
            reads = [f"{read.server}: {read.method} {read.target[:80]}" for read in ledgers.view(session.id).reads]
            found.append(views.session_view(session, reads))
        return found

    async def _sessions(self, _caller: Caller, _params: schema.Nothing) -> schema.Sessions:
        return schema.Sessions(sessions=self._sessions_now())

    async def _session_end(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        self._at.sessions.end_session(params.name)
        await self._did("link-closed", "session.end", params.name, Origin(session=params.name))
        return schema.Nothing()

    async def _clients(self, _caller: Caller, _params: schema.Nothing) -> schema.Clients:
        return schema.Clients(
            clients=[
                schema.ClientView(
                    name=client.name,
                    created=client.created,
                    executables=sorted({path for paths in client.programs.values() for path in paths}),
                )
                for client in self._at.house.registry.clients()
            ]
        )

    async def _client_add(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        self._client_now(params.name)
        await self._did("grant", "client.add", params.name, Origin(client=params.name))
        return schema.Nothing()

    def _client_now(self, name: str) -> None:
        registry = self._at.house.registry
        check_name(name)
        if not registry.has_client(name):
            registry.put_client(name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    async def _client_remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        self._at.house.registry.remove_client(params.name)
        self._at.house.grants.forget(client=params.name)
        for link in self._at.sessions.links():
            if link.client == params.name:
                link.end(f"the client {params.name} was removed")
        await self._did("grant", "client.remove", params.name, Origin(client=params.name))
        return schema.Nothing()

    async def _connect(self, _caller: Caller, params: schema.Connect) -> schema.Nothing:
        self._at.house.registry.server(params.server)
        self._connect_now(params.client, params.server)
        await self._did("grant", "grant.connect", params.server, Origin(params.client, params.server))
        return schema.Nothing()

    def _connect_now(self, client: str, server: str) -> None:
        house = self._at.house
        self._client_now(client)
        house.grants.connect(
            house.registry.client(client).name, house.registry.server(server).name, house.policy.current
        )

    def _grants_now(self) -> list[schema.GrantView]:
        return [views.grant_view(grant) for grant in self._at.house.grants.all()]

    async def _grants(self, _caller: Caller, _params: schema.Nothing) -> schema.GrantList:
        return schema.GrantList(grants=self._grants_now())

    async def _revoke(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        grant = self._at.house.grants.revoke(params.name)
        if grant is None:
            raise DeskError(f"there is no grant {params.name}", hint="bulkhead grants", code="unknown")
        if grant.kind == "connection":
            for link in self._at.sessions.links(grant.server):
                if link.client == grant.client:
                    link.end("its connection grant was revoked")
        await self._did("grant", "grant.revoke", params.name, Origin(grant.client, grant.server))
        return schema.Nothing()

    async def _policy_use(self, _caller: Caller, params: schema.PolicyUse) -> schema.Nothing:
        self._at.house.policy.use(params.text.encode(), params.name)
        await self._did("policy", "policy.use", params.name, Origin())
        return schema.Nothing()

    async def _audit(self, _caller: Caller, params: schema.Search) -> schema.Receipts:
        found = await asyncio.to_thread(
            lambda: self._at.index.search(
                client=params.client,
                server=params.server,
                session=params.session,
                tool=params.tool,
                kind=params.kind,
                rule=params.rule,
                text=params.text,
                limit=params.limit,
            )
        )
        return schema.Receipts(receipts=found)

    async def _did(
        self, kind: str, method: str, target: str, origin: Origin, body: dict[str, Any] | None = None
    ) -> None:
        """Put on record, on the disk, what a person did at the desk."""
        fact = Fact(kind, "person", method, target, body=body, durable=True)  # type: ignore[arg-type]
        await self._at.house.audit.append_durable(origin, fact)
        self._at.house.changed()


def _steady(status: schema.Status) -> schema.Status:
    """A status without what changes by itself."""
    return status.model_copy(update={"uptime": 0.0})
