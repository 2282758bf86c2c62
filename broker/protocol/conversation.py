"""One conversation between one client and one server: events go in, effects come out.

The order of the effects is the order in which the relay performs them, so "recorded before forwarded" is something a
test reads off a list.  Nothing here blocks, reads a clock or touches the world.
"""

from collections.abc import Callable

from broker.model import Call, ClientName, Decision, Era, ServerName, SessionId
from broker.protocol.catalog import Catalog
from broker.protocol.effects import Effect
from broker.protocol.events import Event


class Conversation:
    """Decides what happens to each message of one link."""

    def __init__(
        self,
        client: ClientName,
        server: ServerName,
        session: SessionId,
        catalog: Catalog,
        judge: Callable[[Call], Decision],
        admitted: bool,
    ) -> None: ...

    def receive(self, event: Event) -> list[Effect]:
        """What to do about `event`, in order."""
        raise NotImplementedError

    @property
    def era(self) -> Era | None:
        """The protocol era the client opened in; None before."""
        raise NotImplementedError

    @property
    def starting(self) -> bool:
        """True from `Started` until the live catalog was compared.  The relay bounds this wait (then `ServerGone`)."""
        raise NotImplementedError
