"""One `subscriptions/listen` of a client that follows many servers at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject, ServerName
from broker.protocol import replies
from broker.protocol.envelope import Request
from broker.protocol.replies import RequestId
from broker.protocol.subscriptions import URIS, filter_of
from broker.protocol.together import merged
from broker.protocol.versions import SUBSCRIPTION_KEY

MAX_HELD: Final = 256  # notifications that wait for the slowest server to say what it honours


@dataclass(slots=True)
class Listening:
    """`servers` still serve a part of it; `waits` are those that have not said which."""

    request: Request
    servers: set[ServerName]
    waits: set[ServerName]
    uris: dict[ServerName, list[str]]
    _honoured: list[JsonObject] = field(default_factory=list)
    _held: list[JsonObject] = field(default_factory=list)
    _told: bool = False

    @classmethod
    def of(
        cls, request: Request, servers: Iterable[ServerName], owner: Callable[[str], ServerName | None]
    ) -> "Listening | None":
        """What this request asks of whom; None if it does not say so properly."""
        wanted = filter_of(request.params)
        if wanted is None:
            return None
        uris: dict[ServerName, list[str]] = {}
        for uri in wanted.uris:
            if (server := owner(uri)) is not None:
                uris.setdefault(server, []).append(uri)
        return cls(request, set(servers), set(servers), uris)

    @property
    def id(self) -> RequestId:
        return self.request.id

    def part(self, server: ServerName) -> JsonObject:
        """What this server is asked."""
        wanted = {name: value for name, value in self.request.params["notifications"].items() if name != URIS}
        if server in self.uris:
            wanted[URIS] = self.uris[server]
        return {**self.request.message, "params": {**self.request.params, "notifications": wanted}}

    def hold(self, message: JsonObject) -> None:
        """News that came before the client knows what it follows."""
        if len(self._held) < MAX_HELD:
            self._held.append(message)

    def heard(self, server: ServerName | None, honoured: JsonObject) -> list[JsonObject]:
        """A server said what it honours; once all have, what the client is told."""
        if server in self.waits:
            self.waits.discard(server)
            self._honoured.append(honoured)
        if self.waits or self._told:
            return []
        self._told = True
        params = {"_meta": {SUBSCRIPTION_KEY: self.id}, "notifications": merged.honoured(self._honoured)}
        held, self._held = self._held, []
        return [replies.notification("notifications/subscriptions/acknowledged", params), *held]
