"""Start one server: look at its places, take its state, plan, spawn, and look after it at its end.

Whatever was taken for a start that fails is given back, and what it may have left in the user's folders is told.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, cast

from broker.concealed import handed_over
from broker.errors import BulkheadError
from broker.lessons import Lessons
from broker.model import Fact, Grants, NamedArtifact, Proof, ServerName
from broker.remotes import Remotes
from broker.sandbox.egress.leaving import Bodies
from broker.sandbox.launcher import Launcher
from broker.sandbox.leftovers import MAX_TOLD, Leftover, Look, left, look
from broker.sandbox.places import check_places
from broker.sandbox.plan import plan
from broker.sandbox.process import Instance
from broker.sandbox.state import SHARED, StateRooms

NOBODYS: Final = "pinning"
"""The state of a run that belongs to no session: it is made only to see what a server offers."""


class Starter:
    """What a daemon starts servers with."""

    def __init__(
        self,
        launcher: Launcher,
        states: StateRooms,
        home: Path,
        protected: Callable[[], list[Path]],
        lessons: Lessons | None = None,
        remotes: Remotes | None = None,
    ) -> None:
        """`protected` is what no server may be granted, looked up at each start; `lessons` say which are watched."""
        self._lessons = lessons
        self._launcher = launcher
        self._states = states
        self._home = home
        self._protected = protected
        self._remotes = remotes or Remotes()

    async def start(
        self,
        artifact: NamedArtifact,
        grants: Grants,
        env: Mapping[str, str],
        record: Callable[[Fact], None],
        session: str,
        proof: Proof,
        bodies: Bodies | None = None,
        client: str = "",
    ) -> Instance:
        """The server, running.  `session` is whose state it gets, where each session has its own; `bodies` judges what
        it sends by itself; `client` signs in at one that runs elsewhere.

        Raises:
            MachineError, SandboxError: why it was not started; or what `proof` raised.
        """
        if artifact.kind == "remote":
            await proof()
            # It has all that is used of an instance.
            return cast(Instance, self._remotes.start(artifact, env, client, grants.limits.message))
        argv, env = handed_over(artifact.argv, env)
        artifact = replace(artifact, argv=argv)
        protected = await asyncio.to_thread(self._protected)
        await asyncio.to_thread(check_places, artifact.server, grants)
        taken = None
        if grants.state != "none":
            key = SHARED if grants.state == "server" else session or NOBODYS
            taken = await self._states.take(artifact.server, key)
        lesson = self._lessons.of(artifact.server) if self._lessons is not None else None
        if lesson is not None:
            grants = lesson.grants(grants)
        try:
            spec = plan(
                artifact, grants, grants.limits, env=env, home=self._home, protected=protected, realpath=Path.resolve,
                state=taken.folder if taken is not None else None,
            )  # fmt: skip
            before = await asyncio.to_thread(look, grants.write) if grants.write else None
            seen = lesson.seen if lesson is not None else None
            instance = await self._launcher.spawn(spec, record, seen=seen, proof=proof, bodies=bodies)
        except BaseException:
            if taken is not None:
                taken.release()
            raise
        if taken is not None:
            instance.at_end(taken.release)
        if before is not None:
            instance.at_end(
                partial(_looked_again, before, grants.write), partial(_tell, artifact.server, record, before.whole)
            )
        return instance

    async def close(self) -> None:
        """Let go of what was kept for servers that run elsewhere."""
        await self._remotes.close()


def _looked_again(before: Look, grants: tuple[Path, ...]) -> tuple[Leftover, ...]:
    return left(before, look(grants))


def _tell(server: ServerName, record: Callable[[Fact], None], whole: bool, found: tuple[Leftover, ...]) -> None:
    """Put on record what it left; a folder too large to see all of is said to be one, where something was found."""
    if not found:
        return
    told = [str(one) for one in found[:MAX_TOLD]]
    body = {"left": told, "more": max(0, len(found) - MAX_TOLD), "whole": whole}
    try:
        record(Fact("violation", "broker", "leftover", server, body=body, durable=False))
    except BulkheadError:
        return  # the log is closed or full: the daemon says so itself, and nothing is forwarded any more
