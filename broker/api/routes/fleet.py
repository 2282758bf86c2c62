"""The policy bundle of an organisation at the desk: pulling it needs no person, choosing and leaving it does."""

from collections.abc import Mapping

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.model import Origin
from broker.policy.fleet import PREFIX


class FleetRoutes:
    """What can be asked of the one subscription."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.FLEET.method: self._now,
            schema.FLEET_REFRESH.method: self._refresh,
            schema.FLEET_SUBSCRIBE.method: self._subscribe,
            schema.FLEET_LEAVE.method: self._leave,
        }

    async def _now(self, _caller: Caller, _params: schema.Nothing) -> schema.FleetView:
        return self._view()

    async def _refresh(self, _caller: Caller, _params: schema.Nothing) -> schema.FleetView:
        await self._at.fleet.refresh()
        return self._view()

    async def _subscribe(self, caller: Caller, params: schema.FleetSubscribe) -> schema.FleetView:
        caller.progress("fetching the policy bundle")
        await self._at.did("policy", "fleet.subscribe", params.source[:200], Origin())
        await self._at.fleet.subscribe(params.source, params.root)
        return self._view()

    async def _leave(self, _caller: Caller, _params: schema.Nothing) -> schema.Nothing:
        await self._at.did("policy", "fleet.leave", "", Origin())
        await self._at.fleet.leave()
        return schema.Nothing()

    def _view(self) -> schema.FleetView:
        now = self._at.fleet.current()
        if now is None:
            return schema.FleetView()
        held = [rule.name for rule in self._at.house.policy.current.rules if rule.name.startswith(PREFIX)]
        return schema.FleetView(source=now.source, version=now.version, rules=held, problem=self._at.fleet.problem)
