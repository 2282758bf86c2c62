"""What a relay needs of the world, as functions and two small protocols: its only seams.

Whoever builds a relay passes these in; the relay never looks for its neighbours.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from broker.model import Call, Decision, Fact, JsonObject
from broker.protocol.catalog import Catalog, Change
from broker.protocol.effects import Read


class Ends(Protocol):
    """The daemon's ends of a server's three streams; whoever took them closes them."""

    @property
    def stdin(self) -> int: ...
    @property
    def stdout(self) -> int: ...
    @property
    def stderr(self) -> int: ...


class Running(Protocol):
    """A started server instance.  `stop` returns when its whole tree is gone.

    `ending` says why we ended it ourselves; it is empty while it runs, and when it ended by itself.
    """

    @property
    def ending(self) -> str: ...
    def take_streams(self) -> Ends: ...
    async def stop(self) -> None: ...


def _as_it_is(message: JsonObject) -> JsonObject:
    return message


@dataclass(frozen=True, slots=True)
class Edges:
    """Everything a relay needs of the world, as functions.  Each may raise; then the link ends.

    `gave_up`: the client does not wait any more for the answer to this call; what `ask` returns goes nowhere.
    """

    record: Callable[[Fact, int], None]
    """Take a receipt down; it is written with the next `commit` at the latest."""
    commit: Callable[[], None]
    """Write the receipts that were taken down: what they are about may happen when this returns."""
    record_durably: Callable[[Fact, int], Awaitable[None]]
    ask: Callable[[Call, Decision], Awaitable[Decision]]
    gave_up: Callable[[Call], None]
    read: Callable[[Read], None]
    launch: Callable[[], Awaitable[Running]]
    drifted: Callable[[tuple[Change, ...], Catalog], None]
    changed: Callable[[], None]
    outgoing: Callable[[JsonObject], JsonObject] = _as_it_is
    """What the server is sent, with what lets it carry on a trace."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a link ended.  `blame` is "client", "server" or nobody's ("")."""

    reason: str
    blame: str = ""
