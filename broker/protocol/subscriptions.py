"""What a client wants to be told: kept here, so that a server that is started again is told again.

In the modern era we tell list changes ourselves, tagged with each client's own request, because what we show changes
for reasons of our own; only resource subscriptions are the server's to serve.
"""

from dataclasses import dataclass
from typing import Final

from broker.model import Call, JsonObject
from broker.protocol.replies import RequestId, notification
from broker.protocol.versions import SUBSCRIPTION_KEY

MAX_URIS: Final = 1024  # resources one link may follow; an editor follows its open files

CHANGES: Final = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
"""Each list a client may follow: the field of a modern filter that asks for it."""

URIS: Final = "resourceSubscriptions"


@dataclass(frozen=True, slots=True)
class Listener:
    """One `subscriptions/listen`: which lists it follows, and the message that asks the server for the rest."""

    id: RequestId
    lists: frozenset[str]
    uris: tuple[str, ...]
    message: JsonObject

    @property
    def acknowledgement(self) -> JsonObject:
        """Which part of the filter is honoured.  Must be the first thing the client hears of this subscription."""
        honoured: JsonObject = {field: True for name, field in CHANGES.items() if name in self.lists}
        if self.uris:
            honoured[URIS] = list(self.uris)
        return notification("notifications/subscriptions/acknowledged", {**self.tag, "notifications": honoured})

    @property
    def tag(self) -> JsonObject:
        return {"_meta": {SUBSCRIPTION_KEY: self.id}}

    @property
    def upstream(self) -> JsonObject | None:
        """What the server is asked, under the client's own id; None when nothing is the server's to tell."""
        if not self.uris:
            return None
        params = {**self.message["params"], "notifications": {URIS: list(self.uris)}}
        return {**self.message, "params": params}


class Subscriptions:
    """Everything one client follows."""

    def __init__(self) -> None:
        self.listeners: dict[RequestId, Listener] = {}
        self.resources: dict[str, Call] = {}
        self.level: JsonObject | None = None

    def room_for(self, uris: int) -> bool:
        return uris + len(self.resources) + sum(len(each.uris) for each in self.listeners.values()) <= MAX_URIS

    def changes(self, lists: list[str], *, modern: bool) -> list[JsonObject]:
        """The notifications that tell this client that `lists` have changed."""
        if not modern:
            return [notification(f"notifications/{name}/list_changed") for name in lists]
        return [
            notification(f"notifications/{name}/list_changed", dict(listener.tag))
            for listener in self.listeners.values()
            for name in lists
            if name in listener.lists
        ]


def filter_of(params: JsonObject) -> tuple[frozenset[str], tuple[str, ...]] | None:
    """The lists and resources a listen request asks for; None when it does not say so properly."""
    found = params.get("notifications")
    if not isinstance(found, dict):
        return None
    uris = found.get(URIS, [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        return None
    lists = frozenset(name for name, field in CHANGES.items() if found.get(field) is True)
    return lists, tuple(dict.fromkeys(uris))
