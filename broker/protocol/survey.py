"""Ask a freshly started server for everything it advertises, as one `View`.

A pure machine: messages in, messages out.  Every page, item and byte is bounded, and a server that breaks a rule of
the wire is refused by name: what cannot be read whole cannot be agreed to.
"""

from typing import Final

from broker.errors import ProtocolError
from broker.model import Era, JsonObject
from broker.protocol import replies
from broker.protocol.catalog import View, ViewKey
from broker.protocol.envelope import Request, Response, read
from broker.protocol.interview import Interview
from broker.protocol.versions import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    FULL,
    LEGACY_VERSIONS,
    MODERN_VERSIONS,
    VERSION_KEY,
    Capabilities,
)

MAX_MESSAGES: Final = 10_000  # one survey needs a few dozen; the rest is a server that talks without end

_KEYS: Final[dict[tuple[Era, Capabilities], ViewKey]] = {
    ("legacy", "full"): "legacy/full",
    ("legacy", "empty"): "legacy/empty",
    ("modern", "full"): "modern/full",
    ("modern", "empty"): "modern/empty",
}
_WHO: Final[JsonObject] = {"name": "bulkhead", "title": "Bulkhead", "version": "1"}


class Survey:
    """Drive one fresh server instance, from its first message to its `View`.

    Feed it every message of the server; send what it returns.  Ends when `view` is set.
    """

    def __init__(self, era: Era, capabilities: Capabilities) -> None:
        self.era: Era = era
        self.capabilities: Capabilities = capabilities
        self._seen = 0
        declared = FULL[era] if capabilities == "full" else {}
        if era == "legacy":
            params: JsonObject = {"protocolVersion": LEGACY_VERSIONS[-1], "capabilities": declared, "clientInfo": _WHO}
            self._interview = Interview(era, params, {})
        else:
            meta = {VERSION_KEY: MODERN_VERSIONS[-1], CLIENT_INFO_KEY: _WHO, CLIENT_CAPABILITIES_KEY: declared}
            self._interview = Interview(era, {"_meta": meta}, meta)

    @property
    def key(self) -> ViewKey:
        """Where the view belongs in `Catalog.views`."""
        return _KEYS[self.era, self.capabilities]

    @property
    def view(self) -> View | None:
        """Everything the server advertises, or its refusal of this era; None while it is still being asked."""
        return self._interview.view

    def start(self) -> list[JsonObject]:
        """The opening message."""
        return self._interview.start()

    def receive(self, message: JsonObject) -> list[JsonObject]:
        """What to send next; empty while more is awaited, and when `view` is set.

        Raises:
            ProtocolError: the server broke the rules of the wire, or advertises more than the bounds allow.
        """
        self._seen += 1
        if self._seen > MAX_MESSAGES:
            raise ProtocolError("server", f"sent more than {MAX_MESSAGES} messages before its lists were complete")
        envelope = read("server", message)
        if isinstance(envelope, Response):
            return self._interview.receive(envelope)
        if isinstance(envelope, Request):
            return [_no(envelope)]
        return []  # a log line or a change nobody has relied on yet

    def unanswered(self) -> None:
        """The server let the time for the opening pass or ended: it does not speak this era (`view.refusal` says so).

        Raises:
            ProtocolError: it had answered the opening already, so that it broke off in the middle.
        """
        if self._interview.opened:
            raise ProtocolError("server", "ended before its lists were complete")
        text = f"{'initialize' if self.era == 'legacy' else 'server/discover'} is not answered by this server"
        self._interview.refuse({"code": replies.METHOD_NOT_FOUND, "message": text})


def _no(request: Request) -> JsonObject:
    """Nobody is there to be asked while a server is only being looked at."""
    if request.method == "ping":
        return replies.result(request.id, {})
    return replies.error(request.id, replies.METHOD_NOT_FOUND, "Bulkhead is taking stock: no client is connected")
