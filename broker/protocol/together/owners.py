"""Whose a resource or a task is, where a client sees many servers as one and their identifiers stay as they are.

What two servers both call theirs is nobody's: a server that names another's resource gets nothing of what is meant for
that one.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from broker.model import JsonObject, ServerName

MAX_GIVEN: Final = 8192  # identifiers that stood in results; a client asks soon for what it was given
MAX_OF_ONE: Final = 256  # of them in one result


class Owners:
    """What each server lists, and what it gave out."""

    def __init__(self) -> None:
        self.listed: dict[ServerName, frozenset[str]] = {}
        self.templates: dict[ServerName, frozenset[str]] = {}
        self._given: OrderedDict[str, set[ServerName]] = OrderedDict()

    def give(self, server: ServerName, identifiers: Iterable[str]) -> None:
        """A server told the client of these."""
        for identifier in identifiers:
            self._given.setdefault(identifier, set()).add(server)
            self._given.move_to_end(identifier)
            if len(self._given) > MAX_GIVEN:
                self._given.popitem(last=False)

    def given(self, identifier: str) -> set[ServerName]:
        return set(self._given.get(identifier, ()))

    def of(self, uri: str) -> set[ServerName]:
        """Those whose resource this can be, by the surest thing that is known of it."""
        return (
            {server for server, uris in self.listed.items() if uri in uris}
            or self.given(uri)
            or {server for server, all in self.templates.items() if any(fits(each, uri) for each in all)}
        )


def fits(template: str, uri: str) -> bool:
    """Whether `uri` can be made from `template`: what stands between its braces may be anything.  Linear."""
    fixed = [part.rpartition("}")[2] for part in template.split("{")]
    if len(fixed) == 1:
        return template == uri
    first, *middle, last = fixed
    if not uri.startswith(first) or not uri.endswith(last) or len(uri) < len(first) + len(last):
        return False
    at, end = len(first), len(uri) - len(last)
    for part in middle:
        found = uri.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def resources_in(result: Mapping[str, Any]) -> list[str]:
    """The URIs a result hands to its client: links, embedded resources, contents, the page of a tool."""
    found: list[str] = []
    for entry in _entries(result):
        inner = entry.get("resource")
        for holder in (entry, inner if isinstance(inner, dict) else {}):
            if isinstance(uri := holder.get("uri"), str):
                found.append(uri)
        if isinstance(page := _page(entry), str):
            found.append(page)
        if len(found) >= MAX_OF_ONE:
            break
    return found


def tasks_in(result: Mapping[str, Any]) -> list[str]:
    """The tasks a result tells of."""
    listed = result.get("tasks")
    holders = [result, result.get("task"), *(listed if isinstance(listed, list) else ())]
    return [each["taskId"] for each in holders if isinstance(each, dict) and isinstance(each.get("taskId"), str)]


def _entries(result: Mapping[str, Any]) -> Iterator[JsonObject]:
    for name in ("content", "contents", "messages", "tools"):
        value = result.get(name)
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, dict):
                yield entry
                if isinstance(said := entry.get("content"), dict):
                    yield said


def _page(tool: JsonObject) -> object:
    """Where the page of a tool lies (MCP Apps)."""
    meta = tool.get("_meta")
    if not isinstance(meta, dict):
        return None
    ui = meta.get("ui")
    return ui.get("resourceUri") if isinstance(ui, dict) else meta.get("ui/resourceUri")
