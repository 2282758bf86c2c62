"""One request of a legacy client on its way through a modern server: asked more than once, asking back meanwhile."""

from dataclasses import dataclass, field
from typing import Any

from broker.model import JsonObject
from broker.protocol.replies import RequestId


@dataclass(slots=True)
class Passage:
    """`outer` is the client's id for it, `inner` that of what the server was asked last, which is `message`.

    `waits` are our requests to the client, by id, with the keys the server knows them by; `given` is what the client
    answered.  `tasked` says that the server may make a task of it.  One that rests is tried again after `pause` ticks.
    """

    outer: RequestId
    inner: RequestId
    method: str
    message: JsonObject
    tasked: bool = False
    rounds: int = 0
    waits: dict[RequestId, tuple[str, str]] = field(default_factory=dict)
    given: JsonObject = field(default_factory=dict)
    state: Any = None
    told: set[str] = field(default_factory=set)
    pause: int = 0
