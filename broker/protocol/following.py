"""What a modern client follows at a legacy server: which of its subscriptions hears of what.

The first thing a client hears of a subscription is which part of it is honoured; so nothing is told before the server
has answered for every resource.
"""

from dataclasses import dataclass, field

from broker.model import JsonObject
from broker.protocol.envelope import meta_of
from broker.protocol.replies import RequestId, notification
from broker.protocol.subscriptions import CHANGES, MAX_URIS, URIS
from broker.protocol.versions import SUBSCRIPTION_KEY


@dataclass(slots=True)
class Follower:
    """One `subscriptions/listen`.  `waits` are requests of ours that must be answered before it is told anything."""

    id: RequestId
    lists: frozenset[str]
    uris: set[str]
    waits: dict[str, str] = field(default_factory=dict)

    @property
    def acknowledgement(self) -> JsonObject:
        honoured: JsonObject = {field: True for name, field in CHANGES.items() if name in self.lists}
        if self.uris:
            honoured[URIS] = sorted(self.uris)
        tag = {SUBSCRIPTION_KEY: self.id}
        return notification("notifications/subscriptions/acknowledged", {"_meta": tag, "notifications": honoured})


class Following:
    """Every subscription of one client."""

    def __init__(self) -> None:
        self.followers: dict[RequestId, Follower] = {}

    def room_for(self, uris: int) -> bool:
        return uris + sum(len(each.uris) for each in self.followers.values()) <= MAX_URIS

    def follows(self, uri: str) -> bool:
        return any(uri in each.uris for each in self.followers.values())

    def settle(self, own: str, *, honoured: bool) -> Follower | None:
        """One request of ours was answered; returns the follower that can be acknowledged now."""
        for follower in self.followers.values():
            if own in follower.waits:
                uri = follower.waits.pop(own)
                if not honoured:
                    follower.uris.discard(uri)
                return None if follower.waits else follower
        return None

    def tagged(self, message: JsonObject, part: str = "") -> list[JsonObject]:
        """A notification of the server, once for each subscription it belongs to.

        An updated resource may be part of the one that is followed.
        """
        uri = message.get("params", {}).get("uri", "")
        told = [
            each
            for each in self.followers.values()
            if not each.waits and (part in each.lists if part else _covers(each.uris, uri))
        ]
        return [_tag(message, each.id) for each in told]


def _covers(uris: set[str], uri: object) -> bool:
    return isinstance(uri, str) and any(uri == each or uri.startswith(each) for each in uris)


def _tag(message: JsonObject, id: RequestId) -> JsonObject:
    params = message.get("params", {})
    return {**message, "params": {**params, "_meta": {**meta_of(params), SUBSCRIPTION_KEY: id}}}
