"""Fetch every page of a server's lists.

A pure machine with bounds on pages, items and bytes, so that a server that never comes to an end is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import ProtocolError
from broker.model import JsonObject
from broker.protocol.catalog import LISTS, ListName, fault_of
from broker.protocol.envelope import Response
from broker.protocol.frames import encode
from broker.protocol.replies import METHOD_NOT_FOUND, RequestId

MAX_PAGES: Final = 100  # for one list; the largest public server has some 900 tools and pages of 50
MAX_ITEMS: Final = 10_000  # for one list
MAX_BYTES: Final = 32 * 1024 * 1024  # for all lists together; eight of the largest messages

WIRE: Final[Mapping[ListName, tuple[str, str, str]]] = MappingProxyType(
    {
        "tools": ("tools", "tools/list", "tools"),
        "prompts": ("prompts", "prompts/list", "prompts"),
        "resources": ("resources", "resources/list", "resources"),
        "templates": ("resources", "resources/templates/list", "resourceTemplates"),
    }
)
"""Each list: the capability it belongs to, the method that asks for it, and the field of the result that holds it."""

Asks = Callable[[str, JsonObject], JsonObject]
"""Make a request of the server, with an id of ours: method and parameters to message."""


class Listing:
    """Some lists of one server.  Feed it the answers to its own requests until `done`."""

    def __init__(self, names: Iterable[ListName], ask: Asks) -> None:
        self._ask = ask
        self._open: dict[RequestId, ListName] = {}
        self._pages: dict[ListName, int] = {}
        self._cursors: dict[ListName, set[str]] = {}
        self._bytes = 0
        self.items: dict[ListName, list[JsonObject]] = {name: [] for name in names}
        self.lifetimes: dict[str, float] = {}
        """For how many milliseconds the server calls each list fresh, where it says so."""

    @property
    def done(self) -> bool:
        return not self._open

    def start(self) -> list[JsonObject]:
        """The first page of each list."""
        return [self._page(name, {}) for name in self.items]

    def owns(self, request: RequestId) -> bool:
        return request in self._open

    def receive(self, response: Response) -> list[JsonObject]:
        """Take one page; returns the request for the next.

        Raises:
            ProtocolError: the page is not what its method promises, or there is no end to them.
        """
        assert response.id is not None
        name = self._open.pop(response.id)
        _, method, field = WIRE[name]
        if response.result is None:
            if response.message["error"]["code"] == METHOD_NOT_FOUND:
                return []  # servers declare `resources` and know no templates: an empty list, said differently
            raise ProtocolError("server", f"answered {method} with error {response.message['error']['code']}")
        page = response.result.get(field)
        if not isinstance(page, list):
            raise ProtocolError("server", f"answered {method} without {field}")
        self._keep(name, page, len(encode(response.message)))
        told = response.result.get("ttlMs")
        if isinstance(told, int | float) and not isinstance(told, bool):
            self.lifetimes[name] = min(max(0.0, told), self.lifetimes.get(name, told))
        cursor = response.result.get("nextCursor")
        if cursor is None or cursor == "":
            return []
        if not isinstance(cursor, str) or cursor in self._cursors.setdefault(name, set()):
            raise ProtocolError("server", f"answered {method} with a cursor that leads nowhere")
        self._cursors[name].add(cursor)
        return [self._page(name, {"cursor": cursor})]

    def _page(self, name: ListName, params: JsonObject) -> JsonObject:
        self._pages[name] = self._pages.get(name, 0) + 1
        _, method, _ = WIRE[name]
        if self._pages[name] > MAX_PAGES:
            raise ProtocolError("server", f"answered {method} with more than {MAX_PAGES} pages")
        message = self._ask(method, params)
        self._open[message["id"]] = name
        return message

    def _keep(self, name: ListName, page: list[JsonObject], size: int) -> None:
        _, method, field = WIRE[name]
        what, key = LISTS[name]
        kept = self.items[name]
        self._bytes += size
        if self._bytes > MAX_BYTES or len(kept) + len(page) > MAX_ITEMS:
            raise ProtocolError("server", f"advertises more {field} than {MAX_ITEMS} items or {MAX_BYTES} bytes")
        for item in page:
            if fault := fault_of(what, key, item):
                raise ProtocolError("server", f"answered {method} with {fault}")
        kept.extend(page)
        if name != "resources" and len({item[key] for item in kept}) != len(kept):  # resources are data, not names
            raise ProtocolError("server", f"advertises two of its {field} under one {key}")
