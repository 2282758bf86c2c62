"""What both directions of a conversation share: its parties, its open requests, and the effects being written.

Every message leaves through `send`, which writes the record in front of it, or through `forward`, for what the event at
hand has recorded already; there is no other way out.
"""

from collections.abc import Callable
from typing import Final

from broker.model import Call, Decision, Era, Fact, FactKind, JsonObject, Side, Verdict
from broker.protocol import replies
from broker.protocol.calls import Names
from broker.protocol.catalog import Catalog, Change, View, ViewKey
from broker.protocol.effects import Effect, End, Forward, Read, Record, Withdraw
from broker.protocol.envelope import Request
from broker.protocol.lifecycle import MOVES, Admission, Phase
from broker.protocol.replies import RequestId
from broker.protocol.requests import OpenRequest, OpenRequests, Place
from broker.protocol.sight import CLEAR, Sight
from broker.protocol.states import RequestStates
from broker.protocol.subscriptions import Subscriptions

MAX_OPEN: Final = 256  # requests one side may have open; agents were seen to make a dozen calls at once
MAX_FAULTS: Final[dict[Side, int]] = {
    "client": 1024,  # a confused client hurts nobody; the audit log need not hold more of it
    "server": 16,  # a server that breaks the rules on purpose needs few tries; races are not counted
}
MAX_CHATTER: Final = 256  # short lines that are no messages: careless servers print their greetings to standard output
MAX_UNASKED: Final = 128 * 1024 * 1024  # bytes from a server between two requests of its client; all are recorded
RECEIPT: Final = 512  # bytes that a receipt takes beside the message it is about
CHATTER: Final = 64 * 1024  # bytes; a longer line is no greeting


class Link:
    """The state of one conversation and the effects of the event at hand."""

    def __init__(
        self,
        names: Names,
        catalog: Catalog,
        judge: Callable[[Call], Decision],
        admitted: bool,
        sight: Sight = CLEAR,
    ) -> None:
        self.names = names
        self.catalog = catalog
        self.judge = judge
        self.sight = sight
        self.courtesy = sight.courtesy
        self.admission = Admission.ADMITTED if admitted else Admission.UNDECIDED
        self.phase = Phase.ABSENT
        self.effects: list[Effect] = []
        self.ended = False

        self.era: Era | None = None
        self.bridged = False
        self.extended = False
        """Both sides declared an extension whose methods are not in the table."""

        self.opening: Request | None = None
        self.initialized: JsonObject | None = None
        self.key: ViewKey = "legacy/full"
        self.agreed: View | None = None
        self.sibling: View | None = None
        self.shown: View | None = None
        self.live: View | None = None
        self.held: dict[tuple[str, str], Change] = {}
        self.wrong_version = False

        self.from_client = OpenRequests(MAX_OPEN)
        self.from_server = OpenRequests(MAX_OPEN)
        self.subscriptions = Subscriptions()
        self.states = RequestStates()
        self.questions: dict[int, tuple[Side, RequestId]] = {}
        self._faults: dict[Side, int] = {"client": 0, "server": 0}
        self._chatter = 0
        self._unasked = 0
        self._turns = 0
        self.turn = 0
        """Of the request that is being dealt with; 0 between requests."""

    def take_effects(self) -> list[Effect]:
        taken, self.effects = self.effects, []
        return taken

    def requests_of(self, side: Side) -> OpenRequests:
        return self.from_client if side == "client" else self.from_server

    def move(self, phase: Phase) -> None:
        """Only along the table; anything else is a mistake of ours and ends the link by raising."""
        if phase not in MOVES[self.phase]:
            raise AssertionError(f"a server cannot go from {self.phase.value} to {phase.value}")
        self.phase = phase

    def is_held(self, method: str, target: str) -> bool:
        """Whether this is new or changed since a person agreed to what the server shows (R1)."""
        what = {"tools/call": "tool", "prompts/get": "prompt"}.get(method, "")
        return self.wrong_version or (what, target) in self.held

    # --- records and messages ---

    def next_turn(self) -> int:
        """A request came: what is recorded from now on is about it."""
        self._turns += 1
        self.turn = self._turns
        return self.turn

    def record(self, fact: Fact) -> None:
        self.effects.append(Record(fact, self.turn))

    def send(self, to: Side, message: JsonObject, fact: Fact, read: Read | None = None) -> None:
        """Record, count as read if it is, and only then send."""
        self.record(fact)
        self.forward(to, message, read)

    def forward(self, to: Side, message: JsonObject, read: Read | None = None) -> None:
        """Send what this event has recorded before."""
        if read is not None:
            self.effects.append(read)
        self.effects.append(Forward(to, message))

    def heard(
        self,
        side: Side,
        request: Request,
        target: str,
        size: int,
        kind: FactKind = "request",
        decision: Decision | None = None,
    ) -> None:
        """Record a request before anything is done about it; `decision` when it is refused without being judged."""
        self.record(Fact(kind, side, request.method, target, request.id, decision, size, body=request.params))

    def reply(self, request: Request, message: JsonObject, *, body: JsonObject | None = None) -> None:
        """Answer the client at once.  `body` is what the record keeps; by default the whole answer."""
        kept = _outcome(message) if body is None else body
        self.send("client", message, Fact("result", "broker", request.method, request=request.id, body=kept))

    def reject(self, request: Request, size: int, code: int, text: str) -> None:
        """Tell the client that this request cannot be."""
        self.heard("client", request, request.method, size, decision=Decision(Verdict.DENY, "protocol", text))
        self.reply(request, replies.error(request.id, code, text))

    def settle(self, side: Side, request: OpenRequest, message: JsonObject) -> None:
        """Answer an open request in our own words and close it."""
        self.requests_of(side).close(request)
        self.turn = request.turn
        fact = Fact(
            "result",
            "broker",
            request.method,
            request.target,
            request.id,
            digest=request.call.digest if request.call else "",
            body=_outcome(message),
            durable=request.durable,
        )
        self.send(side, message, fact)

    def refuse(self, side: Side, request: OpenRequest, text: str) -> None:
        """No, in the form its asker's model gets to see."""
        assert self.era is not None
        self.settle(side, request, replies.refusal(self.era, request.method, request.id, text))

    # --- faults and ends ---

    def fault(self, who: Side, what: str, reply: JsonObject | None = None, size: int = 0) -> None:
        """A rule of the wire was broken: record it, tell the sender if there is an answer, and count."""
        self._faults[who] += 1
        self._violation(who, what, reply, size)
        if self._faults[who] >= MAX_FAULTS[who]:
            self.end(f"the {who} broke the rules of the wire {self._faults[who]} times, at last: {what}", who)

    def garbled(self, who: Side, what: str, reply: JsonObject, size: int) -> None:
        """A line that is no message: answered to a client; from a server, a little chatter is put up with."""
        if who == "client" or size > CHATTER:
            self.fault(who, what, reply if who == "client" else None, size)
            return
        self._chatter += 1
        self._violation(who, what, None, size)
        if self._chatter >= MAX_CHATTER:
            self.end(f"the server wrote {self._chatter} lines that are no messages", who)

    def unasked(self, size: int) -> None:
        """A server said something nobody asked for: a flood of it would fill the disk that holds the receipts."""
        self._unasked += size + RECEIPT
        if self._unasked > MAX_UNASKED:
            self.end(f"the server said more than {MAX_UNASKED >> 20} MiB that nobody asked for", "server")

    def asked(self) -> None:
        """The client wants something of the server, which may talk about it."""
        self._unasked = 0

    def fail_open(self, text: str, *places: Place) -> None:
        """Answer the client's requests in these places: nothing will come of them."""
        for request in self.from_client.at(*places):
            if request.question in self.questions:
                del self.questions[request.question]
                self.effects.append(Withdraw(request.question))
            self.settle("client", request, replies.error(request.id, replies.UNAVAILABLE, text))

    def end(self, reason: str, blame: str = "") -> None:
        """Close the link.  Whoever still waits is told first."""
        if self.ended:
            return
        waiting = (place for place in Place if place is not Place.LISTENING)
        self.fail_open(f"Bulkhead closed the link: {reason}", *waiting)
        self.effects.append(End(reason, blame))
        self.ended = True

    def _violation(self, who: Side, what: str, reply: JsonObject | None, size: int) -> None:
        fact = Fact("violation", who, size=size, body={"what": what})
        if reply is None:
            self.record(fact)
        else:
            self.send(who, reply, fact)


def _outcome(message: JsonObject) -> JsonObject:
    return {name: message[name] for name in ("result", "error") if name in message}
