"""The manners that are in force, and how each server of this home did lately."""

from typing import Final, Protocol

from broker.errors import BulkheadError
from broker.manners.breaker import Breaker
from broker.manners.calls import Calls
from broker.manners.rules import MANNERS, Bounds, MannersText, parse_manners
from broker.model import Call, ServerName

NONE: Final = MannersText(version=1)


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...


class NoDocuments:
    """Nothing was agreed to."""

    def load(self, _name: str) -> bytes | None:
        return None


class MannersBook:
    """The one owner of this document, and of the breakers."""

    def __init__(self, documents: Documents) -> None:
        """Raises `PolicyError` where the document is not acceptable."""
        self._documents = documents
        self._breakers: dict[ServerName, Breaker] = {}
        self.current = self._read()

    def reload(self) -> str:
        """Read it again.  Returns the problem if it is not acceptable; then the old ones stand."""
        try:
            self.current = self._read()
        except BulkheadError as error:
            return str(error)
        for breaker in self._breakers.values():
            breaker.failures, breaker.seconds = self.current.failures, self.current.rest
        return ""

    def bounds(self, call: Call) -> Bounds:
        return self.current.bounds(call)

    def calls(self, server: ServerName) -> Calls:
        """For one link with this server."""
        fresh = Breaker(self.current.failures, self.current.rest)
        return Calls(self._breakers.setdefault(server, fresh))

    def _read(self) -> MannersText:
        data = self._documents.load(MANNERS)
        return parse_manners(data, MANNERS) if data is not None else NONE
