"""The opening of one server instance, and everything it then says it has.

Used twice: by a survey, in our own name, and for a running link, in the words of its client.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from broker.errors import ProtocolError
from broker.model import Era, JsonObject
from broker.protocol.catalog import LISTS, ListName, View, items
from broker.protocol.envelope import Response
from broker.protocol.listing import WIRE, Listing
from broker.protocol.replies import METHOD_NOT_FOUND, UNSUPPORTED_VERSION, RequestId, notification
from broker.protocol.versions import LEGACY_VERSIONS, MODERN_VERSIONS, OWN_PREFIX

MAX_POSTED: Final = 1024  # answers awaited and ignored; replayed subscriptions are the most numerous


class Interview:
    """Ask one instance for its opening and its lists.  All ids are ours; feed it the answers to them.

    `params` go with the opening, `meta` with every later request (the modern era wants it there), and `initialized`
    is the notification that ends a legacy handshake.
    """

    def __init__(self, era: Era, params: JsonObject, meta: JsonObject, initialized: JsonObject | None = None) -> None:
        self._era: Era = era
        self._params = params
        self._meta = meta
        self._initialized = initialized or notification("notifications/initialized")
        self._number = 0
        self._opening: RequestId | None = None
        self._asked_again = False
        self._posted: set[RequestId] = set()
        self._listing: Listing | None = None
        self._found: View | None = None
        self._lifetimes: dict[str, float] = {}

    @property
    def opened(self) -> bool:
        """The server has answered the opening, with yes or no."""
        return self._found is not None

    @property
    def view(self) -> View | None:
        """Everything it advertises, once all of it is known."""
        return self._found if self._listing is None else None

    def start(self) -> list[JsonObject]:
        opening = self._ask("initialize" if self._era == "legacy" else "server/discover", self._params)
        self._opening = opening["id"]
        return [opening]

    def post(self, method: str, params: JsonObject) -> JsonObject:
        """A request whose answer does not matter to anybody but us."""
        message = self._ask(method, {**self._meta_params(), **params})
        if len(self._posted) < MAX_POSTED:
            self._posted.add(message["id"])
        return message

    def relist(self, names: Iterable[ListName]) -> list[JsonObject]:
        """Ask again for some of the lists; `view` is None until they are complete."""
        assert self._listing is None and self._found is not None
        wanted = [name for name in names if name in self._offered()]
        return self._begin(wanted) if wanted else []

    def receive(self, response: Response) -> list[JsonObject]:
        """What to send next.

        Raises:
            ProtocolError: nobody asked, or the answer is not what was asked for.
        """
        if response.id is not None and response.id == self._opening:
            self._opening = None
            return self._open(response)
        if response.id is not None and self._listing is not None and self._listing.owns(response.id):
            following = self._listing.receive(response)
            if self._listing.done:
                self._finish(self._listing)
            return following
        if response.id in self._posted:
            self._posted.discard(response.id)
            return []
        raise ProtocolError("server", "answered a request nobody made")

    def take_lifetimes(self) -> dict[str, float]:
        """For how many milliseconds the server calls its lists fresh that were read since this was last asked."""
        taken, self._lifetimes = self._lifetimes, {}
        return taken

    def refuse(self, error: JsonObject) -> None:
        """The server does not speak this era: it said so, or its silence does."""
        self._opening = None
        self._found = View(self._era, refusal=error)

    def _open(self, response: Response) -> list[JsonObject]:
        opening = response.result
        if opening is None:
            if self._era == "modern" and not self._asked_again and _means_again(response.message["error"]):
                self._asked_again = True
                return self.start()
            self.refuse(response.message["error"])
            return []
        if self._era == "modern" and "supportedVersions" not in opening:
            # Some servers answer whatever they do not know with an empty result.
            self.refuse({"code": METHOD_NOT_FOUND, "message": "server/discover is not answered by this server"})
            return []
        (_check_legacy if self._era == "legacy" else _check_modern)(opening)
        self._found = View(self._era, opening=opening)
        sent = [self._initialized] if self._era == "legacy" else []
        offered = self._offered()
        return sent + (self._begin(offered) if offered else [])

    def _offered(self) -> list[ListName]:
        assert self._found is not None
        capabilities = (self._found.opening or {}).get("capabilities", {})
        return [name for name, (capability, _, _) in WIRE.items() if isinstance(capabilities.get(capability), dict)]

    def _begin(self, names: Iterable[ListName]) -> list[JsonObject]:
        self._listing = Listing(names, lambda method, params: self._ask(method, {**self._meta_params(), **params}))
        return self._listing.start()

    def _finish(self, listing: Listing) -> None:
        assert self._found is not None
        fresh: dict[str, Any] = {name: tuple(listing.items.get(name, items(self._found, name))) for name in LISTS}
        self._found = replace(self._found, **fresh)
        self._lifetimes |= listing.lifetimes
        self._listing = None

    def _meta_params(self) -> JsonObject:
        return {"_meta": self._meta} if self._era == "modern" else {}

    def _ask(self, method: str, params: JsonObject) -> JsonObject:
        self._number += 1
        message: JsonObject = {"jsonrpc": "2.0", "id": f"{OWN_PREFIX}{self._number}", "method": method}
        if params:
            message["params"] = params
        return message


def _means_again(error: JsonObject) -> bool:
    """The server refused the version it was asked with, and names the same among those it takes."""
    data = error.get("data") if error["code"] == UNSUPPORTED_VERSION else None
    supported = data.get("supported") if isinstance(data, dict) else None
    return isinstance(supported, list) and MODERN_VERSIONS[-1] in supported


def _check_legacy(opening: JsonObject) -> None:
    if opening.get("protocolVersion") not in LEGACY_VERSIONS:
        raise ProtocolError("server", "answered initialize with a protocol version nobody here speaks")
    if not isinstance(opening.get("serverInfo"), dict):
        raise ProtocolError("server", "answered initialize without saying who it is")
    _check_both("initialize", opening)


def _check_modern(opening: JsonObject) -> None:
    versions = opening.get("supportedVersions")
    if not isinstance(versions, list) or not set(MODERN_VERSIONS).intersection(
        v for v in versions if isinstance(v, str)
    ):
        raise ProtocolError("server", "answered server/discover without a protocol version anybody here speaks")
    _check_both("server/discover", opening)


def _check_both(method: str, opening: JsonObject) -> None:
    if not isinstance(opening.get("capabilities"), dict):
        raise ProtocolError("server", f"answered {method} without its capabilities")
    if not isinstance(opening.get("instructions", ""), str):
        raise ProtocolError("server", f"answered {method} with instructions that are no text")
