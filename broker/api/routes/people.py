"""Questions, sessions, clients and grants at the desk."""

import time
from collections.abc import Mapping
from dataclasses import replace

from broker.api import schema, views
from broker.api.premises import Premises
from broker.api.routes.logins import client_gone
from broker.api.wire import Caller, Handler
from broker.documents import check_name
from broker.errors import DeskError
from broker.flow.declassify import RULE, objection
from broker.flow.ledger import Read
from broker.model import Origin, QuestionId, SessionId
from broker.policy.store import STRICTEST
from broker.trust.pins import development


class People:
    """Who is asked, who is connected, and what was allowed."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.PENDING.method: self._pending,
            schema.APPROVE.method: self._answer,
            schema.DENY.method: self._deny,
            schema.SESSIONS.method: self._sessions,
            schema.SESSION_END.method: self._session_end,
            schema.SESSION_NEW.method: self._session_new,
            schema.DECLASSIFY.method: self._declassify,
            schema.CLIENTS.method: self._clients,
            schema.CLIENT_ADD.method: self._client_add,
            schema.CLIENT_REMOVE.method: self._client_remove,
            schema.CLIENT_ANSWERS.method: self._client_answers,
            schema.CONNECT.method: self._connect,
            schema.GRANTS.method: self._grants,
            schema.REVOKE.method: self._revoke,
        }

    def questions_now(self) -> list[schema.QuestionView]:
        return [views.question_view(question) for question in self._at.house.consent.open()]

    async def _pending(self, _caller: Caller, _params: schema.Nothing) -> schema.Questions:
        return schema.Questions(questions=self.questions_now())

    async def _answer(self, caller: Caller, params: schema.Answered) -> schema.Nothing:
        if not params.allow:
            raise DeskError("this route says yes", hint="bulkhead deny ID", code="usage")
        by = f"person (process {caller.peer.pid})"
        self._at.house.consent.answer(
            QuestionId(params.id), params.digest, allowed=True, lifetime=params.lifetime, by=by, number=params.number
        )
        return schema.Nothing()

    async def _deny(self, caller: Caller, params: schema.Answered) -> schema.Nothing:
        by = f"person (process {caller.peer.pid})"
        self._at.house.consent.answer(QuestionId(params.id), params.digest, allowed=False, by=by)
        return schema.Nothing()

    # --- servers ---

    def sessions_now(self) -> list[schema.SessionView]:
        autonomy, memory = self._at.house.autonomy, self._at.house.vitals.memory.of
        return [
            views.session_view(
                session,
                [views.reading_view(*one) for one in self._reads_of(session.id)],
                autonomy.of(session.id),
                memory,
            )
            for session in self._at.sessions.all()
        ]

    def _reads_of(self, session: SessionId) -> list[tuple[str, Read]]:
        ledgers = self._at.house.ledgers
        return [(ledgers.handle(session, read), read) for read in ledgers.view(session).reads]

    async def _declassify(self, _caller: Caller, params: schema.Declassify) -> schema.ReadView:
        """R6: on the disk before it counts."""
        house = self._at.house
        known = ((one, *found) for one in self._at.sessions.all() for found in self._reads_of(one.id))
        session, read = next(((one, read) for one, id, read in known if id == params.read), (None, None))
        if session is None or read is None:
            raise DeskError("no live session has read this, or more was read since you looked",
                            hint="look again: bulkhead sessions", code="replaced")  # fmt: skip
        if why := objection(read):
            raise DeskError(f"this read stays as it is: {why}", hint="bulkhead sessions")
        if house.policy.current.name == STRICTEST:
            raise DeskError(f"the policy {STRICTEST} lets nothing be declassified", hint="bulkhead policy use balanced")
        body = {"rule": RULE, "part": read.scope, "method": read.method, "target": read.target, "times": read.count,
                "labels": "".join(sorted(read.flags)), "digest": read.digest}  # fmt: skip
        origin = Origin(session.client, read.server, session.id)
        await self._at.did("policy", "session.declassify", read.target, origin, body)
        now = next((one for id, one in self._reads_of(session.id) if id == params.read), None)
        if now is None:
            raise DeskError("more was read while this was recorded", hint="look again: bulkhead sessions",
                            code="replaced")  # fmt: skip
        house.ledgers.declassify(session.id, now)
        house.changed()
        return views.reading_view(params.read, replace(now, clean=True))

    async def _sessions(self, _caller: Caller, _params: schema.Nothing) -> schema.Sessions:
        return schema.Sessions(sessions=self.sessions_now())

    async def _session_end(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._at.did("link-closed", "session.end", params.name, Origin(session=params.name))
        self._at.sessions.end_session(params.name)
        return schema.Nothing()

    async def _session_new(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._at.did("link-closed", "session.new", params.name, Origin(client=params.name))
        self._at.sessions.new_session(params.name)
        return schema.Nothing()

    async def _clients(self, _caller: Caller, _params: schema.Nothing) -> schema.Clients:
        return schema.Clients(
            clients=[
                schema.ClientView(
                    name=client.name,
                    created=client.created,
                    executables=sorted({path for paths in client.programs.values() for path in paths}),
                    answers=client.answers,
                )
                for client in self._at.house.registry.clients.all()
            ]
        )

    async def _client_answers(self, _caller: Caller, params: schema.ClientAnswers) -> schema.Nothing:
        clients = self._at.house.registry.clients
        name = clients.find(params.name).name
        await self._at.did("policy", "client.answers", name, Origin(client=name), {"on": params.on})
        clients.let_answer(name, on=params.on)
        return schema.Nothing()

    async def _client_add(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        check_name(params.name)
        await self._at.did("grant", "client.add", params.name, Origin(client=params.name))
        self._client_now(params.name)
        return schema.Nothing()

    def _client_now(self, name: str) -> None:
        registry = self._at.house.registry
        check_name(name)
        registry.clients.put(name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        self._at.house.audit.redactor.add(f"client/{name}", registry.secrets()[f"client/{name}"])

    async def _client_remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        self._at.house.registry.clients.remove(params.name)
        self._at.http.forget(params.name)
        self._at.house.grants.forget(client=params.name)
        self._at.house.walls.forget(client=params.name)
        for link in self._at.sessions.links():
            if link.client == params.name:
                link.end(f"the client {params.name} was removed")
        await client_gone(self._at, params.name)
        await self._at.did("grant", "client.remove", params.name, Origin(client=params.name))
        return schema.Nothing()

    async def _connect(self, _caller: Caller, params: schema.Connect) -> schema.Nothing:
        check_name(params.client)
        self._at.house.registry.server(params.server)
        await self._at.did("grant", "grant.connect", params.server, Origin(params.client, params.server))
        self.connect_now(params.client, params.server)
        return schema.Nothing()

    def connect_now(self, client: str, server: str) -> None:
        house = self._at.house
        self._client_now(client)
        pin = house.registry.pin(server)
        if pin is not None and pin.launch.dev:
            raise DeskError(f"{server} is a {development(pin.artifact)}", hint="allow it in each session")
        house.grants.connect(
            house.registry.clients.find(client).name, house.registry.server(server).name, house.policy.current
        )

    def grants_now(self) -> list[schema.GrantView]:
        passes = [views.pass_view(one) for one in self._at.http.entries.all()]
        return [views.grant_view(grant) for grant in self._at.house.grants.all()] + passes

    async def _grants(self, _caller: Caller, _params: schema.Nothing) -> schema.GrantList:
        return schema.GrantList(grants=self.grants_now())

    async def _revoke(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        grant = self._at.house.grants.revoke(params.name)
        if grant is None and (signed_in := self._at.http.entries.end(params.name)) is not None:
            await self._at.did("grant", "grant.revoke", params.name, Origin(signed_in.client, signed_in.server))
            return schema.Nothing()
        if grant is None:
            raise DeskError(f"there is no grant {params.name}", hint="bulkhead grants", code="unknown")
        if grant.kind == "connection":
            for link in self._at.sessions.links(grant.server):
                if link.client == grant.client:
                    link.end("its connection grant was revoked")
        await self._at.did("grant", "grant.revoke", params.name, Origin(grant.client, grant.server))
        return schema.Nothing()
