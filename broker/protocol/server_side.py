"""What a server says: answers to open requests, requests of its own, and news (see `news`).  Nothing else gets through.

An answer must belong to a request the server was sent and has not answered; what it asks for, in a request or inside a
result, is judged by the same table.
"""

from broker.errors import ProtocolError
from broker.model import Fact, JsonObject, Verdict
from broker.protocol import replies
from broker.protocol.dispatch import Dispatcher
from broker.protocol.effects import Read
from broker.protocol.envelope import Notification, Request, Response, read, token_of
from broker.protocol.inputs import inputs_of
from broker.protocol.instance import Instance
from broker.protocol.link import Link
from broker.protocol.methods import method_for, target_of
from broker.protocol.news import News
from broker.protocol.requests import OpenRequest, Place
from broker.protocol.states import MAX_STATE
from broker.protocol.versions import OWN_PREFIX


class ServerSide:
    """Handles every message of the server."""

    def __init__(self, link: Link, dispatcher: Dispatcher, instance: Instance) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._instance = instance
        self._news = News(link, dispatcher, instance)

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
                self._news.receive(envelope, size)
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
            request.inputs = inputs_of(self._link.names, result)
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
        method = method_for(request.method, "request", "server", era, extended=link.extended)
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
