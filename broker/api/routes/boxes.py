"""Sandboxes at the desk: limits, state, and taking a server out of its box."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.boxes import box_table, rechosen
from broker.model import Origin
from broker.sandbox.limits import KINDS, written
from broker.sandbox.plan import check_sockets
from broker.sandbox.state import StateRooms


class Boxes:
    """What a person chooses about how servers run."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.SANDBOX.method: self._sandbox,
            schema.SANDBOX_SET.method: self._set,
            schema.STATES.method: self._list,
            schema.STATE_CLEAR.method: self._clear,
        }

    async def _sandbox(self, _caller: Caller, params: schema.Name) -> schema.SandboxView:
        return self._view(params.name)

    async def _set(self, caller: Caller, params: schema.SandboxChoice) -> schema.SandboxView:
        registry = self._at.house.registry
        server = registry.server(params.name)
        grants = rechosen(server.grants, params.limits, params.state, params.boxed, params.unix_sockets)
        check_sockets(server.name, grants)
        body: dict[str, Any] = {**box_table(grants), "by": caller.peer.pid}
        await self._at.did("grant", "server.sandbox", params.name, Origin(server=params.name), body)
        registry.put_server(replace(registry.server(params.name), grants=grants))
        for link in self._at.sessions.links(params.name):
            link.end(f"the sandbox of {params.name} was changed; connect again")
        return self._view(params.name)

    async def _list(self, _caller: Caller, _params: schema.Nothing) -> schema.States:
        found = await asyncio.to_thread(self._states.list)
        return schema.States(
            states=[
                schema.StateView(server=one.server, key=one.key[:12], size=one.size, in_use=one.in_use) for one in found
            ]
        )

    async def _clear(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        cleared = await asyncio.to_thread(self._states.clear, params.name)
        await self._at.did("grant", "state.clear", params.name, Origin(server=params.name), {"folders": cleared})
        return schema.Nothing()

    @property
    def _states(self) -> StateRooms:
        return StateRooms(self._at.paths.server_state)

    def _view(self, name: str) -> schema.SandboxView:
        grants = self._at.house.registry.server(name).grants
        return schema.SandboxView(
            name=name,
            boxed=grants.boxed,
            state=grants.state,
            tier=self._at.tier.shown if grants.boxed else "off",
            unix_sockets=grants.unix_sockets,
            limits={kind.flag: written(kind, getattr(grants.limits, kind.field)) for kind in KINDS.values()},
        )
