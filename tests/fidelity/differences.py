"""What a client of a server sees differently through Bulkhead, and why: all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.fidelity.everything import PROMPTS, RESOURCES, TEMPLATES, TOOLS

Json = dict[str, Any]
Said = list[Json]


@dataclass(frozen=True, slots=True)
class Difference:
    """`through` is what comes through Bulkhead in place of what comes directly."""

    reason: str
    through: Callable[[Said], Said]


def _whole(field: str, items: tuple[Json, ...]) -> Callable[[Said], Said]:
    def through(said: Said) -> Said:
        (answer,) = said
        result = {key: value for key, value in answer["result"].items() if key != "nextCursor"}
        return [{**answer, "result": {**result, field: list(items)}}]

    return through


def _identified(said: Said) -> Said:
    """A modern list says whose it is, as every result of the modern era should."""
    return [
        {**each, "result": {**each["result"], "_meta": {IDENTITY: {"name": "everything", "version": "1",
         "title": "Everything", "vendor": {"x": None}}}}} if each.get("result", {}).get("resultType") else each
        for each in said
    ]  # fmt: skip


IDENTITY: Final = "io.modelcontextprotocol/serverInfo"
PINNED: Final = "lists are answered from the agreed catalog, whole and with whose they are; no server runs for it"


def _listed(field: str, items: tuple[Json, ...]) -> Difference:
    whole = _whole(field, items)
    return Difference(PINNED, lambda said: _identified(whole(said)))


def _refused(code: int, words: str) -> Callable[[Said], Said]:
    return lambda said: [{"jsonrpc": "2.0", "id": said[0]["id"], "error": {"code": code, "message": words}}]


DIFFERENCES: Final[dict[str, Difference]] = {
    "list tools": _listed("tools", TOOLS),
    "list prompts": _listed("prompts", PROMPTS),
    "list resources": _listed("resources", RESOURCES),
    "list templates": _listed("resourceTemplates", TEMPLATES),
    "list the next page": Difference(
        "a list is one page, so nobody was given a cursor",
        _refused(-32602, "the client sent a cursor, and lists here are one page"),
    ),
    "change": Difference(
        "that a list changed is told when what the client is shown did change; here the new list is the old one",
        lambda said: [each for each in said if each.get("method") != "notifications/tools/list_changed"],
    ),
    "call nothing": Difference(
        "what is not in the agreed catalog never reaches the server",
        _refused(-32602, "everything has no tool called 'nothing'"),
    ),
    "call no method": Difference(
        "a method that no revision has is refused here",
        _refused(-32601, "'made/up' is no method a client may use here"),
    ),
}

ASKED_BY_BULKHEAD: Final[dict[str, str]] = {
    "initialize": PINNED,
    "server/discover": PINNED,
    "notifications/initialized": "the server hears it when its own handshake ends",
    "ping": "nobody has to run for it",
    "logging/setLevel": "the level is kept, and set again when the server starts",
    "tools/list": PINNED,
    "prompts/list": PINNED,
    "resources/list": PINNED,
    "resources/templates/list": PINNED,
    "subscriptions/listen": "what is shown changes for reasons of our own too; a server is asked for resources only",
}
"""What the server does not hear as its client said it, and why."""
