"""The walls and limits that are in force: those a person last agreed to.

A document that cannot be read keeps the daemon from starting; one that goes bad later leaves the last good one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from broker.errors import BulkheadError, PolicyError
from broker.model import ClientName, SessionId
from broker.policy.walls import Limit, Wall, Walls, format_walls, parse_walls

WALLS: Final = "walls.toml"


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...

    def write(self, name: str, data: bytes) -> None: ...


class WallBook:
    """The one owner of this document."""

    def __init__(self, documents: Documents, new_id: Callable[[], str]) -> None:
        """Read it.

        Raises:
            PolicyError: it is not acceptable; without its walls the daemon must not start.
        """
        self._documents = documents
        self._new_id = new_id
        self.current = self._read()

    def reload(self) -> str:
        """Read it again.  Returns the problem if it is not acceptable; then the old walls stand."""
        try:
            self.current = self._read()
        except BulkheadError as error:
            return str(error)
        return ""

    def add_wall(self, wall: Wall) -> None:
        """Put up a wall.

        Raises:
            PolicyError: it has no two sides, or one of its name stands.
        """
        self._write(replace(self.current, walls=(*self.current.walls, wall)))

    def remove_wall(self, name: str) -> None:
        """Take a wall down.

        Raises:
            PolicyError: there is none of this name.
        """
        if all(wall.name != name for wall in self.current.walls):
            raise PolicyError(f"there is no wall {name!r:.80}", hint="bulkhead wall list")
        self._write(replace(self.current, walls=tuple(wall for wall in self.current.walls if wall.name != name)))

    def add_limit(self, client: ClientName, tools: tuple[str, ...], session: SessionId) -> Limit:
        """Limit a client, or one session of it, beside whatever it is limited to already.

        Raises:
            PolicyError: the limit is not acceptable.
        """
        limit = Limit(self._new_id(), client, tools, session)
        self._write(replace(self.current, limits=(*self.current.limits, limit)))
        return limit

    def remove_limit(self, id: str) -> Limit:
        """Lift a limit.

        Raises:
            PolicyError: there is none of this id.
        """
        found = next((limit for limit in self.current.limits if limit.id == id), None)
        if found is None:
            raise PolicyError(f"there is no limit {id!r:.80}", hint="bulkhead limit list")
        self._keep(lambda limit: limit != found)
        return found

    def forget(self, *, client: str = "", session: str = "") -> None:
        """A client was removed, or a session is over for good: so are their limits."""
        self._keep(lambda limit: not (client and limit.client == client) and not (session and limit.session == session))

    def _keep(self, wanted: Callable[[Limit], bool]) -> None:
        kept = tuple(limit for limit in self.current.limits if wanted(limit))
        if kept != self.current.limits:
            self._write(replace(self.current, limits=kept))

    def _write(self, walls: Walls) -> None:
        data = format_walls(walls)
        parse_walls(data, WALLS)  # what we could not read again is not written
        self._documents.write(WALLS, data)
        self.current = walls

    def _read(self) -> Walls:
        data = self._documents.load(WALLS)
        return parse_walls(data, WALLS) if data is not None else Walls()
