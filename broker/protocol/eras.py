"""What one era calls what the other era says: openings, capabilities, results, errors.

Only words that both eras have are translated; a word of one era alone is left out here, and whoever needs it is told
so by the bridge.  Fields nobody knows keep their meaning and stay.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from broker.model import Era, JsonObject
from broker.protocol.catalog import SERVER_INFO, Catalog, View
from broker.protocol.envelope import meta_of
from broker.protocol.replies import INVALID_PARAMS
from broker.protocol.tasks import OFFERED, REVISION, legacy_offers, modern_declares, with_extension
from broker.protocol.versions import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    LEGACY_VERSIONS,
    LOG_LEVEL_KEY,
    MODERN_VERSIONS,
    SUBSCRIPTION_KEY,
    TASKS,
    VERSION_KEY,
)

ASKS: Final[Mapping[str, str]] = MappingProxyType(
    {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
)
"""What a server may ask of a client in both eras, and the capability the client declares for it."""

CARRIERS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests whose modern answer may ask for input."""

_CACHED: Final = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
_MODERN_ONLY: Final = frozenset({"resultType", "ttlMs", "cacheScope", "supportedVersions"})
_PER_REQUEST: Final = frozenset({VERSION_KEY, CLIENT_INFO_KEY, CLIENT_CAPABILITIES_KEY, LOG_LEVEL_KEY})
_RESOURCE_NOT_FOUND: Final = -32002  # the modern era says that the parameters are wrong


def speaks(catalog: Catalog, era: Era) -> bool:
    """Whether a server was seen to open a conversation in this era."""
    return any(view.era == era and view.opening is not None for view in catalog.views.values())


def capabilities(found: JsonObject) -> JsonObject:
    """Capabilities that mean the same in both eras; tasks are another thing in each (see `tasks`)."""
    kept = {name: value for name, value in found.items() if name != "tasks"}
    if isinstance(extensions := kept.get("extensions"), dict):
        kept["extensions"] = {name: value for name, value in extensions.items() if name != TASKS}
    return kept


def lacks(declared: JsonObject, request: JsonObject) -> str:
    """The capability without which nobody may ask the client for this; empty when it declared it, "?" for no request.

    An elicitation by URL is a capability of its own.
    """
    needed = ASKS.get(request.get("method", ""))
    if needed is None:
        return "?"
    found = declared.get(needed)
    if not isinstance(found, dict):
        return needed
    params = request.get("params", {})
    by_url = needed == "elicitation" and isinstance(params, dict) and params.get("mode") == "url"
    return "elicitation.url" if by_url and "url" not in found else ""


def modern_view(view: View) -> View:
    """What a legacy server shows a modern client."""
    assert view.opening is not None
    opening = {name: value for name, value in view.opening.items() if name not in ("protocolVersion", "serverInfo")}
    offered = capabilities(view.opening["capabilities"])
    opening |= {
        "supportedVersions": list(MODERN_VERSIONS),
        "capabilities": with_extension(offered) if legacy_offers(view.opening["capabilities"]) else offered,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {**meta_of(view.opening), SERVER_INFO: view.opening["serverInfo"]},
    }
    return View("modern", opening, None, view.tools, view.prompts, view.resources, view.templates)


def initialize_params(meta: JsonObject, version: str) -> JsonObject:
    """How a modern client would have opened in the legacy era."""
    info = meta.get(CLIENT_INFO_KEY)
    return {
        "protocolVersion": version,
        "capabilities": capabilities(meta[CLIENT_CAPABILITIES_KEY]),
        "clientInfo": info if isinstance(info, dict) else {"name": "unnamed", "version": "0"},
    }


def initialize_result(discovered: JsonObject, requested: object, server: str) -> JsonObject:
    """How a modern server would have answered `initialize`."""
    meta = meta_of(discovered)
    info = meta.get(SERVER_INFO)
    kept = {name: value for name, value in discovered.items() if name not in _MODERN_ONLY and name != "_meta"}
    if rest := {name: value for name, value in meta.items() if name != SERVER_INFO}:
        kept["_meta"] = rest
    told = requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
    tasks = {"tasks": OFFERED} if told == REVISION and modern_declares(discovered["capabilities"]) else {}
    return {
        **kept,
        "protocolVersion": told,
        "capabilities": {**capabilities(discovered["capabilities"]), **tasks},
        "serverInfo": info if isinstance(info, dict) else {"name": server, "version": "0"},
    }


def client_meta(opening: JsonObject) -> JsonObject:
    """What a legacy client's `initialize` says, as it stands on every modern request."""
    meta: JsonObject = {
        VERSION_KEY: MODERN_VERSIONS[-1],
        CLIENT_CAPABILITIES_KEY: capabilities(opening["capabilities"]),
    }
    if isinstance(opening.get("clientInfo"), dict):
        meta[CLIENT_INFO_KEY] = opening["clientInfo"]
    return meta


def legacy_params(params: JsonObject) -> JsonObject:
    """A modern request's parameters without what only the modern era says on each of them."""
    kept = {name: value for name, value in params.items() if name not in ("_meta", "requestState", "inputResponses")}
    meta = {name: value for name, value in meta_of(params).items() if name not in _PER_REQUEST}
    return {"_meta": meta, **kept} if meta else kept


def modern_result(method: str, result: JsonObject) -> JsonObject:
    """A legacy server's result as a modern one: finished, and not to be kept by anybody."""
    dressed = {**result, "resultType": "complete"}
    if method in _CACHED:
        dressed |= {"ttlMs": 0, "cacheScope": "private"}
    return dressed


def modern_error(error: JsonObject) -> JsonObject:
    return {**error, "code": INVALID_PARAMS} if error["code"] == _RESOURCE_NOT_FOUND else error


def legacy_result(method: str, result: JsonObject, *, tasks: bool = False) -> JsonObject:
    """A modern server's finished result as a legacy one.

    The legacy era knows only objects as structured content and as what a tool may promise of it; the text beside it
    says the same and stays.  Where the server makes `tasks`, it may make one of any call.
    """
    kept = {name: value for name, value in result.items() if name not in _MODERN_ONLY}
    if method == "tools/call" and not isinstance(kept.get("structuredContent", {}), dict):
        del kept["structuredContent"]
    if method == "tools/list" and isinstance(kept.get("tools"), list):
        kept["tools"] = [_legacy_tool(tool, tasks=tasks) for tool in kept["tools"]]
    return kept


def untagged(message: JsonObject) -> JsonObject:
    """A notification without the subscription it was told to."""
    params = message.get("params", {})
    meta = {name: value for name, value in meta_of(params).items() if name != SUBSCRIPTION_KEY}
    kept = {name: value for name, value in params.items() if name != "_meta"}
    if meta:
        kept["_meta"] = meta
    rest = {name: value for name, value in message.items() if name != "params"}
    return {**rest, "params": kept} if kept else rest


def _legacy_tool(tool: JsonObject, *, tasks: bool) -> JsonObject:
    schema = tool.get("outputSchema")
    if schema is not None and not (isinstance(schema, dict) and schema.get("type") == "object"):
        tool = {name: value for name, value in tool.items() if name != "outputSchema"}
    return {**tool, "execution": {"taskSupport": "optional"}} if tasks and "execution" not in tool else tool
