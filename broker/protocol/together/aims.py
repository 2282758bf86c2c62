"""Which server a request means, and how that one calls what it is about."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from broker.errors import BulkheadError
from broker.model import JsonObject, ServerName
from broker.protocol.catalog import Catalog, ListName, items
from broker.protocol.replies import INVALID_PARAMS, METHOD_NOT_FOUND, quoted
from broker.protocol.together.names import meant
from broker.protocol.together.owners import Owners, resources_in, tasks_in

_NAMED: Final[dict[str, ListName]] = {"tools/call": "tools", "prompts/get": "prompts"}
_BY_URI: Final = ("resources/read", "resources/subscribe", "resources/unsubscribe")
_BY_TASK: Final = ("tasks/get", "tasks/result", "tasks/cancel", "tasks/update")


class Nobody(BulkheadError):
    """A request means nobody, or more than one; `code` is the JSON-RPC error its sender deserves."""

    def __init__(self, what: str, code: int = INVALID_PARAMS) -> None:
        super().__init__(what)
        self.code = code


class Aims:
    """Knows by name, by URI and by task."""

    def __init__(self, servers: Callable[[], Iterable[ServerName]], catalog: Callable[[ServerName], Catalog]) -> None:
        self._servers = servers
        self._catalog = catalog
        self.owners = Owners()

    def at(self, method: str, params: JsonObject) -> tuple[ServerName, JsonObject]:
        """The server that is meant, and the parameters in its own words.

        Raises:
            Nobody: nobody is meant, or more than one could be.
        """
        if method in _NAMED:
            return self._by_name(_NAMED[method], params)
        if method in _BY_URI:
            return self._by_uri(str(params.get("uri"))), params
        if method in _BY_TASK:
            found = self.owners.given(str(params.get("taskId")))
            return _only(found, f"a task {quoted(str(params.get('taskId')))}"), params
        if method == "completion/complete":
            return self._by_reference(params)
        raise Nobody(f"{quoted(method)} is no method a client may use here", METHOD_NOT_FOUND)

    def of(self, uri: str) -> ServerName | None:
        """Whose this resource is, if it is one server's."""
        self._look()
        found = self.owners.of(uri)
        return found.pop() if len(found) == 1 else None

    def learn(self, server: ServerName, method: str, result: JsonObject) -> None:
        """A server listed what it has."""
        if method == "resources/list":
            self.owners.listed[server] = _texts(result.get("resources"), "uri")
        elif method == "resources/templates/list":
            self.owners.templates[server] = _texts(result.get("resourceTemplates"), "uriTemplate")
        else:
            self.owners.give(server, [*resources_in(result), *tasks_in(result)])

    def _by_name(self, part: ListName, params: JsonObject) -> tuple[ServerName, JsonObject]:
        name = params.get("name")
        if not isinstance(name, str):
            raise Nobody("the client did not say by name what it wants")
        found = meant(name, self._servers(), lambda server: self._names(server, part))
        if found is None:
            raise Nobody(f"there is no {part.removesuffix('s')} {quoted(name)} among your servers")
        return found[0], {**params, "name": found[1]}

    def _by_uri(self, uri: str) -> ServerName:
        self._look()
        found = self.owners.of(uri)
        if not found:  # one that can be the only one
            found = {server for server in self._servers() if self._offers(server, "resources")}
            if len(found) > 1:
                found = set()
        return _only(found, f"a resource {quoted(uri)}")

    def _by_reference(self, params: JsonObject) -> tuple[ServerName, JsonObject]:
        reference = params.get("ref")
        ref: dict[str, Any] = reference if isinstance(reference, dict) else {}
        if ref.get("type") == "ref/prompt":
            server, own = self._by_name("prompts", ref)
            return server, {**params, "ref": own}
        self._look()
        uri = str(ref.get("uri"))
        of_template = {server for server, all in self.owners.templates.items() if uri in all}
        return _only(of_template, "a template of this") if of_template else self._by_uri(uri), params

    def _names(self, server: ServerName, part: ListName) -> Iterable[str]:
        for view in self._catalog(server).views.values():
            for entry in items(view, part):
                yield str(entry["name"])

    def _look(self) -> None:
        """What was agreed of servers that have not been asked for their lists."""
        owners, known = self.owners, set(self._servers())
        for server in known - owners.listed.keys():
            views = tuple(self._catalog(server).views.values())
            owners.listed[server] = frozenset(str(each["uri"]) for view in views for each in view.resources)
            templates = frozenset(str(each["uriTemplate"]) for view in views for each in view.templates)
            owners.templates.setdefault(server, templates)
        for server in owners.listed.keys() - known:
            del owners.listed[server]
            owners.templates.pop(server, None)

    def _offers(self, server: ServerName, capability: str) -> bool:
        views = self._catalog(server).views.values()
        return any(capability in (view.opening or {}).get("capabilities", {}) for view in views)


def _only(found: set[ServerName], what: str) -> ServerName:
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise Nobody(f"none of your servers has {what}")
    raise Nobody(f"{' and '.join(sorted(found))} both have {what}; connect to the one you mean by itself")


def _texts(entries: object, key: str) -> frozenset[str]:
    found = entries if isinstance(entries, list) else []
    return frozenset(str(each[key]) for each in found if isinstance(each, dict) and key in each)
