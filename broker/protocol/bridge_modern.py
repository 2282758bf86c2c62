"""A modern client at a server that speaks only the legacy era.

What the server asks of its client becomes the answer to a call of the client's that is under way; the client's retry
brings the answers.  A word the legacy era does not have is refused by name.
"""

from collections.abc import Callable
from typing import Final

from broker.errors import ProtocolError
from broker.model import Fact, JsonObject
from broker.protocol import replies
from broker.protocol.carried import Carriage, Carried
from broker.protocol.catalog import Catalog
from broker.protocol.crossing import (
    TAKEN,
    Way,
    are_results,
    dropped,
    entries,
    message_of,
    own_id_fault,
    own_ids,
    unasked,
)
from broker.protocol.envelope import Notification, Request, Response
from broker.protocol.eras import CARRIERS, initialize_params, lacks, legacy_params, modern_error, modern_result
from broker.protocol.following import Follower, Following
from broker.protocol.frames import is_request_id
from broker.protocol.methods import method_for
from broker.protocol.opening import check_modern
from broker.protocol.pinned import LEVELS
from broker.protocol.replies import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, RequestId
from broker.protocol.subscriptions import filter_of
from broker.protocol.tasks_of_legacy import LegacyTasks
from broker.protocol.versions import LOG_LEVEL_KEY, MODERN_VERSIONS, VERSION_KEY

_LISTS: Final = {f"notifications/{part}/list_changed": part for part in ("tools", "prompts", "resources")}


class ModernClient:
    """Translates what a modern client and a conversation of the legacy era say to each other."""

    def __init__(self, way: Way, catalog: Catalog, token: Callable[[], str]) -> None:
        self._way = way
        opening = next(v.opening for v in catalog.views.values() if v.era == "legacy" and v.opening is not None)
        self._version: str = opening["protocolVersion"]
        self._offers: JsonObject = opening["capabilities"]
        self._ids = own_ids()
        self._carriage = Carriage(token)
        self._following = Following()
        self._tasks = LegacyTasks(way, self._carriage, self._ids, catalog.views.values())
        self._opened = False
        self._opening = ""
        self._level = ""

    @property
    def awaiting(self) -> bool:
        return self._carriage.open

    @property
    def resting(self) -> bool:
        return False

    def tick(self) -> None:
        """Nothing here waits for time to pass."""

    # --- from the client ---

    def response(self, _response: Response, size: int) -> None:
        unasked(self._way, size)

    def request(self, request: Request, size: int) -> None:
        way = self._way
        if fault := own_id_fault(request.id):
            way.fault(fault, size)
            return
        if self._carriage.of(request.id) is not None or request.id in self._following.followers:
            way.fault(TAKEN, size)
            return
        if request.method == "initialize":
            way.reject(request, size, INVALID_REQUEST, "the client began in the modern era and left it")
            return
        try:
            check_modern(request)
        except ProtocolError as problem:
            way.reject(request, size, INVALID_PARAMS, str(problem))
            return
        requested = request.meta[VERSION_KEY]
        if requested not in MODERN_VERSIONS:
            data = {"supported": list(MODERN_VERSIONS), "requested": requested}
            way.reject(request, size, replies.UNSUPPORTED_VERSION, "Unsupported protocol version", data)
        elif method_for(request.method, "request", "client", "modern") is None:
            text = f"{replies.quoted(request.method)} is no method a client may use here"
            way.reject(request, size, METHOD_NOT_FOUND, text)
        elif (no := self._tasks.objection(request)) is not None:
            way.reject(request, size, *no)
        elif request.meta.get(LOG_LEVEL_KEY, "info") not in LEVELS:
            way.reject(request, size, INVALID_PARAMS, "the client asked for a log level nobody knows")
        else:
            self._open(request)
            self._known(request, size)

    def _known(self, request: Request, size: int) -> None:
        if request.method == "subscriptions/listen":
            self._listen(request, size)
        elif request.method == "tasks/update":
            self._tasks.update(request, size)
        elif request.params.keys() & {"requestState", "inputResponses"}:
            self._retry(request, size)
        else:
            params = request.params if request.method == "server/discover" else legacy_params(request.params)
            tasked = self._tasks.makes_one(request)
            params = {**params, "task": {}} if tasked else params
            inner = request.id if self._carriage.at(request.id) is None else next(self._ids)
            self._carriage.add(request, inner, tasked=tasked)
            self._follow_level()
            rest = {name: value for name, value in request.message.items() if name not in ("id", "params")}
            self._way.tell({**rest, "id": inner, **({"params": params} if params else {})}, size)

    def _open(self, request: Request) -> None:
        """The legacy handshake, in the words of the client's first request."""
        if self._opened:
            return
        self._opened, self._opening = True, next(self._ids)
        self._way.tell(message_of(self._opening, "initialize", initialize_params(request.meta, self._version)))
        self._way.tell(replies.notification("notifications/initialized"))

    def _follow_level(self) -> None:
        """The server logs as much as the most curious open call wants."""
        wanted = [LEVELS.index(str(call.level)) for call in self._carriage.calls if call.level in LEVELS]
        if not wanted or "logging" not in self._offers or LEVELS[min(wanted)] == self._level:
            return
        self._level = LEVELS[min(wanted)]
        self._way.tell(message_of(next(self._ids), "logging/setLevel", {"level": self._level}))

    def _retry(self, request: Request, size: int) -> None:
        """The client brings what a call of its own waits for."""
        given = request.params.get("inputResponses", {})
        if not are_results(given):
            self._way.reject(request, size, INVALID_PARAMS, "the client sent inputResponses that are no results")
            return
        call = self._carriage.resume(request)
        if call is None:
            text = f"requestState was not given for this {request.method}, or was used before"
            self._way.reject(request, size, INVALID_PARAMS, text)
            return
        fact = Fact("request", "client", request.method, request.method, request.id, size=size, digest=call.digest)
        self._way.record(fact)
        for key, value in given.items():
            if (asked := call.asked.pop(key, None)) is not None:
                self._way.tell(replies.result(asked["id"], value))
        call.wanted, call.asked = {**call.asked, **call.wanted}, {}
        if call.answer is not None:
            self._deliver(call, call.answer)
        elif call.wanted:
            self._ask(call)

    def _listen(self, request: Request, size: int) -> None:
        way, wanted = self._way, filter_of(request.params)
        if wanted is None or not self._following.room_for(len(wanted.uris)):
            way.reject(request, size, INVALID_PARAMS, "the client asked to follow nothing we know, or too much")
            return
        way.record(Fact("request", "client", request.method, request.method, request.id, size=size))
        resources = self._offers.get("resources")
        followable = isinstance(resources, dict) and resources.get("subscribe") is True
        lists = frozenset(name for name in wanted.lists if isinstance(self._offers.get(name), dict))
        follower = Follower(request.id, lists, set(wanted.uris) if followable else set())
        for uri in sorted(follower.uris):
            own = next(self._ids)
            follower.waits[own] = uri
            way.tell(message_of(own, "resources/subscribe", {"uri": uri}))
        if self._opening:  # not before the client is known to be let in
            follower.waits[self._opening] = ""
        self._following.followers[request.id] = follower
        if not follower.waits:
            self._acknowledge(follower)

    def _acknowledge(self, follower: Follower) -> None:
        message = follower.acknowledgement
        self._way.say(message, Fact("notification", "broker", message["method"], request=follower.id))

    def notification(self, found: Notification, size: int) -> None:
        if found.method != "notifications/cancelled":
            dropped(self._way, "client", found.method, "no method a modern client may use here", size)
            return
        outer = found.params.get("requestId")
        call = self._carriage.of(outer) if is_request_id(outer) else None
        if call is not None:
            self._carriage.close(call)
            self._way.tell({**found.message, "params": {**found.params, "requestId": call.inner}}, size)
        elif is_request_id(outer) and (follower := self._following.followers.pop(outer, None)):
            self._way.record(Fact("notification", "client", found.method, request=outer, size=size))
            for uri in sorted(follower.uris):
                if not self._following.follows(uri):
                    self._way.tell(message_of(next(self._ids), "resources/unsubscribe", {"uri": uri}))
        else:
            dropped(self._way, "client", found.method, "no such request is open", size)

    # --- to the client ---

    def to_client(self, message: JsonObject) -> None:
        if "method" not in message:
            self._response(message)
        elif "id" in message:
            self._asked(message)
        else:
            self._news(message)

    def _response(self, message: JsonObject) -> None:
        identifier: RequestId | None = message["id"]
        call = self._carriage.at(identifier) if identifier is not None else None
        if call is not None:
            self._deliver(call, message)
        elif identifier is None or not own_id_fault(identifier):
            self._way.say(message)
        else:
            self._own(str(identifier), message)

    def _own(self, own: str, message: JsonObject) -> None:
        """An answer to a request the client knows nothing of."""
        for call, body in self._tasks.fetched(own, message):
            self._finish(call, body)
        if own != self._opening:
            follower = self._following.settle(own, honoured="result" in message)
            if follower is not None:
                self._acknowledge(follower)
            return
        self._opening = ""
        for _ in tuple(self._following.followers):
            if (follower := self._following.settle(own, honoured=True)) is not None:
                self._acknowledge(follower)

    def _deliver(self, call: Carried, message: JsonObject) -> None:
        if call.outer is None:
            call.answer = message  # the client hears it when it comes back
            return
        result = message.get("result")
        if result is None or call.method == "server/discover":
            body = {"error": modern_error(message["error"])} if result is None else {}
        elif call.task or ("task" in result and call.tasked):
            found = self._tasks.answer(call, result)
            if found is None:
                return  # it is answered when what the task came to is known
            body = {"result": found}
        else:
            body = {"result": modern_result(call.method, result)}
        self._finish(call, {**message, **body})

    def _finish(self, call: Carried, body: JsonObject) -> None:
        if call.outer is not None and self._carriage.of(call.outer) is call:
            self._carriage.close(call)
            self._way.say({"jsonrpc": "2.0", **body, "id": call.outer})

    def _asked(self, message: JsonObject) -> None:
        """A request of the server: it becomes the answer to the oldest call that can carry it."""
        identifier, method = message["id"], message["method"]
        if method == "ping":
            self._way.tell(replies.result(identifier, {}))
            return
        if self._tasks.takes(message):
            return
        able = [call for call in self._carriage.calls if call.method in CARRIERS and call.answer is None]
        willing = [call for call in able if not lacks(call.capabilities, message)]
        if not willing:
            why = "no call is open that could carry it" if not able else "the client cannot be asked for it"
            text = f"refused by Bulkhead (eras): the client speaks the modern era, and {why}"
            self._way.tell(replies.error(identifier, METHOD_NOT_FOUND, text))
            return
        call = min(willing, key=lambda each: each.outer is None)  # the oldest whose client can be told at once
        call.wanted[next(self._ids)] = message
        if call.outer is not None:
            self._ask(call)

    def _ask(self, call: Carried) -> None:
        outer = call.outer
        assert outer is not None
        state, forgotten = self._carriage.park(call)
        body: JsonObject = {"resultType": "input_required", "inputRequests": entries(call.asked)}
        kept: JsonObject = {"result": body}
        fact = Fact("result", "broker", call.method, request=outer, digest=call.digest, body=kept)
        self._way.say(replies.result(outer, {**body, "requestState": state}), fact)
        if forgotten is not None:
            self._forget(forgotten)

    def _forget(self, call: Carried) -> None:
        """Too many calls wait for their client: the oldest is given up."""
        self._carriage.close(call)
        for message in (*call.asked.values(), *call.wanted.values()):
            text = "refused by Bulkhead (bounds): too many calls wait for the client's input"
            self._way.tell(replies.error(message["id"], replies.BUSY, text))
        if call.answer is None:
            self._way.tell(replies.notification("notifications/cancelled", {"requestId": call.inner}))

    def _news(self, message: JsonObject) -> None:
        method, params = message["method"], message.get("params", {})
        told: list[JsonObject] = []
        if method in _LISTS:
            told = self._following.tagged(message, _LISTS[method])
        elif method == "notifications/resources/updated":
            told = self._following.tagged(message)
        elif method == "notifications/progress":
            call = self._carriage.by_token(params.get("progressToken"))
            if call is not None and call.outer is not None and call.outer_token is not None:
                told = [{**message, "params": {**params, "progressToken": call.outer_token}}]
        elif method == "notifications/message":
            told = [message] if self._logs(params.get("level")) else []
        elif method == "notifications/cancelled":
            self._withdrawn(params.get("requestId"))
            return
        for each in told:
            self._way.say(each)
        if not told:
            dropped(self._way, "server", method, "no request of the client asks for it")

    def _logs(self, level: object) -> bool:
        """Whether an open call wants lines of this level."""
        wanted = [LEVELS.index(str(call.level)) for call in self._carriage.calls if call.level in LEVELS]
        return bool(wanted) and level in LEVELS and LEVELS.index(str(level)) >= min(wanted)

    def _withdrawn(self, identifier: object) -> None:
        """The server does not want an answer any more."""
        if is_request_id(identifier):
            self._tasks.withdrawn(identifier)
        for call in self._carriage.calls:
            for waiting in (call.wanted, call.asked):
                for key in [key for key, message in waiting.items() if message["id"] == identifier]:
                    del waiting[key]
