"""What of its server a client may see: what lists show, and what may be delivered at all."""

from typing import Final, Protocol

from broker.model import Decision, JsonObject


class Sight(Protocol):
    """Asked for every list and before every delivery, since what holds changes while a link lives."""

    def offers(self, method: str, target: str, /) -> bool:
        """Whether lists show what `method` uses under this name."""

    def bars(self, method: str, target: str, arguments: JsonObject, /) -> Decision | None:
        """Why what such a request brings may not reach the client."""


class _Clear:
    def offers(self, _method: str, _target: str, /) -> bool:
        return True

    def bars(self, _method: str, _target: str, _arguments: JsonObject, /) -> Decision | None:
        return None


CLEAR: Final[Sight] = _Clear()
"""Nothing is kept from the client."""
