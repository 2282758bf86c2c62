"""What a client says: answered from what was agreed to, or judged and passed on, or refused with a reason.

Only `_use` leads to the server; everything else is answered here and starts nothing.
"""

from dataclasses import replace

from broker.errors import ProtocolError
from broker.model import Decision, Era, Fact, JsonObject, Verdict
from broker.protocol import replies
from broker.protocol.calls import CARRY_ARGUMENTS
from broker.protocol.dispatch import Dispatcher
from broker.protocol.envelope import Notification, Request, Response, read, token_of
from broker.protocol.eras import modern_view, speaks
from broker.protocol.frames import is_request_id
from broker.protocol.inside import PREFIX, returned
from broker.protocol.instance import Instance
from broker.protocol.lifecycle import Admission, may_request
from broker.protocol.link import Link
from broker.protocol.methods import Method, has_strange_words, method_for, target_of
from broker.protocol.opening import (
    check_legacy,
    check_modern,
    declaration,
    declared,
    era_of,
    extensions,
    unpinned,
    version_error,
    views_for,
)
from broker.protocol.pinned import LISTS, Pinned
from broker.protocol.replies import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND
from broker.protocol.requests import OpenRequest, Place
from broker.protocol.versions import OWN_PREFIX, VERSION_KEY


class ClientSide:
    """Handles every message of the client."""

    def __init__(self, link: Link, dispatcher: Dispatcher, instance: Instance) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._instance = instance
        self._pinned = Pinned(link, dispatcher, instance)

    def receive(self, message: JsonObject, size: int) -> None:
        try:
            envelope = read("client", message)
        except ProtocolError as problem:
            self.malformed(message, str(problem), size)
            return
        match envelope:
            case Request():
                self._request(envelope, size)
            case Notification():
                self._notification(envelope, size)
            case Response():
                self._response(envelope, size)

    def malformed(self, message: JsonObject, what: str, size: int) -> None:
        """JSON, and no message: the sender is told, under its own id where that cannot be taken for another answer."""
        identifier = message.get("id")
        known = is_request_id(identifier) and "method" in message and identifier not in self._link.from_client
        reply = replies.error(identifier if known else None, INVALID_REQUEST, what)
        self._link.fault("client", what, reply, size)

    def taken(self, size: int) -> None:
        """An id used twice.  An error under that id would pass for the first request's answer."""
        what = "the client used an id whose request is not answered yet"
        self._link.fault("client", what, replies.error(None, INVALID_REQUEST, what), size)

    # --- requests ---

    def _request(self, request: Request, size: int) -> None:
        link = self._link
        link.next_turn()
        if isinstance(request.id, str) and request.id.startswith(OWN_PREFIX):
            what = f"the client used an id that begins with {OWN_PREFIX}, which is Bulkhead's own"
            link.fault("client", what, replies.error(request.id, INVALID_REQUEST, what), size)
        elif request.id in link.from_client:
            self.taken(size)
        elif link.from_client.full:
            self._link.reject(request, size, replies.BUSY, "refused by Bulkhead (bounds): too many requests are open")
        elif request.method == "ping" and link.era != "modern":
            link.heard("client", request, "ping", size)
            link.reply(request, replies.result(request.id, {}))
        else:
            self._known(request, size)

    def _known(self, request: Request, size: int) -> None:
        """A request whose envelope is in order: is it one of this era, at this point?"""
        link = self._link
        if request.method == "server/discover" and (link.era is None or link.bridged) and self._across(request, size):
            return
        era = era_of(request) or link.era or "legacy"
        if link.era is not None and era != link.era and method_for(request.method, "request", "client", link.era):
            self._link.reject(request, size, INVALID_REQUEST, f"the client began in the {link.era} era and left it")
            return
        era = link.era or era
        method = method_for(request.method, "request", "client", era, extended=link.extended)
        if method is None:
            text = f"{replies.quoted(request.method)} is no method a client may use here"
            self._link.reject(request, size, METHOD_NOT_FOUND, text)
        elif not may_request(era, request.method, settled=link.era is not None):
            when = "a second time" if link.era else "before initialize"
            self._link.reject(request, size, INVALID_REQUEST, f"the client sent {request.method} {when}")
        elif self._opened(request, era, size):
            self._serve(request, method, size)

    def _opened(self, request: Request, era: Era, size: int) -> bool:
        """True when the request can be served; settles the era with the first that can."""
        link = self._link
        try:
            (check_modern if era == "modern" else _check_first)(request)
        except ProtocolError as problem:
            self._link.reject(request, size, INVALID_PARAMS, str(problem))
            return False
        if link.agreed is not None and link.era is not None:
            problem_error = version_error(link.agreed, request.meta[VERSION_KEY]) if era == "modern" else None
            return self._unless(request, size, problem_error)
        found = views_for(link.catalog, era, declared(era, request))
        if found is None:
            return self._unless(request, size, unpinned(link.names.server))
        key, agreed, sibling = found
        if agreed.refusal is not None:
            return self._unless(request, size, agreed.refusal)
        if era == "modern" and (wrong := version_error(agreed, request.meta[VERSION_KEY])):
            return self._unless(request, size, wrong)
        if request.method == "server/discover":  # a question, not a choice: the client may go on in the other era
            self._pinned.open(request, agreed, size)
            return False
        link.era, link.opening, link.key = era, request, key
        link.agreed, link.sibling, link.shown = agreed, sibling, agreed
        offered = (agreed.opening or {}).get("capabilities")
        link.extended = bool(extensions(declaration(era, request)) & extensions(offered))
        return True

    def _across(self, request: Request, size: int) -> bool:
        """Let a modern client discover what only the legacy era has; true when it was answered."""
        link = self._link
        if speaks(link.catalog, "modern") or not speaks(link.catalog, "legacy"):
            return False
        try:
            check_modern(request)
        except ProtocolError as problem:
            link.reject(request, size, INVALID_PARAMS, str(problem))
            return True
        found = views_for(link.catalog, "legacy", declared("modern", request))
        assert found is not None
        view = modern_view(found[1] if found[1].opening is not None else found[2])
        if self._unless(request, size, version_error(view, request.meta[VERSION_KEY])):
            self._pinned.open(request, view, size)
        return True

    def _unless(self, request: Request, size: int, error: JsonObject | None) -> bool:
        if error is not None:
            self._link.heard("client", request, request.method, size, "handshake")
            self._link.reply(request, {"jsonrpc": "2.0", "id": request.id, "error": error})
        return error is None

    def _serve(self, request: Request, method: Method, size: int) -> None:
        link = self._link
        assert link.shown is not None and link.agreed is not None
        target = target_of(request.method, method, request.params)
        if target is None:
            self._link.reject(request, size, INVALID_PARAMS, f"the client did not say what {request.method} is about")
        elif request.method in ("initialize", "server/discover"):
            self._pinned.open(request, link.agreed, size)
        elif request.method in LISTS:
            self._pinned.whole_list(request, size)
        elif request.method == "logging/setLevel":
            self._pinned.set_level(request, size)
        elif request.method == "subscriptions/listen":
            self._pinned.listen(request, size)
        else:
            self._use(request, method, target, size)

    def _use(self, request: Request, method: Method, target: str, size: int) -> None:
        """Something only the server can do."""
        link = self._link
        assert link.era is not None
        if link.admission is not Admission.ADMITTED:
            client, server = link.names.client, link.names.server
            if link.admission is Admission.REFUSED:
                why, cure = "a person said no", "connect again and answer yes"
            else:
                why, cure = "nobody has said yes yet", "bulkhead pending"
            text = f"refused by Bulkhead (connection): {client} may not use {server}: {why}; to allow: {cure}"
            link.heard("client", request, target, size, decision=Decision(Verdict.DENY, "connection", why))
            link.reply(request, replies.refusal(link.era, request.method, request.id, text))
            return
        request, said = returned(request) or (request, None)
        problem = self._dispatcher.objection(request.method, target, request.id, request.params)
        if problem is None and "requestState" in request.params:
            problem = self._state_problem(request, target)
        if problem is not None:
            rule = "R1" if link.is_held(request.method, target) else "R0"
            refused = Decision(Verdict.DENY, rule, "it is not what the agreed catalog has")
            link.heard("client", request, target, size, decision=refused)
            link.reply(request, problem)
            return
        request = self._masked(request, target)
        waiting = OpenRequest(request.id, request.method, target, request.message, size, token_of(request.params))
        waiting.turn, waiting.said = link.turn, said
        link.from_client.add(waiting)
        link.asked()
        if method.judged or has_strange_words(method, request.message):
            waiting.call = link.names.call("client", request.method, target, request.params)
            self._dispatcher.decide("client", waiting)
        else:
            link.heard("client", request, target, size)
            self._dispatcher.go("client", waiting)

    def _masked(self, request: Request, target: str) -> Request:
        """The call as the policy lets its server have it: that is what is judged, recorded and sent."""
        link = self._link
        if request.method not in CARRY_ARGUMENTS:
            return request
        call = link.names.call("client", request.method, target, request.params)
        found = link.sight.sent(call, request.params)
        if found is None:
            return request
        body = {"masked": found.places, "rules": list(found.rules), "of": "arguments"}
        link.record(Fact("policy", "broker", request.method, target, request.id, body=body))
        return replace(request, params=found.answer, message={**request.message, "params": found.answer})

    def _state_problem(self, request: Request, target: str) -> JsonObject | None:
        """A state a server handed out counts once, for the call it was handed out for."""
        state = request.params["requestState"]
        if isinstance(state, str) and self._link.states.redeem(state, request.method, target):
            return None
        text = f"requestState was not given for this {request.method}, or was used before"
        return replies.error(request.id, INVALID_PARAMS, text)

    # --- notifications and answers ---

    def _notification(self, found: Notification, size: int) -> None:
        link = self._link
        known = method_for(found.method, "notification", "client", link.era or "legacy", extended=link.extended)
        if known is None:
            self._drop(found, size, "no method a client may use here")
        elif (objection := self._strange(found, known)) is not None:
            self._drop(found, size, objection)
        elif found.method == "notifications/cancelled":
            self._cancelled(found, size)
        elif found.method == "notifications/initialized":
            link.initialized = link.initialized or found.message  # the server gets it when its own handshake ends
            link.record(Fact("handshake", "client", found.method, size=size))
        elif found.method == "notifications/progress" and not link.from_server.expects(
            found.params.get("progressToken")
        ):
            self._drop(found, size, "nobody waits for it")
        elif not self._instance.open:
            self._drop(found, size, "the server does not run")
        else:
            fact = Fact("notification", "client", found.method, size=size, body=found.params)
            link.send("server", found.message, fact)

    def _strange(self, found: Notification, method: Method) -> str | None:
        """Why more words than the method has do not go on: nobody waits for an answer, so nobody is asked."""
        if not method.judged and not has_strange_words(method, found.message):
            return None
        decision = self._link.judge(self._link.names.call("client", found.method, found.method, found.params))
        if decision.verdict is Verdict.ALLOW:
            return None
        return f"it says more than {found.method} has fields for, and {decision.rule} does not allow it"

    def _cancelled(self, found: Notification, size: int) -> None:
        link = self._link
        identifier = found.params.get("requestId")
        request = link.from_client.get(identifier) if is_request_id(identifier) else None
        if request is None:
            self._drop(found, size, "no such request is open")
            return
        link.turn = request.turn
        fact = Fact("notification", "client", found.method, request=request.id, size=size, body=found.params)
        listener = link.subscriptions.listeners.pop(request.id, None)
        told = request.place is Place.PEER or (listener is not None and listener.upstream and self._instance.settled_in)
        if told:
            link.from_client.abandon(request)
            link.send("server", found.message, fact)
        else:
            link.record(fact)
            self._dispatcher.withdraw("client", request)

    def _response(self, response: Response, size: int) -> None:
        link = self._link
        if isinstance(response.id, str) and response.id.startswith(PREFIX):
            self._dispatcher.answered_inside(response, size)
            return
        request = link.from_server.get(response.id) if response.id is not None else None
        if request is not None and request.place is Place.PEER:
            link.from_server.close(request)
            link.turn = request.turn
            digest = request.call.digest if request.call else ""
            fact = Fact("result", "client", request.method, request.target, request.id, size=size, digest=digest)
            link.send("server", response.message, fact)
        elif response.id is not None and link.from_server.settle_abandoned(response.id):
            link.record(Fact("result", "client", request=response.id, size=size, body={"dropped": "it was cancelled"}))
        elif response.id is None:
            link.record(Fact("result", "client", size=size, body={"dropped": "it says which request nobody can tell"}))
        else:
            link.fault("client", "the client answered a request nobody made", size=size)

    def _drop(self, found: Notification, size: int, why: str) -> None:
        method = found.method if len(found.method) <= replies.MAX_QUOTED else replies.quoted(found.method)
        self._link.record(Fact("notification", "client", method, size=size, body={"dropped": why}))


def _check_first(request: Request) -> None:
    if request.method == "initialize":
        check_legacy(request)
