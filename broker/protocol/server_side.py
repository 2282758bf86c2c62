"""What a server says: answers to open requests, requests of its own, and news.  Nothing else gets through.

An answer must belong to a request the server was sent and has not answered; what it asks for, in a request or inside a
result, is judged by the same table.
"""

from typing import Final

from broker.errors import ProtocolError
from broker.model import Call, Fact, JsonObject, Verdict
from broker.protocol import replies
from broker.protocol.dispatch import Dispatcher
from broker.protocol.effects import Read
from broker.protocol.envelope import Notification, Request, Response, read, token_of
from broker.protocol.frames import is_request_id
from broker.protocol.instance import Instance
from broker.protocol.link import Link
from broker.protocol.methods import METHODS, method_for, target_of
from broker.protocol.requests import OpenRequest, Place
from broker.protocol.states import MAX_STATE
from broker.protocol.versions import OWN_PREFIX, SUBSCRIPTION_KEY

MAX_INPUTS: Final = 16  # things one result may ask for; a person has to read each
_LIST_CHANGED: Final = {f"notifications/{part}/list_changed": part for part in ("tools", "prompts", "resources")}


class ServerSide:
    """Handles every message of the server."""

    def __init__(self, link: Link, dispatcher: Dispatcher, instance: Instance) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._instance = instance

    def receive(self, message: JsonObject, size: int) -> None:
        try:
            envelope = read("server", message)
        except ProtocolError as problem:
            self._link.fault("server", str(problem), size=size)
            return
        match envelope:
            case Response():
                self._response(envelope, size)
            case Request():
                self._request(envelope, size)
                self._link.unasked(size)
            case Notification():
                self._notification(envelope, size)
                self._link.unasked(size)

    def unheard(self, what: str, limit: int) -> None:
        """A line was longer than the limit and nobody read it, so nobody knows which answer it was.

        Every call that was sent to the server and not answered may be the one, and one that is never answered hangs:
        all of them are ended with an error that says so.  The answers the server still gives to the others come late,
        are recorded and go nowhere.  Subscriptions, which have no answer, and what was not sent yet go on.
        """
        link = self._link
        link.fault("server", what, size=limit)
        text = (
            f"refused by Bulkhead (size): {link.names.server} sent a line longer than the limit of {limit} bytes, which"
            " may have been the answer to this; what was asked for may have been done; try: ask for less at a time, or:"
            f" bulkhead limits {link.names.server} --message-size SIZE"
        )
        for request in () if link.ended else link.from_client.at(Place.PEER):
            link.settle("client", request, replies.error(request.id, replies.UNAVAILABLE, text))
            link.from_client.expect_late(request.id)

    def overdue(self, turn: int, seconds: float) -> None:
        """Its answer took too long: the server is told that nobody waits, and the client that nothing came."""
        link = self._link
        for request in [each for each in link.from_client.at(Place.PEER) if each.turn == turn]:
            text = f"refused by Bulkhead (manners): {link.names.server} did not answer within {seconds:g} s"
            link.settle("client", request, replies.error(request.id, replies.UNAVAILABLE, text))
            link.from_client.expect_late(request.id)
            cancelled = replies.notification("notifications/cancelled", {"requestId": request.id, "reason": text})
            link.send("server", cancelled, Fact("notification", "broker", cancelled["method"], request=request.id))

    # --- answers ---

    def _response(self, response: Response, size: int) -> None:
        link = self._link
        if response.id is None:
            link.record(Fact("result", "server", size=size, body={"dropped": "it says which request nobody can tell"}))
            return
        if isinstance(response.id, str) and response.id.startswith(OWN_PREFIX):
            self._instance.receive(response, size)
            return
        request = link.from_client.get(response.id)
        if request is not None and request.place is Place.PEER:
            self._answered(request, response, size)
        elif request is not None and request.place is Place.LISTENING and self._instance.settled_in:
            self._listening_ended(request, response, size)
        elif link.from_client.settle_abandoned(response.id):
            link.record(Fact("result", "server", request=response.id, size=size, body={"dropped": "it was cancelled"}))
        else:
            link.fault("server", "the server answered a request nobody made", size=size)

    def _answered(self, request: OpenRequest, response: Response, size: int) -> None:
        """The one answer a request gets: held against what it asks for, recorded, read, passed on."""
        self._dispatcher.worked()
        self._link.turn = request.turn
        self._record(request, response.message, size)
        if replies.is_absence(response.message.get("error")) and self._dispatcher.rests(request):
            return
        result = response.result or {}
        state = result.get("requestState")
        if state is not None and (not isinstance(state, str) or len(state) > MAX_STATE or state.startswith(OWN_PREFIX)):
            self._replace(request, f"refused by Bulkhead (bounds): a requestState must be text of at most {MAX_STATE}")
            return
        room = self._link.sight.room(request.call) if request.call is not None else None
        if room is not None and size > room:
            self._replace(request, f"refused by Bulkhead (manners): the answer has {size} bytes, of {room} at most")
            return
        try:
            request.inputs = self._inputs(result)
        except ProtocolError as problem:
            self._link.fault("server", str(problem))
            self._replace(request, f"refused by Bulkhead (input): {problem}")
            return
        request.answer, request.size = response.message, size
        self.carry_on(request)

    def carry_on(self, request: OpenRequest) -> None:
        """Judge what the answer asks for, one by one; pass the answer on when all of it is allowed."""
        self._link.turn = request.turn
        while request.inputs:
            call = request.inputs[0]
            decision = self._link.judge(call)
            refused = decision.verdict is Verdict.DENY
            self._link.record(
                Fact("decision", "server", call.method, call.target, request.id, decision, 0, call.digest,
                     call.arguments, refused)
            )  # fmt: skip
            if refused:
                self._replace(request, replies.denied(decision, "change the policy (bulkhead policy use FILE)"))
                return
            if decision.verdict is Verdict.ASK:
                self._dispatcher.ask("client", request, decision, Place.RESULT)
                return
            request.inputs.pop(0)
        self._dispatcher.delivery.deliver(request)

    def allowed(self, request: OpenRequest) -> None:
        """A person said yes to the thing an answer asks for: on to the next."""
        consent, asked = request.consent, request.asked
        assert consent is not None and asked is not None
        if self._link.sight.spend(request.inputs[0], asked, consent) is not None:
            request.inputs.pop(0)
        self.carry_on(request)

    def _replace(self, request: OpenRequest, text: str) -> None:
        """The client gets our no instead of the server's answer."""
        self._link.refuse("client", request, text)

    def _inputs(self, result: JsonObject) -> list[Call]:
        """What a result asks the client for, in the modern era's `inputRequests` or a task's."""
        task = result.get("task")
        calls: list[Call] = []
        for holder in (result, task if isinstance(task, dict) else {}):
            wanted = holder.get("inputRequests", {})
            if not isinstance(wanted, dict) or len(wanted) + len(calls) > MAX_INPUTS:
                raise ProtocolError("the server's result", "asks for input in a way nobody understands")
            for entry in wanted.values():
                calls.append(self._input(entry))
        return calls

    def _input(self, entry: object) -> Call:
        name = entry.get("method") if isinstance(entry, dict) else None
        params = entry.get("params", {}) if isinstance(entry, dict) else None
        method = METHODS.get(name) if isinstance(name, str) else None
        if method is None or not method.input or not isinstance(name, str) or not isinstance(params, dict):
            raise ProtocolError("the server's result", "asks for something no server may ask for")
        return self._link.names.call("server", name, name, params)

    def _listening_ended(self, request: OpenRequest, response: Response, size: int) -> None:
        """It will not tell about resources any more; the lists are still ours to tell."""
        link = self._link
        link.turn = request.turn
        self._record(request, response.message, size)
        if response.result is None:
            return
        link.subscriptions.listeners.pop(request.id, None)
        link.from_client.close(request)
        link.forward("client", response.message, Read(request.method, request.target, response.result))

    def _record(self, request: OpenRequest, message: JsonObject, size: int) -> None:
        body: JsonObject = {name: message[name] for name in ("result", "error") if name in message}
        fact = Fact(
            "result",
            "server",
            request.method,
            request.target,
            request.id,
            size=size,
            digest=request.call.digest if request.call else "",
            body=body,
            durable=request.durable,
        )
        self._link.record(fact)

    # --- requests of its own ---

    def _request(self, request: Request, size: int) -> None:
        link = self._link
        link.next_turn()
        era = link.era or "legacy"
        method = method_for(request.method, "request", "server", era)
        target = target_of(request.method, method, request.params) if method else None
        if era == "modern":
            link.fault("server", "the server made a request, which no modern server may", size=size)
        elif request.id in link.from_server:
            link.fault("server", "the server used an id whose request is not answered yet", size=size)
        elif method is None:
            self._reject(request, size, replies.METHOD_NOT_FOUND, "this is no method a server may use here")
        elif target is None:
            self._reject(request, size, replies.INVALID_PARAMS, f"{request.method} does not say what it is about")
        elif link.from_server.full:
            self._reject(request, size, replies.BUSY, "refused by Bulkhead (bounds): too many requests are open")
        else:
            waiting = OpenRequest(request.id, request.method, target, request.message, size, token_of(request.params))
            waiting.turn = link.turn
            link.from_server.add(waiting)
            if method.judged:
                waiting.call = link.names.call("server", request.method, target, request.params)
                self._dispatcher.decide("server", waiting)
            else:
                link.heard("server", request, target, size)
                self._dispatcher.go("server", waiting)

    def _reject(self, request: Request, size: int, code: int, text: str) -> None:
        """Answered, not counted: a server may try what another client would take."""
        link = self._link
        link.heard("server", request, request.method[: replies.MAX_QUOTED], size)
        fact = Fact("result", "broker", request=request.id, body={"error": text})
        link.send("server", replies.error(request.id, code, text), fact)

    # --- news ---

    def _notification(self, found: Notification, size: int) -> None:
        link = self._link
        if method_for(found.method, "notification", "server", link.era or "legacy") is None:
            self._drop(found, size, "no method a server may use here")
        elif found.method in _LIST_CHANGED:
            self._drop(found, size, "what the client is shown is compared first")
            self._instance.list_changed(_LIST_CHANGED[found.method])
        elif found.method == "notifications/cancelled":
            self._cancelled(found, size)
        elif found.method == "notifications/progress" and not link.from_client.expects(
            found.params.get("progressToken")
        ):
            self._drop(found, size, "nobody waits for it")
        elif found.method == "notifications/resources/updated" and not self._followed(found):
            link.courtesy.forget()
            self._drop(found, size, "nobody follows it")
        elif found.method == "notifications/subscriptions/acknowledged":
            self._drop(found, size, "the client was told when it asked")
        elif not self._instance.open:
            self._drop(found, size, "its handshake is not over")
        else:
            self._tell(found, size)

    def _followed(self, found: Notification) -> bool:
        """Somebody asked for it.  The resource itself may be part of the one that was asked for."""
        subscriptions = self._link.subscriptions
        if self._link.era == "legacy":
            return bool(subscriptions.resources)
        meta = found.params.get("_meta", {})
        identifier = meta.get(SUBSCRIPTION_KEY)
        listener = subscriptions.listeners.get(identifier) if is_request_id(identifier) else None
        return listener is not None and bool(listener.uris)

    def _cancelled(self, found: Notification, size: int) -> None:
        """Of its own request in the legacy era, of a subscription in the modern one."""
        link = self._link
        identifier = found.params.get("requestId")
        if not is_request_id(identifier):
            self._drop(found, size, "no such request is open")
            return
        listener = link.subscriptions.listeners.get(identifier)
        request = link.from_client.get(identifier) if listener else link.from_server.get(identifier)
        if request is None or (listener and not self._instance.settled_in):
            self._drop(found, size, "no such request is open")
        elif listener:
            del link.subscriptions.listeners[identifier]
            link.from_client.close(request)
            self._tell(found, size)
        elif request.place is Place.PEER:
            link.from_server.abandon(request)
            self._tell(found, size)
        else:
            link.record(self._fact(found, size, found.params))
            self._dispatcher.withdraw("server", request)

    def _tell(self, found: Notification, size: int) -> None:
        """What it says unasked may be read by the client's model like any answer; a bare number says nothing."""
        wordless = found.method == "notifications/progress" and not found.params.get("message")
        if not wordless and (barred := self._link.sight.bars(found.method, found.method, {})) is not None:
            self._drop(found, size, f"{barred.rule}: {barred.reason}")
            return
        counted = None if wordless else Read(found.method, found.method, found.params)
        if found.method == "notifications/resources/updated":
            self._link.courtesy.forget()
        self._link.send("client", found.message, self._fact(found, size, found.params), counted)

    def _drop(self, found: Notification, size: int, why: str) -> None:
        self._link.record(self._fact(found, size, {"dropped": why}))

    def _fact(self, found: Notification, size: int, body: JsonObject) -> Fact:
        method = found.method if len(found.method) <= replies.MAX_QUOTED else replies.quoted(found.method)
        return Fact("notification", "server", method, size=size, body=body)
