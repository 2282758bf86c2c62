"""All routes of the desk, and the gate in front of those that loosen something."""

from collections.abc import Mapping

from broker.api import presence, schema
from broker.api.premises import Premises
from broker.api.routes.boxes import Boxes
from broker.api.routes.checks import Checks
from broker.api.routes.endpoints import Endpoints
from broker.api.routes.fleet import FleetRoutes
from broker.api.routes.labels import LabelRoutes
from broker.api.routes.lessons import LessonRoutes
from broker.api.routes.logins import Logins
from broker.api.routes.overview import Overview
from broker.api.routes.people import People
from broker.api.routes.policies import PolicyRoutes
from broker.api.routes.receipts import ReceiptRoutes
from broker.api.routes.review import Reviews
from broker.api.routes.secrets import Secrets
from broker.api.routes.servers import Servers
from broker.api.routes.walls import WallRoutes
from broker.api.wire import Handler
from broker.errors import DeskError
from broker.model import Fact, Origin, Peer
from broker.processes import whole_ancestry


class Handlers:
    """What the front desk calls, route by route."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        """Every route and what it does."""
        people = People(self._at)
        logins = Logins(self._at)
        servers = Servers(self._at, people, logins)
        overview = Overview(self._at, people, servers)
        rooms = (people, servers, overview, Checks(self._at), Reviews(self._at), Endpoints(self._at), Boxes(self._at),
                 logins, LessonRoutes(self._at), WallRoutes(self._at), FleetRoutes(self._at), LabelRoutes(self._at),
                 ReceiptRoutes(self._at), Secrets(self._at), PolicyRoutes(self._at))  # fmt: skip
        return {method: handler for room in rooms for method, handler in room.table().items()}

    def gate(self, peer: Peer, route: schema.Route) -> None:
        """Whether this caller may use this route.

        Raises:
            DeskError: it loosens something, and no person can be seen behind it.
        """
        at = self._at
        if peer.uid != at.house.owner:
            raise DeskError("this desk belongs to another user", code="presence")
        if route.access != "loosen":
            return
        if at.house.audit.failure:
            raise DeskError(
                f"nothing is loosened while nothing can be recorded: {at.house.audit.failure}",
                hint="free some space, then: bulkhead down, bulkhead up",
            )
        why = presence.why_absent(whole_ancestry(peer.pid), at.sessions.applications, at.supervisor, at.presence)
        if why is not None:
            refused = {"route": route.method, "pid": peer.pid, "executable": peer.executable, "why": why}
            at.house.audit.append(Origin(), Fact("violation", "broker", "presence", route.method, body=refused))
            raise DeskError(
                f"only a person may do this, and {why}",
                hint="type it yourself in a terminal outside of your AI applications, or use the screen: bulkhead",
                code="presence",
            )

    # --- the daemon ---
