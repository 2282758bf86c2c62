"""May it go on, and where does it wait: judging, asking, parking, sending.

A call is judged when it comes and again when it leaves, because what the session has read may have grown in between.
A person's yes covers the rule and the evidence it was given for, and nothing else.
"""

from typing import Final

from broker.model import Call, Decision, Fact, JsonObject, Side, Verdict
from broker.protocol import replies
from broker.protocol.arguments import Arguments
from broker.protocol.courtesy import is_repeatable
from broker.protocol.delivery import Delivery
from broker.protocol.effects import Ask, Launch, Read, Withdraw
from broker.protocol.envelope import Response
from broker.protocol.inside import Inside
from broker.protocol.lifecycle import Phase
from broker.protocol.link import Link
from broker.protocol.requests import OpenRequest, Place

MAX_WAITING: Final = 64  # requests that wait for a person or for the server
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024  # four of the largest messages
MAX_QUESTIONS: Final = 3  # about one call; after that its circumstances change faster than a person can answer
MAX_FAILURES: Final = 5  # launches in a row without one answer; then the link says so instead of trying again
PROGRESS_STEP: Final = 1e-6  # our progress must stay below the server's own, which often starts at 0 or 1

_POLICY: Final = "change the policy (bulkhead policy use FILE)"
_PENDING: Final = "call again and answer yes in bulkhead or with bulkhead approve"


class Dispatcher:
    """Moves open requests between their places."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.delivery = Delivery(link)
        self.inside = Inside(link)
        self._questions = 0
        self._failures = 0
        self._schemas: dict[str, Arguments] = {}

    def objection(self, method: str, target: str, request: replies.RequestId, params: JsonObject) -> JsonObject | None:
        """Why the agreed catalog does not have this; None when it does, or when it does not list such things."""
        link = self._link
        assert link.era is not None and link.shown is not None
        if link.wrong_version:
            return self._drifted(method, request, "speaks another protocol version than was agreed to")
        if method == "resources/unsubscribe" and target not in link.subscriptions.resources:
            text = "the client does not follow this resource"  # nobody judges what only ends something that began
            return replies.error(request, replies.INVALID_PARAMS, text)
        if method not in ("tools/call", "prompts/get"):
            return None
        what = "tool" if method == "tools/call" else "prompt"
        if change := link.held.get((what, target)):
            news = "is new" if change.kind == "added" else f"has changed ({', '.join(change.fields)})"
            return self._drifted(method, request, f"has a {what} {replies.quoted(target)} that {news}")
        shown = link.shown.tools if what == "tool" else link.shown.prompts
        found = next((item for item in shown if item["name"] == target), None)
        if found is None:
            text = f"{link.names.server} has no {what} called {replies.quoted(target)}"
            return replies.error(request, replies.INVALID_PARAMS, text)
        if what == "tool" and (fault := self._schema(found).fault(params.get("arguments", {}))):
            text = f"refused by Bulkhead (R0, schema): {replies.quoted(target)} cannot be called so: {fault}"
            return replies.error(request, replies.INVALID_PARAMS, text)
        return None

    def _schema(self, tool: JsonObject) -> Arguments:
        """Compiled when a tool is first called; another definition under its name is another schema."""
        known = self._schemas.get(tool["name"])
        if known is None or known.tool is not tool:
            known = self._schemas[tool["name"]] = Arguments(tool)
        return known

    def decide(self, side: Side, request: OpenRequest) -> None:
        """Judge a call now: send it on, park it, ask, or refuse."""
        link = self._link
        assert request.call is not None
        link.turn = request.turn
        decision = link.judge(request.call)
        if decision.verdict is Verdict.ASK:
            decision = self._consented(side, request, request.call, decision)
        self._record(side, request, decision)
        if decision.verdict is Verdict.ALLOW:
            self.go(side, request)
        elif decision.verdict is Verdict.DENY:
            self._link.refuse(side, request, replies.denied(decision, _POLICY))
        elif not self._room(side, request):
            self._link.refuse(side, request, "refused by Bulkhead (bounds): too much is waiting for an answer already")
        else:
            self.ask(side, request, decision, Place.QUESTION)

    def _consented(self, side: Side, request: OpenRequest, call: Call, asked: Decision) -> Decision:
        """The yes by which it goes, used up if it goes now; else what is asked."""
        sight = self._link.sight
        if (said := request.said) is not None:
            request.said, request.at_desk = None, said.allowed is None
            if said.allowed is not None:
                answer = sight.said(call, asked, said.mark, said.allowed)
                self._link.record(_answer(request, call, answer))
                if answer.verdict is not Verdict.ALLOW:
                    return answer
                request.asked, request.consent = asked, answer
        given = request.consent if _same_question(request.asked, asked) else None
        given = given or sight.allowed(call, asked)
        if given is not None and (side == "server" or self._link.phase is Phase.READY):
            given = sight.spend(call, asked, given)
        if given is not None:
            return given
        request.consent = None
        if request.questions < MAX_QUESTIONS:
            return asked
        reason = f"it was asked about {MAX_QUESTIONS} times, and each time something else was read meanwhile"
        return Decision(Verdict.DENY, asked.rule, reason, asked.evidence)

    def ask(self, side: Side, request: OpenRequest, decision: Decision, place: Place) -> None:
        """Put a request (or, in `Place.RESULT`, what its answer asks for) to a person."""
        call = request.inputs[0] if place is Place.RESULT else request.call
        assert call is not None
        self._questions += 1
        request.place, request.question, request.asked = place, self._questions, decision
        request.questions += 1
        inside = side == "client" and place is Place.QUESTION
        if inside and self.inside.instead(request, decision):
            return
        self._link.questions[self._questions] = (side, request.id)
        self._link.effects.append(Ask(self._questions, call, decision))
        if inside:
            self.inside.beside(request, decision)

    def answered_inside(self, response: Response, size: int) -> None:
        """The client brings what its person said: the question leaves the desk, and counts as answered."""
        link = self._link
        question, said = self.inside.heard(response, size) or (0, None)
        side, identifier = link.questions.get(question, ("client", ""))
        request = link.requests_of(side).get(identifier)
        if request is None or request.call is None or request.asked is None or said is None:
            return
        link.turn = request.turn
        link.effects.append(Withdraw(question, answered=True))
        self.answered(question, link.sight.said(request.call, request.asked, said.mark, said.allowed is True))

    def answered(self, question: int, decision: Decision) -> OpenRequest | None:
        """A person answered, or the deadline did.

        Returns the request when the yes was about its answer (`Place.RESULT`), which is not ours to carry on.
        """
        link = self._link
        self.inside.over(question)
        side, identifier = link.questions.pop(question, ("client", ""))
        request = link.requests_of(side).get(identifier)
        if request is None or request.question != question:
            return None  # withdrawn: a late yes forwards nothing
        call = request.inputs[0] if request.place is Place.RESULT else request.call
        assert call is not None
        link.turn = request.turn
        link.record(_answer(request, call, decision))
        if decision.verdict is not Verdict.ALLOW:
            self._link.refuse(side, request, replies.denied(decision, _PENDING))
            return None
        request.consent = decision
        if request.place is Place.RESULT:
            return request
        request.place = Place.PARKED
        if not self._gone_meanwhile(side, request):
            self.decide(side, request)
        return None

    def go(self, side: Side, request: OpenRequest) -> None:
        """To the other side now, or to the waiting room and the launch that will empty it."""
        link = self._link
        if side == "client" and self.delivery.gave_again(request):
            return
        if side == "server" or link.phase is Phase.READY:
            self._pass_on(side, request)
            return
        request.place = Place.PARKED
        if not self._room(side, request):
            text = f"refused by Bulkhead (bounds): too much waits for {link.names.server} to start"
            link.settle(side, request, replies.error(request.id, replies.BUSY, text))
            return
        if link.phase is Phase.ABSENT:
            self.launch()

    def launch(self) -> None:
        """Ask for an instance, unless this server keeps failing."""
        link = self._link
        if self._failures >= MAX_FAILURES:
            text = (
                f"{link.names.server} failed {self._failures} times in a row; see bulkhead audit tail, then reconnect"
            )
            link.fail_open(text, Place.PARKED)
            return
        link.move(Phase.LAUNCHING)
        link.record(Fact("launch", "broker", target=link.names.server, durable=True))
        link.effects.append(Launch())

    def ready(self) -> None:
        """The server is ready: everything parked is judged again, in the order it came."""
        for request in self._link.from_client.at(Place.PARKED):
            if self._link.ended:
                return
            if self._gone_meanwhile("client", request):
                continue
            if request.call is not None:
                self.decide("client", request)
                continue
            self._link.turn = request.turn
            fact = Fact("request", "client", request.method, request.target, request.id, size=request.size)
            self._link.record(fact)
            self._pass_on("client", request)

    def worked(self) -> None:
        self._failures = 0

    def failed(self, text: str) -> None:
        """The instance is gone or never came; nothing that went to it or waits for it will be answered."""
        self._failures += 1
        for request in self._link.from_client.at(Place.PEER):
            self.rests(request)
        self._link.fail_open(text, Place.PARKED, Place.PEER, Place.RESULT)
        self._link.from_client.forget_abandoned()

    def rests(self, request: OpenRequest) -> bool:
        """Whether a call that got no answer is tried again in a while, which is then on record."""
        link, call = self._link, request.call
        planned = link.courtesy.again(call) if call is not None and request.message else None
        if planned is None:
            return False
        number, seconds = planned
        request.place, link.turn = Place.RESTING, request.turn
        body: JsonObject = {"retry": number, "in_seconds": seconds}
        digest = call.digest if call is not None else ""
        link.record(Fact("policy", "broker", request.method, request.target, request.id, digest=digest, body=body))
        return True

    def again(self, turn: int) -> None:
        """A call that got no answer rested long enough: it is judged anew, and goes if it still may."""
        for request in self._link.from_client.at(Place.RESTING):
            if request.turn == turn:
                request.place = Place.PARKED
                if not self._gone_meanwhile("client", request):
                    self.decide("client", request)

    def withdraw(self, side: Side, request: OpenRequest) -> None:
        """Its sender does not want it any more and nobody else knows of it."""
        self.inside.over(request.question)
        if self._link.questions.pop(request.question, None) is not None:
            self._link.effects.append(Withdraw(request.question))
        self._link.requests_of(side).close(request)

    def still_waiting(self, question: int) -> None:
        """Tell a client that asked for progress that a person has not answered yet.

        A question about what a server wants keeps every call waiting that this server was sent: one of them is it.
        """
        link = self._link
        side, identifier = link.questions.get(question, ("client", ""))
        asker = link.requests_of(side).get(identifier)
        waiting = link.from_client.at(Place.PEER) if side == "server" else [asker] if asker is not None else []
        for request in waiting:
            if request.token is not None:
                self._progress(request)

    def _progress(self, request: OpenRequest) -> None:
        link = self._link
        request.progress += 1
        link.turn = request.turn
        params = {
            "progressToken": request.token,
            "progress": request.progress * PROGRESS_STEP,
            "message": "Bulkhead waits for a person's answer: open bulkhead, or run bulkhead pending",
        }
        message = replies.notification("notifications/progress", params)
        link.send("client", message, Fact("notification", "broker", "notifications/progress", request=request.id))

    def _pass_on(self, side: Side, request: OpenRequest) -> None:
        """To the other side.  The judged object goes out itself; its record was just made.

        It is kept only where it may be tried again.
        """
        message, request.place = request.message, Place.PEER
        if not self._may_again(side, request):
            request.message = {}
        if side == "client":
            if request.call is not None:
                self._link.sight.went(request.call)
            self._link.forward("server", message)
        else:  # the words of a prompt or a form are read by the client's model or person
            words = request.call.arguments if request.call is not None else message.get("params")
            self._link.forward("client", message, Read(request.method, request.target, words) if words else None)

    def _record(self, side: Side, request: OpenRequest, decision: Decision) -> None:
        assert request.call is not None
        fact = Fact(
            "decision",
            side,
            request.method,
            request.target,
            request.id,
            decision,
            request.size,
            request.call.digest,
            body=request.message.get("params"),
            durable=decision.durable or decision.verdict is Verdict.DENY,
        )
        self._link.record(fact)

    def _gone_meanwhile(self, side: Side, request: OpenRequest) -> bool:
        """The catalog may have changed while it waited; then it is answered here."""
        if side == "server":
            return False
        params = request.message.get("params", {})
        objection = self.objection(request.method, request.target, request.id, params)
        if objection is not None:
            self._link.settle(side, request, objection)
        return objection is not None

    def _may_again(self, side: Side, request: OpenRequest) -> bool:
        """A call that a person was asked about, or that goes on with an earlier one, is made once."""
        link, call = self._link, request.call
        if side != "client" or call is None or request.method != "tools/call" or request.questions:
            return False
        assert link.agreed is not None
        repeatable = link.courtesy.may_again(call) and is_repeatable(link.agreed, request.target)
        return repeatable and "requestState" not in request.message["params"]

    def _room(self, side: Side, request: OpenRequest) -> bool:
        others = self._link.requests_of(side).at(Place.QUESTION, Place.PARKED, Place.RESTING, Place.RESULT)
        size = sum(each.size for each in others if each is not request)
        count = sum(each is not request for each in others)
        return not count or (count < MAX_WAITING and size + request.size <= MAX_WAITING_BYTES)

    def _drifted(self, method: str, request: replies.RequestId, what: str) -> JsonObject:
        server, era = self._link.names.server, self._link.era
        assert era is not None
        text = f"refused by Bulkhead (R1, drift): {server} {what} since you agreed; to allow: bulkhead review {server}"
        return replies.refusal(era, method, request, text)


def _answer(request: OpenRequest, call: Call, decision: Decision) -> Fact:
    return Fact("answer", "person", call.method, call.target, request.id, decision, 0, call.digest, durable=True)


def _same_question(asked: Decision | None, decision: Decision) -> bool:
    return asked is not None and (asked.rule, asked.evidence) == (decision.rule, decision.evidence)
