"""Lessons at the desk: have a server watched, and see what it asked for in vain."""

import asyncio
from collections.abc import Mapping
from typing import Final

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.errors import DeskError, SandboxError
from broker.model import Origin

LOOK_SECONDS: Final = 30.0


class LessonRoutes:
    """Nothing is granted here: what is proposed goes through the route for grants, with a yes of its own."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {schema.LEARN.method: self._learn, schema.LEARNT.method: self._learnt}

    async def _learn(self, _caller: Caller, params: schema.Learn) -> schema.Nothing:
        registry = self._at.house.registry
        server = registry.server(params.name)
        pin = registry.pin(server.name)
        where = "outside of every sandbox" if not server.grants.boxed else f"in tier {self._at.tier.name}"
        if pin is not None and pin.artifact.kind == "remote":
            where = "elsewhere"
        if where == "elsewhere" or not server.grants.boxed or not self._at.tier.name.startswith("A"):
            raise SandboxError(
                f"{server.name} cannot be watched: it runs {where}", hint="watching needs the walls of tier A"
            )
        body = {"seconds": params.seconds}
        await self._at.did("grant", "server.learn", params.name, Origin(server=params.name), body)
        self._at.house.lessons.open(server.name, params.seconds)
        self._end_running(server.name, "is watched from its next start on")
        return schema.Nothing()

    async def _learnt(self, _caller: Caller, params: schema.Name) -> schema.Learnt:
        server = self._at.house.registry.server(params.name)
        lesson = self._at.house.lessons.close(server.name)
        self._end_running(server.name, "is no longer watched")
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                proposals = await asyncio.to_thread(self._at.house.lessons.proposals, lesson)
        except TimeoutError as cause:
            raise DeskError(
                f"the files that {server.name} asked for could not be looked at within {LOOK_SECONDS:.0f} s",
                hint="look at your disks, then watch it again",
            ) from cause
        blocked = [one for one in self._at.house.blocked.of(server.name) if one.last >= lesson.began]
        return schema.Learnt(
            starts=lesson.starts,
            paths=[
                schema.ProposedPath(path=str(one.path), writable=one.writable, asked=list(one.asked))
                for one in proposals.found
            ],
            hosts=sorted(one.grant for one in blocked),
            withheld=proposals.withheld,
            unseen=lesson.seen.more,
            refused=[
                schema.RefusedCalls(sort=one.sort.name, calls=list(one.calls), times=one.times, advice=one.sort.advice)
                for one in lesson.refused()
            ],
        )

    def _end_running(self, name: str, why: str) -> None:
        for link in self._at.sessions.links(name):
            if link.pid:
                link.end(f"{name} {why}; connect again")
