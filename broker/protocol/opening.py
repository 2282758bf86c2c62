"""How a client's opening is answered without a server: from what was agreed to, changed only where it must be.

Changed are: the protocol version of a legacy client that speaks only older ones, `listChanged` (we always tell when
what we show changes, whatever the server does), versions nobody here speaks, and, while the client is not admitted,
the instructions, which are then left out.
"""

from typing import Any

from broker.errors import ProtocolError
from broker.model import Era, JsonObject
from broker.protocol.catalog import SERVER_INFO, Catalog, View, ViewKey
from broker.protocol.envelope import Request
from broker.protocol.replies import METHOD_NOT_FOUND, UNSUPPORTED_VERSION, complete
from broker.protocol.versions import (
    APPS,
    CLIENT_CAPABILITIES_KEY,
    LEGACY_VERSIONS,
    MODERN_VERSIONS,
    TASKS,
    VERSION_KEY,
    Capabilities,
    negotiated,
)

_LISTED = ("tools", "prompts", "resources")
_TABLED = frozenset({TASKS, APPS})


def era_of(request: Request) -> Era | None:
    """The era a request is written in, by itself; None where it could be either."""
    if request.method == "initialize":
        return "legacy"
    return "modern" if request.method == "server/discover" or VERSION_KEY in request.meta else None


def check_modern(request: Request) -> None:
    """Every modern request carries its version and the client's capabilities.

    Raises:
        ProtocolError: this one does not.
    """
    if not isinstance(request.meta.get(VERSION_KEY), str):
        raise ProtocolError("client", f"sent a request whose _meta lacks {VERSION_KEY}")
    if not isinstance(request.meta.get(CLIENT_CAPABILITIES_KEY), dict):
        raise ProtocolError("client", f"sent a request whose _meta lacks {CLIENT_CAPABILITIES_KEY}")


def check_legacy(request: Request) -> None:
    """What a legacy opening must say.

    Raises:
        ProtocolError: it does not.
    """
    if not isinstance(request.params.get("protocolVersion"), str):
        raise ProtocolError("client", "sent initialize without a protocolVersion")
    if not isinstance(request.params.get("capabilities"), dict):
        raise ProtocolError("client", "sent initialize without its capabilities")


def declared(era: Era, request: Request) -> Capabilities:
    """Whether the client declared anything."""
    return "full" if declaration(era, request) else "empty"


def declaration(era: Era, request: Request) -> object:
    """What the client said it can do."""
    return request.params.get("capabilities") if era == "legacy" else request.meta.get(CLIENT_CAPABILITIES_KEY)


def extensions(capabilities: object) -> frozenset[str]:
    """The extensions a side declares, but for those whose methods we know all of."""
    found = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return frozenset(found) - _TABLED if isinstance(found, dict) else frozenset()


def views_for(catalog: Catalog, era: Era, capabilities: Capabilities) -> tuple[ViewKey, View, View] | None:
    """The view a client is shown, and the other of its era (or the same again); None when the era was never pinned."""
    keys: tuple[ViewKey, ViewKey] = (
        ("legacy/full", "legacy/empty") if era == "legacy" else ("modern/full", "modern/empty")
    )
    first, second = keys if capabilities == "full" else keys[::-1]
    found = [key for key in (first, second) if key in catalog.views]
    if not found:
        return None
    return found[0], catalog.views[found[0]], catalog.views[found[-1]]


def version_error(view: View, requested: str) -> JsonObject | None:
    """Why a modern request cannot be served in the version it names; None when it can."""
    supported = [version for version in (view.opening or {}).get("supportedVersions", ()) if version in MODERN_VERSIONS]
    if requested in supported:
        return None
    data = {"supported": supported, "requested": requested}
    return {"code": UNSUPPORTED_VERSION, "message": "Unsupported protocol version", "data": data}


def unpinned(server: str) -> JsonObject:
    """The error for an era nobody has looked at; it lets a client that speaks both fall back to the other."""
    text = f"Bulkhead has no pinned catalog of {server} for this protocol era; run: bulkhead review {server}"
    return {"code": METHOD_NOT_FOUND, "message": text}


def opening_result(view: View, request: Request, *, admitted: bool) -> JsonObject:
    """The answer to `initialize` or `server/discover`."""
    assert view.opening is not None
    body: dict[str, Any] = dict(view.opening)
    body["capabilities"] = {
        name: {**value, "listChanged": True} if name in _LISTED and isinstance(value, dict) else value
        for name, value in view.opening["capabilities"].items()
    }
    if not admitted:
        body.pop("instructions", None)
    if view.era == "legacy":
        body["protocolVersion"] = negotiated(request.params.get("protocolVersion"), view.opening["protocolVersion"])
        return body
    known = (*LEGACY_VERSIONS, *MODERN_VERSIONS)
    body["supportedVersions"] = [version for version in view.opening["supportedVersions"] if version in known]
    return complete("modern", body)


def list_result(view: View, field: str, found: tuple[JsonObject, ...]) -> JsonObject:
    """A whole list in one page.  A modern client is told not to keep it: an answer of a person may change it."""
    body: JsonObject = {field: list(found)}
    if view.era == "legacy":
        return body
    meta = (view.opening or {}).get("_meta")
    if isinstance(meta, dict) and SERVER_INFO in meta:
        body["_meta"] = {SERVER_INFO: meta[SERVER_INFO]}
    return complete("modern", {**body, "ttlMs": 0, "cacheScope": "private"})
