"""The last step of an answer: counted as read, masked, passed on to the client that waits for it.

An answer was recorded and judged before it comes here; one that is given again is recorded here.
"""

from broker.model import Fact, JsonObject
from broker.protocol import replies
from broker.protocol.effects import Read
from broker.protocol.link import Link
from broker.protocol.requests import OpenRequest, Place


class Delivery:
    """Hands a client its answers."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def gave_again(self, request: OpenRequest) -> bool:
        """Whether a call was answered with what its server said to the very same call before."""
        link, call = self._link, request.call
        found = link.courtesy.kept(call) if call is not None and not request.questions else None
        if call is None or found is None:
            return False
        result, age = found
        body: JsonObject = {"result": result, "kept": round(age, 3)}
        fact = Fact("result", "broker", request.method, request.target, request.id, digest=call.digest, body=body)
        link.record(fact)
        request.answer = replies.result(request.id, result)
        self.deliver(request)
        return True

    def deliver(self, request: OpenRequest) -> None:
        """Its answer, which was recorded and judged: read, masked, passed on."""
        link = self._link
        assert request.answer is not None
        message = request.answer
        result = message.get("result")
        text = message["error"] if result is None else result
        counted = None
        if result is None or result.keys() - {"resultType"}:  # `_meta` may say as much as any other field
            asked = request.call.arguments if request.call is not None else {}
            counted = Read(request.method, request.target, text, asked)
            barred = link.sight.bars(request.method, request.target, asked)
            if barred is not None:  # something was read since it was asked for
                digest = request.call.digest if request.call else ""
                link.record(Fact("decision", "server", request.method, request.target, request.id, barred, 0, digest))
                link.refuse("client", request, replies.denied(barred, "begin a new session"))
                return
        if result is not None:
            self._remember(request, result)
            if request.call is not None and request.place is Place.PEER:
                link.courtesy.keep(request.call, result)
        link.from_client.close(request)
        link.forward("client", self._masked(request, message), counted)

    def _masked(self, request: OpenRequest, message: JsonObject) -> JsonObject:
        """The answer as the policy lets the client see it; what was done to it is on record before it goes."""
        found = self._link.sight.masked(request.call, message) if request.call is not None else None
        if found is None:
            return message
        body = {"masked": found.places, "rules": list(found.rules)}
        digest = request.call.digest if request.call is not None else ""
        fact = Fact("policy", "broker", request.method, request.target, request.id, digest=digest, body=body)
        self._link.record(fact)
        return found.answer

    def _remember(self, request: OpenRequest, result: JsonObject) -> None:
        link = self._link
        state = result.get("requestState")
        if isinstance(state, str):
            link.states.give(state, request.method, request.target)
        if isinstance(result.get("task"), dict) or result.get("resultType") == "task":
            link.from_client.linger(request)
        if request.method == "resources/subscribe" and request.call and link.subscriptions.room_for(1):
            link.subscriptions.resources[request.target] = request.call
        elif request.method == "resources/unsubscribe":
            link.subscriptions.resources.pop(request.target, None)
