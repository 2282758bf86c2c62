"""One answer made of the answers of many servers.

Nothing is invented but what says that this is many: everything else is what one of them said, under a name that says
which.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from broker import __version__
from broker.model import Era, JsonObject, ServerName
from broker.protocol.catalog import SERVER_INFO
from broker.protocol.envelope import Request
from broker.protocol.replies import complete
from broker.protocol.together.names import shown
from broker.protocol.versions import LEGACY_VERSIONS, MODERN_VERSIONS

Results: TypeAlias = Mapping[ServerName, JsonObject]

IDENTITY: Final = MappingProxyType(
    {"name": "bulkhead", "title": "Your servers, through Bulkhead", "version": __version__}
)
FIELDS: Final = MappingProxyType(
    {
        "tools/list": "tools",
        "prompts/list": "prompts",
        "resources/list": "resources",
        "resources/templates/list": "resourceTemplates",
        "tasks/list": "tasks",
    }
)
"""The lists many servers have, and the field of a result that holds one."""

_RENAMED: Final = ("tools", "prompts")


def opening(request: Request, results: Results) -> JsonObject:
    """The answer to `initialize` or `server/discover`."""
    capabilities: JsonObject = {}
    for result in results.values():
        _add(capabilities, result.get("capabilities", {}))
    told = {server: result["instructions"] for server, result in results.items() if result.get("instructions")}
    said = [f"# {server}\n\n{words}" for server, words in told.items()]
    body: JsonObject = {"capabilities": capabilities, **({"instructions": "\n\n".join(said)} if said else {})}
    if request.method == "initialize":
        wanted = request.params.get("protocolVersion")
        version = wanted if wanted in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
        return {"protocolVersion": version, "serverInfo": dict(IDENTITY), **body}
    spoken = {version for result in results.values() for version in result.get("supportedVersions", ())}
    versions = [version for version in (*LEGACY_VERSIONS, *MODERN_VERSIONS) if version in spoken]
    return _fresh("modern", {"supportedVersions": versions, **body})


def listed(era: Era, method: str, results: Results) -> JsonObject:
    """One list of all, in the order of the servers' names."""
    field = FIELDS[method]
    entries: list[Any] = []
    cursors: dict[str, str] = {}
    for server, result in sorted(results.items()):
        found = result.get(field)
        for entry in found if isinstance(found, list) else ():
            entries.append({**entry, "name": shown(server, str(entry["name"]))} if field in _RENAMED else entry)
        if isinstance(cursor := result.get("nextCursor"), str) and cursor:
            cursors[server] = cursor
    body: JsonObject = {field: entries}
    if cursors:
        body["nextCursor"] = urlsafe_b64encode(json.dumps(cursors).encode()).decode()
    return _fresh(era, body) if era == "modern" else body


def cursors_of(text: object) -> dict[str, str] | None:
    """Where each server's list goes on; None if that is no cursor of ours."""
    try:
        found = json.loads(urlsafe_b64decode(str(text)))
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if is_ours else None


def honoured(parts: list[JsonObject]) -> JsonObject:
    """What of a subscription is honoured by anybody."""
    body: JsonObject = {}
    for part in parts:
        _add(body, part)
    return body


def spoken(server: ServerName, method: str, params: JsonObject) -> JsonObject:
    """What a server asks of a client that sees many as one.

    A person must see who asks for an input, and a model's context is that of all the servers: no one of them gets it.
    """
    if method == "elicitation/create" and isinstance(params.get("message"), str):
        return {**params, "message": f"{server}: {params['message']}"}
    if method == "sampling/createMessage" and params.get("includeContext", "none") != "none":
        return {**params, "includeContext": "none"}
    return params


def with_inputs(result: JsonObject, ask: Callable[[str, JsonObject], JsonObject]) -> JsonObject:
    """A result whose requests for input are put as `ask` puts them."""
    wanted = result.get("inputRequests")
    if not isinstance(wanted, dict):
        return result
    put = {
        key: {**entry, "params": ask(str(entry.get("method")), entry["params"])} if "params" in entry else entry
        for key, entry in wanted.items()
    }
    return {**result, "inputRequests": put}


def _fresh(era: Era, body: JsonObject) -> JsonObject:
    meta = {"_meta": {SERVER_INFO: dict(IDENTITY)}, "ttlMs": 0, "cacheScope": "private"}
    return complete(era, {**body, **meta})


def _add(total: JsonObject, more: object) -> None:
    """Everything of both: what is an object in both is joined, lists are strung together, else the first stays."""
    for name, value in more.items() if isinstance(more, dict) else ():
        if isinstance(value, dict):
            mine = total.setdefault(name, {})
            if isinstance(mine, dict):
                _add(mine, value)
        elif isinstance(value, list):
            total[name] = [*total.get(name, []), *value]
        else:
            total[name] = total.get(name) or value
