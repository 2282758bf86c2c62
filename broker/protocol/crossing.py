"""What both crossings of a bridge need of it."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final, Protocol

from broker.model import Fact, JsonObject, Side
from broker.protocol.envelope import Request
from broker.protocol.replies import MAX_QUOTED, RequestId
from broker.protocol.versions import BRIDGE_PREFIX

TAKEN: Final = "the client used an id whose request is not answered yet"


class Way(Protocol):
    """The bridge, as a crossing sees it."""

    def tell(self, message: JsonObject, size: int = 0) -> None: ...
    def fault(self, what: str, size: int) -> None: ...
    def record(self, fact: Fact) -> None: ...
    def say(self, message: JsonObject, fact: Fact | None = None) -> None: ...
    def answer(self, request: Request, size: int, body: JsonObject) -> None: ...
    def reject(self, request: Request, size: int, code: int, text: str, data: JsonObject | None = None) -> None: ...


def own_ids() -> Iterator[str]:
    """Ids no client may use."""
    return (f"{BRIDGE_PREFIX}{number}" for number in count(1))


def own_id_fault(id: RequestId) -> str:
    """What is wrong with a client's id; empty when nothing is."""
    if isinstance(id, str) and id.startswith(BRIDGE_PREFIX):
        return f"the client used an id that begins with {BRIDGE_PREFIX}, which is Bulkhead's own"
    return ""


def message_of(id: RequestId, method: str, params: JsonObject) -> JsonObject:
    message: JsonObject = {"jsonrpc": "2.0", "id": id, "method": method}
    return {**message, "params": params} if params else message


def unasked(way: Way, size: int) -> None:
    """An answer to nothing."""
    way.fault("the client answered a request nobody made", size)


def dropped(way: Way, side: Side, method: str, why: str, size: int = 0) -> None:
    """A notification that goes no further."""
    way.record(Fact("notification", side, method[:MAX_QUOTED], size=size, body={"dropped": why}))


def are_results(given: object) -> bool:
    """Whether this is what a client may bring for what was asked of it: each key with a result."""
    return isinstance(given, dict) and all(isinstance(value, dict) for value in given.values())


def entries(asked: Mapping[str, JsonObject]) -> JsonObject:
    """Requests of a legacy server as a modern one asks for the same."""
    return {key: {name: m[name] for name in ("method", "params") if name in m} for key, m in asked.items()}
