"""Servers at the desk: prepare, agree, look, switch, grant, verify."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from broker.api import schema, views
from broker.api.premises import Premises
from broker.api.routes.logins import Logins
from broker.api.routes.people import People
from broker.api.wire import Caller, Handler
from broker.boxes import box_table, carried_over, check_elsewhere, check_listen, rechosen
from broker.concealed import ARGUMENT
from broker.errors import DeskError
from broker.labelling import shipped
from broker.model import Fact, Grants, Injection, Inspection, Origin, ServerName
from broker.network import check_network, tables
from broker.pinning import grants_of
from broker.sandbox.hosts import HostRules
from broker.sandbox.plan import check_sockets
from broker.sandbox.state import StateRooms
from broker.trust.builds import needs_building
from broker.vault.references import parse_reference

ON_THE_LINE: Final = (
    "handed over on the command line, as the line has it. No other server can see it, your own programs outside of a "
    "sandbox can (ps); a variable would be better, where the server takes one"
)


class Servers:
    """Everything that is done to a registered server."""

    def __init__(self, premises: Premises, people: People, logins: Logins) -> None:
        self._at = premises
        self._people = people
        self._logins = logins

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.SERVERS.method: self._servers,
            schema.DEFINITIONS.method: self._definitions,
            schema.PREPARE.method: self._prepare,
            schema.AGREE.method: self._agree,
            schema.REMOVE.method: self._remove,
            schema.ENABLE.method: self._enable,
            schema.DISABLE.method: self._disable,
            schema.GRANT_PATHS.method: self._grant_paths,
            schema.INSPECT.method: self._inspect,
            schema.FORBID.method: self._forbid,
        }

    def now(self) -> list[schema.ServerView]:
        registry = self._at.house.registry
        found = []
        for server in registry.servers():
            drift = self._at.drifts.of(server.name)
            changes, digest = (drift.changes, drift.digest) if drift else ((), "")
            book = self._at.house.blocked
            blocked, happened = book.of(server.name), book.happened(server.name)
            hits = self._at.upkeep.known(server.name)
            found.append(views.server_view(registry, server, changes, digest, blocked, happened, hits))
        return found

    async def _servers(self, _caller: Caller, _params: schema.Nothing) -> schema.Servers:
        return schema.Servers(servers=self.now())

    async def _definitions(self, _caller: Caller, params: schema.Name) -> schema.Definitions:
        registry = self._at.house.registry
        asked = registry.server(ServerName(params.name))
        views_of = {server.name: views.widest(registry.catalog(server.name)) for server in registry.servers()}
        return schema.Definitions(
            tools=[dict(tool) for tool in views_of[asked.name].tools],
            others={
                str(tool.get("name", "")): name
                for name, view in views_of.items()
                if name != asked.name
                for tool in view.tools
            },
        )

    async def _prepare(self, caller: Caller, params: schema.Prepare) -> schema.Proposal:
        prepared = await self._at.pinner.prepare(
            params.name, params.argv, params.environment, caller.progress, dev=params.dev, settings=params.settings
        )
        labels = shipped(self._at.house.labels, prepared.artifact)
        return schema.Proposal(
            id=prepared.id,
            name=prepared.server,
            digest=prepared.digest,
            lines=list(prepared.lines),
            warnings=list(prepared.warnings),
            paths=list(prepared.launch.paths),
            builds=list(prepared.builds),
            unbuilt=needs_building(prepared.artifact),
            needs=sorted(labels.needs),
            state=labels.state,
            keeps=labels.keeps,
            replaces=self._at.house.registry.has_server(prepared.server),
        )

    async def _agree(self, caller: Caller, params: schema.Agree) -> schema.Agreed:
        house = self._at.house
        grants = replace(grants_of(params.read, params.write, params.hosts), unix_sockets=params.unix_sockets)
        name = self._at.pinner.name_of(params.id)
        if house.registry.has_server(name):
            grants = carried_over(grants, house.registry.server(name).grants)
        grants = rechosen(grants, params.limits, params.state)
        if params.inspect:
            grants = replace(grants, inspection=_inspection(params.rules, params.secrets))
            check_network(
                ServerName(name), grants, {*params.env, *params.references, *self._at.pinner.variables_of(params.id)}
            )
        for value_name, value in params.env.items():
            house.audit.redactor.add(value_name, value)
        for reference in params.references.values():
            parse_reference(reference)
        if params.build:
            await self._at.did("pin", "server.build", name, Origin(server=ServerName(name)), {"digest": params.digest})
        wish = params.sign_in or schema.SignIn()

        async def sign_in(server: ServerName, url: str, headers: Mapping[str, str]) -> None:
            await self._logins.enter(server, url, headers, wish, always=False)

        with self._logins.attended(caller, wish.client, name):
            pin, notes = await self._at.pinner.agree(
                params.id, params.digest, grants, params.env, caller.progress,
                references=params.references, build=params.build, client=wish.client, sign_in=sign_in,
            )  # fmt: skip
        server = house.registry.server(pin.server)
        for value_name, value in house.registry.env(server).items():
            house.audit.redactor.add(f"{server.name}/{value_name}", value)
        self._at.drifts.forget(server.name)
        if pin.launch.dev:
            house.grants.forget(server=server.name)  # what was allowed for good was allowed for pinned bytes
        for client in params.connect:
            self._people.connect_now(client, server.name)
        agreed = {"argv": list(server.argv), "tree": pin.artifact.tree, "catalog": pin.catalog, "by": caller.peer.pid,
                  "read": params.read, "write": params.write, "hosts": list(grants.hosts),
                  "variables": list(server.env), "references": dict(server.references),
                  **box_table(server.grants), **tables(server.grants.inspection),
                  "builds": [[each.name, each.source, each.result] for each in pin.artifact.builds]}  # fmt: skip
        fact = Fact("pin", "person", target=server.name, digest=params.digest, body=agreed, durable=True)
        await house.audit.append_durable(Origin(server=server.name), fact)
        for link in self._at.sessions.links(server.name):
            link.end(f"{server.name} was pinned anew; connect again")
        house.changed()
        notes = (*notes, *self._kept(sorted(set(server.references) - set(params.references))))
        return schema.Agreed(server=views.server_view(house.registry, server, (), ""), notes=list(notes))

    def _kept(self, names: list[str]) -> list[str]:
        if not names:
            return []
        standing = self._at.house.vault.standing
        until = (
            "" if standing.lasts else ", in memory only: set them again after a restart, or: bulkhead vault passphrase"
        )
        notes = [f"kept in the vault: {', '.join(names)}{until}"]
        if words := [name for name in names if name.startswith(ARGUMENT)]:
            notes.append(f"{', '.join(words)}: {ON_THE_LINE}")
        return notes

    async def _remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        house = self._at.house
        house.registry.remove_server(params.name)
        house.provisions.forget_server(params.name)
        house.grants.forget(server=params.name)
        house.blocked.forget(ServerName(params.name))
        self._at.drifts.forget(params.name)
        self._at.server_changed(params.name)
        await self._logins.server_gone(params.name)
        self._at.http.entries.forget(server=params.name)
        await StateRooms(self._at.paths.server_state).remove(ServerName(params.name))
        await self._at.did("pin", "server.remove", params.name, Origin(server=params.name))
        return schema.Nothing()

    async def _enable(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        name = params.name.partition("/")[0]
        self._at.house.registry.server(name)  # says so if there is none
        await self._at.did("policy", "enable", params.name, Origin(server=name))
        self._switch(params.name, True)
        return schema.Nothing()

    async def _disable(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        self._switch(params.name, False)
        await self._at.did("policy", "disable", params.name, Origin(server=params.name.partition("/")[0]))
        return schema.Nothing()

    def _switch(self, name: str, enabled: bool) -> None:
        server, _, tool = name.partition("/")
        self._at.house.registry.set_enabled(server, tool, enabled)
        self._at.server_changed(server)
        self._at.house.changed()

    async def _grant_paths(self, _caller: Caller, params: schema.GrantPaths) -> schema.Nothing:
        registry = self._at.house.registry
        server = registry.server(params.name)
        more = grants_of(params.read, params.write, params.hosts)
        grants = replace(
            server.grants,
            read=(*server.grants.read, *(path for path in more.read if path not in server.grants.read)),
            write=(*server.grants.write, *(path for path in more.write if path not in server.grants.write)),
            hosts=(*server.grants.hosts, *(host for host in more.hosts if host not in server.grants.hosts)),
            listen=server.grants.listen if params.listen is None else check_listen(server.name, params.listen),
        )
        check_sockets(server.name, grants)
        self._check_place(server.name, grants)
        body = {"read": params.read, "write": params.write, "hosts": list(more.hosts), "listen": list(grants.listen)}
        await self._at.did("grant", "server.grant", params.name, Origin(server=params.name), body)
        registry.put_server(replace(registry.server(params.name), grants=grants))
        self._at.house.blocked.forget(server.name, more.hosts)
        self._at.server_changed(params.name)
        self._at.house.changed()
        return schema.Nothing()

    async def _forbid(self, _caller: Caller, params: schema.Hosts) -> schema.Nothing:
        registry = self._at.house.registry
        server = registry.server(params.name)
        gone = set(HostRules.of(params.hosts).texts)
        if missing := gone - set(server.grants.hosts):
            has = ", ".join(server.grants.hosts) or "no network"
            raise DeskError(f"{params.name} was not granted {', '.join(sorted(missing))}", hint=f"it reaches: {has}")
        hosts = tuple(host for host in server.grants.hosts if host not in gone)
        registry.put_server(replace(server, grants=replace(server.grants, hosts=hosts)))
        for link in self._at.sessions.links(params.name):
            if link.pid:
                link.end(f"{', '.join(sorted(gone))} was taken from {params.name}; connect again")
        self._at.server_changed(params.name)
        body = {"hosts": sorted(gone)}
        await self._at.did("grant", "server.forbid", params.name, Origin(server=params.name), body)
        return schema.Nothing()

    async def _inspect(self, _caller: Caller, params: schema.Inspect) -> schema.Nothing:
        registry = self._at.house.registry
        server = registry.server(params.name)
        inspection = _inspection(params.rules, params.secrets) if params.on else None
        wanted = replace(server, grants=replace(server.grants, inspection=inspection))
        self._check_place(server.name, wanted.grants)
        check_network(server.name, wanted.grants, server.env)
        body = tables(inspection)
        await self._at.did("grant", "server.inspect", params.name, Origin(server=params.name), body)
        registry.put_server(wanted)
        for link in self._at.sessions.links(params.name):
            if link.pid:
                link.end(f"the network of {params.name} is looked into in another way; connect again")
        self._at.server_changed(params.name)
        return schema.Nothing()

    def _check_place(self, name: ServerName, grants: Grants) -> None:
        pin = self._at.house.registry.pin(name)
        if pin is not None and pin.artifact.kind == "remote":
            check_elsewhere(name, grants)

    # --- what changed without a yes ---


def _inspection(rules: Sequence[str], secrets: Sequence[schema.SecretPlace]) -> Inspection:
    placed = tuple(Injection(s.name, s.header, s.host, tuple(s.method), s.path) for s in secrets)
    return Inspection(tuple(rules), placed)
