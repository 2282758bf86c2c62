"""Walls and limits at the desk: putting one up needs no person, taking one down does."""

from collections.abc import Mapping

from broker.api import schema
from broker.api.premises import Premises
from broker.api.views import SHORT_ID
from broker.api.wire import Caller, Handler
from broker.errors import DeskError
from broker.model import Origin, SessionId
from broker.policy.walls import Limit, Wall


class WallRoutes:
    """What a person keeps apart, and what is all that a client may use."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.WALLS.method: self._walls,
            schema.WALL_ADD.method: self._wall_add,
            schema.WALL_REMOVE.method: self._wall_remove,
            schema.LIMIT_ADD.method: self._limit_add,
            schema.LIMIT_REMOVE.method: self._limit_remove,
        }

    async def _walls(self, _caller: Caller, _params: schema.Nothing) -> schema.Walls:
        found = self._at.house.walls.current
        return schema.Walls(
            walls=[
                schema.WallView(name=wall.name, classes={side: list(some) for side, some in wall.classes.items()})
                for wall in found.walls
            ],
            limits=[_limit_view(limit) for limit in found.limits],
        )

    async def _wall_add(self, _caller: Caller, params: schema.WallView) -> schema.Nothing:
        classes = {side: tuple(members) for side, members in params.classes.items()}
        self._at.house.walls.add_wall(Wall(params.name, classes))
        await self._at.did("policy", "wall.add", params.name, Origin(), {"classes": params.classes})
        return schema.Nothing()

    async def _wall_remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._at.did("policy", "wall.remove", params.name, Origin())
        self._at.house.walls.remove_wall(params.name)
        return schema.Nothing()

    async def _limit_add(self, _caller: Caller, params: schema.LimitChoice) -> schema.LimitView:
        client = self._at.house.registry.clients.find(params.client).name
        session = SessionId("")
        if params.session:
            found = self._at.sessions.find(params.session)
            if found.client != client:
                raise DeskError(f"this session is none of {client}", hint="bulkhead sessions", code="unknown")
            session = found.id
        limit = self._at.house.walls.add_limit(client, tuple(params.tools), session)
        self._at.walls_changed(client)
        await self._at.did("policy", "limit.add", limit.id, Origin(client, session=session), {"tools": params.tools})
        return _limit_view(limit)

    async def _limit_remove(self, _caller: Caller, params: schema.Name) -> schema.Nothing:
        await self._at.did("policy", "limit.remove", params.name, Origin())
        self._at.walls_changed(self._at.house.walls.remove_limit(params.name).client)
        return schema.Nothing()


def _limit_view(limit: Limit) -> schema.LimitView:
    return schema.LimitView(id=limit.id, client=limit.client, session=limit.session[:SHORT_ID], tools=list(limit.tools))
