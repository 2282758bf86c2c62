"""What a client wants to be told: kept here, so that a server that is started again is told again.

In the modern era we tell list changes ourselves, tagged with each client's own request, because what we show changes
for reasons of our own; only resources and tasks are the server's to tell of.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from broker.model import Call, JsonObject
from broker.protocol.replies import RequestId, notification
from broker.protocol.versions import SUBSCRIPTION_KEY

MAX_URIS: Final = 1024  # resources one link may follow; an editor follows its open files

CHANGES: Final = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
"""Each list a client may follow: the field of a modern filter that asks for it."""

URIS: Final = "resourceSubscriptions"
TASK_IDS: Final = "taskIds"


@dataclass(frozen=True, slots=True)
class Listener:
    """One `subscriptions/listen`: what of each it follows, and the message that asks the server for all but lists."""

    id: RequestId
    lists: frozenset[str]
    uris: tuple[str, ...]
    tasks: tuple[str, ...]
    message: JsonObject

    @property
    def acknowledgement(self) -> JsonObject:
        """Which part of the filter is honoured.  Must be the first thing the client hears of this subscription."""
        honoured: JsonObject = {field: True for name, field in CHANGES.items() if name in self.lists}
        honoured |= self._told
        return notification("notifications/subscriptions/acknowledged", {**self.tag, "notifications": honoured})

    @property
    def tag(self) -> JsonObject:
        return {"_meta": {SUBSCRIPTION_KEY: self.id}}

    @property
    def upstream(self) -> JsonObject | None:
        """What the server is asked, under the client's own id; None when nothing is the server's to tell."""
        if not self._told:
            return None
        params = {**self.message["params"], "notifications": self._told}
        return {**self.message, "params": params}

    @property
    def _told(self) -> JsonObject:
        """The part that is the server's to tell."""
        parts: dict[str, tuple[str, ...]] = {URIS: self.uris, TASK_IDS: self.tasks}
        return {field: list(names) for field, names in parts.items() if names}


class Subscriptions:
    """Everything one client follows."""

    def __init__(self) -> None:
        self.listeners: dict[RequestId, Listener] = {}
        self.resources: dict[str, Call] = {}
        self.level: JsonObject | None = None

    def room_for(self, uris: int) -> bool:
        followed = sum(len(each.uris) + len(each.tasks) for each in self.listeners.values())
        return uris + len(self.resources) + followed <= MAX_URIS

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


class Filter(NamedTuple):
    """What a listen request asks for."""

    lists: frozenset[str]
    uris: tuple[str, ...]
    tasks: tuple[str, ...]


def filter_of(params: JsonObject) -> Filter | None:
    """The lists, resources and tasks a listen request asks for; None when it does not say so properly."""
    found = params.get("notifications")
    if not isinstance(found, dict):
        return None
    named = [found.get(field, []) for field in (URIS, TASK_IDS)]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in named):
        return None
    uris, tasks = (tuple(dict.fromkeys(names)) for names in named)
    return Filter(frozenset(name for name, field in CHANGES.items() if found.get(field) is True), uris, tasks)
