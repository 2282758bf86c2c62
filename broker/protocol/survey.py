"""Ask a freshly started server for everything it advertises, as one `View`.

A pure machine: messages in, messages out.  Every page, item and byte is bounded, and a server that breaks a rule of
the wire is refused by name.
"""

from typing import Literal, TypeAlias

from broker.model import Era, JsonObject
from broker.protocol.catalog import View, ViewKey

Capabilities: TypeAlias = Literal["full", "empty"]


class Survey:
    """Drive one fresh server instance, from its first message to its `View`.

    Feed it every message of the server; send what it returns.  Ends when `view` is set.
    """

    def __init__(self, era: Era, capabilities: Capabilities) -> None:
        self.era = era
        self.capabilities = capabilities
        self.view: View | None = None

    @property
    def key(self) -> ViewKey:
        """Where the view belongs in `Catalog.views`."""
        raise NotImplementedError

    def start(self) -> list[JsonObject]:
        """The opening message."""
        raise NotImplementedError

    def receive(self, message: JsonObject) -> list[JsonObject]:
        """What to send next; empty while more is awaited, and when `view` is set.

        Raises:
            ProtocolError: the server broke the rules of the wire, or advertises more than the bounds allow.
        """
        raise NotImplementedError

    def unanswered(self) -> None:
        """The server let the time for the opening pass or ended: it does not speak this era (`view.refusal` says so).

        Raises:
            ProtocolError: it had answered the opening already, so that it broke off in the middle.
        """
        raise NotImplementedError
