"""Calls a modern client made of a legacy server, and which of them wait for the client's input.

A call waits under a state that nobody can guess, that counts once, and only for the very call it was given for.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject
from broker.protocol.calls import digest
from broker.protocol.envelope import Request, token_of
from broker.protocol.eras import legacy_params
from broker.protocol.replies import RequestId
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, LOG_LEVEL_KEY

MAX_PARKED: Final = 64  # calls that wait for input; as many as may wait for a person


@dataclass(slots=True)
class Carried:
    """One call: `inner` is its id at the server, `outer` the client's request that is open for it, if any is.

    `wanted` are the server's requests the client was not told of yet, `asked` those it was; `answer` came while no
    request of the client was open for it.  `task` is the one it is about, and `tasked` says that it becomes one.
    """

    inner: RequestId
    outer: RequestId | None
    method: str
    digest: str
    token: RequestId | None
    outer_token: RequestId | None
    capabilities: JsonObject
    level: object
    task: str
    tasked: bool = False
    wanted: dict[str, JsonObject] = field(default_factory=dict)
    asked: dict[str, JsonObject] = field(default_factory=dict)
    answer: JsonObject | None = None


class Carriage:
    """All calls under way, by both of their ids and by the states they wait under."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._inner: dict[RequestId, Carried] = {}
        self._outer: dict[RequestId, Carried] = {}
        self._states: OrderedDict[str, Carried] = OrderedDict()

    @property
    def calls(self) -> list[Carried]:
        """Oldest first."""
        return list(self._inner.values())

    @property
    def open(self) -> bool:
        """Whether the client waits for anything."""
        return bool(self._outer)

    def add(self, request: Request, inner: RequestId, *, tasked: bool = False) -> None:
        token = token_of(request.params)
        kept = digest(request.method, legacy_params(request.params))
        declared = request.meta[CLIENT_CAPABILITIES_KEY]
        level = request.meta.get(LOG_LEVEL_KEY)
        task = str(request.params.get("taskId", ""))
        call = Carried(inner, request.id, request.method, kept, token, token, declared, level, task, tasked)
        self._inner[inner] = self._outer[request.id] = call

    def at(self, inner: RequestId) -> Carried | None:
        return self._inner.get(inner)

    def of(self, outer: RequestId) -> Carried | None:
        return self._outer.get(outer)

    def by_token(self, token: object) -> Carried | None:
        """Compared with its type: 1 is not True."""
        found = (c for c in self._inner.values() if type(c.token) is type(token) and c.token == token)
        return next(found, None)

    def close(self, call: Carried) -> None:
        self._inner.pop(call.inner, None)
        if call.outer is not None:
            self._outer.pop(call.outer, None)

    def park(self, call: Carried) -> tuple[str, Carried | None]:
        """Let a call wait; returns the state it waits under, and the call that waited longest if there are too many."""
        assert call.outer is not None
        del self._outer[call.outer]
        call.outer, call.asked, call.wanted = None, {**call.asked, **call.wanted}, {}
        state = self._token()
        self._states[state] = call
        return state, self._states.popitem(last=False)[1] if len(self._states) > MAX_PARKED else None

    def resume(self, request: Request) -> Carried | None:
        """The call that waits under the state this request brings, if it is that call; then the state is used up."""
        state = request.params.get("requestState")
        call = self._states.get(state) if isinstance(state, str) else None
        if call is None or (call.method, call.digest) != (
            request.method, digest(request.method, legacy_params(request.params))
        ):  # fmt: skip
            return None
        del self._states[str(state)]
        call.outer, call.outer_token = request.id, token_of(request.params)
        call.capabilities, call.level = request.meta[CLIENT_CAPABILITIES_KEY], request.meta.get(LOG_LEVEL_KEY)
        self._outer[request.id] = call
        return call
