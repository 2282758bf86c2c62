"""A legacy client at a server that speaks only the modern era.

What a result asks for becomes requests to the client, and its answers go back with the call made again; the server's
state goes with them as it came.  A word the modern era does not have is refused by name.
"""

from collections.abc import Callable
from typing import Any, Final

from broker.errors import ProtocolError
from broker.model import Fact, JsonObject, ServerName
from broker.protocol import replies
from broker.protocol.crossing import TAKEN, Way, dropped, message_of, own_id_fault, own_ids, unasked
from broker.protocol.envelope import Notification, Request, Response, meta_of
from broker.protocol.eras import client_meta, initialize_result, lacks, legacy_result, untagged
from broker.protocol.frames import is_request_id
from broker.protocol.methods import method_for
from broker.protocol.opening import check_legacy, era_of
from broker.protocol.passage import Passage
from broker.protocol.pinned import LEVELS
from broker.protocol.replies import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, RequestId
from broker.protocol.subscriptions import CHANGES, MAX_URIS, URIS
from broker.protocol.tasks import related, with_extension
from broker.protocol.tasks_of_modern import ModernTasks
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, LOG_LEVEL_KEY, SUBSCRIPTION_KEY

MAX_ROUNDS: Final = 16  # times one call may ask for input; then somebody goes round in circles


class LegacyClient:
    """Translates what a legacy client and a conversation of the modern era say to each other."""

    def __init__(self, way: Way, server: ServerName, token: Callable[[], str], clock: Callable[[], str]) -> None:
        self._way = way
        self._server = server
        self._ids = own_ids()
        self._meta: JsonObject = {}
        self._offers: JsonObject = {}
        self._requested: object = None
        self._tasks = ModernTasks(server, token, clock)
        self._calls: dict[RequestId, Passage] = {}
        self._outer: dict[RequestId, Passage] = {}
        self._asked: dict[RequestId, Passage] = {}
        self._uris: dict[str, str] = {}
        self._subscribing: dict[str, Request] = {}

    @property
    def awaiting(self) -> bool:
        return bool(self._outer) or bool(self._subscribing)

    @property
    def resting(self) -> bool:
        return self._tasks.resting

    def tick(self) -> None:
        """Look again at the tasks whose results the client waits for."""
        for passage in self._tasks.tick():
            self._retry(passage)

    # --- from the client ---

    def request(self, request: Request, size: int) -> None:
        way = self._way
        if fault := own_id_fault(request.id):
            way.fault(fault, size)
        elif request.id in self._outer or any(request.id == each.id for each in self._subscribing.values()):
            way.fault(TAKEN, size)
        elif request.method == "ping":
            way.answer(request, size, {})
        elif request.method == "initialize":
            self._open(request, size)
        elif not self._meta:
            way.reject(request, size, INVALID_REQUEST, f"the client sent {request.method} before initialize")
        elif era_of(request) == "modern":
            way.reject(request, size, INVALID_REQUEST, "the client began in the legacy era and left it")
        elif method_for(request.method, "request", "client", "legacy") is None:
            text = f"{replies.quoted(request.method)} is no method a client may use here"
            way.reject(request, size, METHOD_NOT_FOUND, text)
        elif (no := self._tasks.objection(request, self._offers)) is not None:
            way.reject(request, size, *no)
        elif (known := self._tasks.known(request)) is not None:
            way.answer(request, size, known)
        else:
            self._known(request, size)

    def _known(self, request: Request, size: int) -> None:
        if request.method == "logging/setLevel":
            self._set_level(request, size)
        elif request.method == "resources/subscribe":
            self._subscribe(request, size)
        elif request.method == "resources/unsubscribe":
            self._unsubscribe(request, size)
        else:
            self._forward(self._tasks.passage(request), size)

    def _open(self, request: Request, size: int) -> None:
        if self._meta:
            self._way.reject(request, size, INVALID_REQUEST, "the client sent initialize a second time")
            return
        try:
            check_legacy(request)
        except ProtocolError as problem:
            self._way.reject(request, size, INVALID_PARAMS, str(problem))
            return
        self._meta, self._requested = client_meta(request.params), request.params["protocolVersion"]
        message = message_of(request.id, "server/discover", {})
        self._forward(Passage(request.id, request.id, "initialize", message), size)

    def _forward(self, call: Passage, size: int, **more: Any) -> None:
        """The client's request with what stands on every modern one."""
        params, meta = call.message.get("params", {}), self._meta
        if call.tasked:
            meta = {**meta, CLIENT_CAPABILITIES_KEY: with_extension(meta[CLIENT_CAPABILITIES_KEY])}
        dressed = {**params, **more, "_meta": {**meta_of(params), **meta}}
        self._calls[call.inner] = self._outer[call.outer] = call
        self._way.tell({**call.message, "id": call.inner, "params": dressed}, size)

    def _set_level(self, request: Request, size: int) -> None:
        if request.params.get("level") not in LEVELS:
            self._way.reject(request, size, INVALID_PARAMS, "the client asked for a log level nobody knows")
        elif "logging" not in self._offers:
            self._way.reject(request, size, METHOD_NOT_FOUND, f"{self._server} keeps no log for clients")
        else:
            self._meta = {**self._meta, LOG_LEVEL_KEY: request.params["level"]}
            self._way.answer(request, size, {})

    def _subscribe(self, request: Request, size: int) -> None:
        uri = request.params.get("uri")
        if not isinstance(uri, str) or len(self._uris) + len(self._subscribing) >= MAX_URIS:
            text = "the client asked to follow nothing we know, or too much"
            self._way.reject(request, size, INVALID_PARAMS, text)
        elif uri in self._uris:
            self._way.answer(request, size, {})
        else:
            fact = Fact("request", "client", request.method, uri, request.id, size=size, body=request.params)
            self._way.record(fact)
            own = self._listen({URIS: [uri]})
            self._subscribing[own] = request

    def _unsubscribe(self, request: Request, size: int) -> None:
        own = self._uris.pop(str(request.params.get("uri")), None)
        if own is None:
            self._way.reject(request, size, INVALID_PARAMS, "the client does not follow this resource")
            return
        self._way.tell(replies.notification("notifications/cancelled", {"requestId": own}))
        self._way.answer(request, size, {})

    def _listen(self, notifications: JsonObject) -> str:
        own = next(self._ids)
        params = {"notifications": notifications, "_meta": self._meta}
        self._way.tell(message_of(own, "subscriptions/listen", params))
        return own

    def notification(self, found: Notification, size: int) -> None:
        if found.method == "notifications/cancelled":
            self._cancelled(found, size)
        elif found.method == "notifications/initialized":
            self._way.record(Fact("handshake", "client", found.method, size=size))
        else:
            dropped(self._way, "client", found.method, "the server's era has no word for it", size)

    def _cancelled(self, found: Notification, size: int) -> None:
        outer = found.params.get("requestId")
        call = self._outer.pop(outer, None) if is_request_id(outer) else None
        if call is None:
            dropped(self._way, "client", found.method, "no such request is open", size)
        elif call.inner in self._calls:
            del self._calls[call.inner]
            self._way.tell({**found.message, "params": {**found.params, "requestId": call.inner}}, size)
        else:
            self._way.record(Fact("notification", "client", found.method, request=outer, size=size))
            self._tasks.give_up(call.outer)
            self._call_off(call, "the call was cancelled")

    def response(self, response: Response, size: int) -> None:
        """The client's answer to something a result asked for."""
        call = self._asked.pop(response.id, None) if response.id is not None else None
        if call is None or response.id is None:
            unasked(self._way, size)
            return
        key, method = call.waits.pop(response.id)
        self._way.record(Fact("result", "client", method, method, response.id, size=size))
        if response.result is not None:
            call.given[key] = response.result
        elif method == "elicitation/create":
            call.given[key] = {"action": "cancel"}
        else:
            self._fail(call, f"the client did not do {method}, and the server's era has no word for that")
            return
        if not call.waits:
            self._again(call)

    # --- to the client ---

    def to_client(self, message: JsonObject) -> None:
        if "method" in message:
            self._news(message)
            return
        identifier: RequestId | None = message["id"]
        call = self._calls.pop(identifier, None) if identifier is not None else None
        if call is not None:
            self._answered(call, message)
        elif identifier is None or not own_id_fault(identifier):
            self._way.say(message)
        else:
            self._listening_refused(str(identifier), message)

    def _answered(self, call: Passage, message: JsonObject) -> None:
        result = message.get("result")
        if result is None:
            self._close(call, message)
        elif call.method == "initialize":
            body = initialize_result(result, self._requested, self._server)
            self._offers = body["capabilities"]
            self._close(call, {**message, "result": body})
            self._listen(dict.fromkeys(CHANGES.values(), True))
        elif call.method.startswith("tasks/"):
            self._looked(call, message, result)
        elif result.get("resultType") != "input_required" and call.tasked and call.method == "tools/call":
            self._close(call, {**message, "result": self._tasks.made(result)})
        elif result.get("resultType", "complete") == "complete":
            self._close(call, {**message, "result": legacy_result(call.method, result, tasks="tasks" in self._offers)})
        elif result["resultType"] == "input_required":
            self._ask(call, result)
        else:
            self._fail(call, "the server answered with something the client's era has no word for")

    def _looked(self, call: Passage, message: JsonObject, result: JsonObject) -> None:
        """An answer about a task: to what the client asked, or to what had to be asked on the way to it."""
        asked = call.message["method"]
        if asked == "tasks/cancel":  # a legacy client is told what has become of it
            call.message = message_of(call.outer, "tasks/get", call.message["params"])
            self._retry(call)
        elif asked == "tasks/update":
            self._tasks.rest(call, {})
        elif (body := self._tasks.looked(call, result)) is not None:
            self._close(call, {"jsonrpc": "2.0", "id": message["id"], **body})
        elif wanted := self._tasks.wanted(call, result):
            call.given = {}
            self._put(call, wanted)
        else:
            self._tasks.rest(call, result)

    def _close(self, call: Passage, message: JsonObject) -> None:
        self._outer.pop(call.outer, None)
        self._way.say({**message, "id": call.outer})

    def _ask(self, call: Passage, result: JsonObject) -> None:
        """Put what a result asks for to the client.  The conversation has judged each of them."""
        wanted: JsonObject = result.get("inputRequests", {})
        call.rounds += 1
        call.state, call.given = result.get("requestState"), {}
        if call.rounds > MAX_ROUNDS:
            self._fail(call, f"the server asked for input {call.rounds} times, and {MAX_ROUNDS} is the limit")
            return
        self._put(call, wanted)
        if not wanted:
            self._again(call)

    def _put(self, call: Passage, wanted: JsonObject) -> None:
        declared = self._meta[CLIENT_CAPABILITIES_KEY]
        for entry in wanted.values():
            if missing := lacks(declared, entry):
                self._fail(call, f"the server asked for {missing}, which the client did not declare")
                return
        for key, entry in wanted.items():
            own = next(self._ids)
            call.waits[own] = (key, entry["method"])
            self._asked[own] = call
            fact = Fact("request", "broker", entry["method"], entry["method"], own)
            params = entry.get("params", {})
            if call.method == "tasks/result":
                params = related(params, call.message["params"]["taskId"])
            self._way.say(message_of(own, entry["method"], params), fact)

    def _again(self, call: Passage) -> None:
        """The call once more, with what was asked for and the server's state as it came."""
        if call.method == "tasks/result":
            call.message = self._tasks.answers(call)
            self._retry(call)
            return
        more: JsonObject = {"inputResponses": call.given} if call.given else {}
        if call.state is not None:
            more["requestState"] = call.state
        self._retry(call, **more)

    def _retry(self, call: Passage, **more: Any) -> None:
        call.inner = next(self._ids)
        self._forward(call, 0, **more)

    def _fail(self, call: Passage, why: str) -> None:
        self._outer.pop(call.outer, None)
        self._call_off(call, why)
        text = f"refused by Bulkhead (eras): {why}"
        answer = replies.refusal("legacy", call.method, call.outer, text)
        body: JsonObject = {"error": text}
        self._way.say(answer, Fact("result", "broker", call.method, request=call.outer, body=body))

    def _call_off(self, call: Passage, why: str) -> None:
        """Nobody needs the client's answers any more."""
        for own in call.waits:
            del self._asked[own]
            message = replies.notification("notifications/cancelled", {"requestId": own, "reason": why})
            self._way.say(message, Fact("notification", "broker", "notifications/cancelled", request=own))
        call.waits = {}

    def _news(self, message: JsonObject) -> None:
        method, params = message["method"], message.get("params", {})
        tag = meta_of(params).get(SUBSCRIPTION_KEY)
        if method == "notifications/subscriptions/acknowledged":
            self._honoured(str(tag), params.get("notifications", {}))
        elif method == "notifications/cancelled":
            ended = params.get("requestId")
            self._uris = {uri: own for uri, own in self._uris.items() if own != ended}
            dropped(self._way, "server", method, "the client's era has no word for it")
        else:
            self._way.say(untagged(message))

    def _honoured(self, own: str, notifications: JsonObject) -> None:
        request = self._subscribing.pop(own, None)
        if request is None:
            return
        uri = request.params["uri"]
        if uri in notifications.get(URIS, []):
            self._uris[uri] = own
            answer = replies.result(request.id, {})
        else:
            self._way.tell(replies.notification("notifications/cancelled", {"requestId": own}))
            text = f"refused by Bulkhead (eras): {self._server} does not let the client follow this resource"
            answer = replies.error(request.id, replies.REFUSED, text)
        self._way.say(answer, Fact("result", "broker", request.method, uri, request.id))

    def _listening_refused(self, own: str, message: JsonObject) -> None:
        """An answer to a subscription of ours ends it; one that was not acknowledged was refused."""
        self._uris = {uri: each for uri, each in self._uris.items() if each != own}
        request = self._subscribing.pop(own, None)
        if request is not None:
            error = message.get("error", {"code": replies.REFUSED, "message": "the subscription ended"})
            answer: JsonObject = {"jsonrpc": "2.0", "id": request.id, "error": error}
            self._way.say(answer, Fact("result", "broker", request.method, request=request.id))
