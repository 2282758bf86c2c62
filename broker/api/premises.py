"""What the desk stands on: every owner whose state it shows or changes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from broker.agreed import Agreed
from broker.api.http_door import HttpDoor
from broker.api.presence import Presence
from broker.audit.index import Index
from broker.clients.watch import ClientWatch
from broker.config import Paths
from broker.drift import DriftBook
from broker.fleet import Fleet
from broker.house import House
from broker.model import Fact, FactKind, Origin
from broker.pinning import Pinner
from broker.sandbox.tiers import Tier
from broker.sessions import Sessions
from broker.sign_ins import SignIns
from broker.upkeep import Upkeep


class News(Protocol):
    """Wakes whoever watches."""

    async def wait(self, seconds: float) -> None: ...

    def watching(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Premises:
    """Everything the desk looks at or acts on."""

    house: House
    sessions: Sessions
    pinner: Pinner
    upkeep: Upkeep
    fleet: Fleet
    drifts: DriftBook
    agreed: Agreed
    index: Index
    paths: Paths
    tier: Tier
    limits: str
    keychain: str
    presence: Presence
    supervisor: int
    started: float
    stop: Callable[[], None]
    news: News
    http: HttpDoor
    sign_ins: SignIns
    clients: ClientWatch

    def server_changed(self, name: str) -> None:
        """Links follow the document of their server at once; of one that was switched off or removed they end."""
        registry = self.house.registry
        server = registry.server(name) if registry.has_server(name) else None
        for link in self.sessions.links(name):
            if server is None:
                link.end(f"{name} was removed")
            else:
                link.server_changed(server)
                if not server.enabled:
                    link.end(f"{name} was switched off")

    def walls_changed(self, client: str = "") -> None:
        """Links follow what their client is limited to at once."""
        for link in self.sessions.links():
            if client in ("", link.client):
                link.walls_changed()

    def labels_changed(self, name: str) -> None:
        """What the tools of a server do with data is judged anew, in running links too."""
        for link in self.sessions.links(name):
            link.judge.server_changed(link.server)

    async def did(
        self, kind: FactKind, method: str, target: str, origin: Origin, body: dict[str, Any] | None = None
    ) -> None:
        """Put on record, on the disk, what a person does at the desk: before it is done if it loosens something.

        What tightens is done first, so that a full disk cannot keep anybody from it.
        """
        await self.house.audit.append_durable(origin, Fact(kind, "person", method, target, body=body, durable=True))
        self.house.changed()
