"""A client of one era in conversation with a server that speaks only the other.

The conversation itself goes on in the server's era, so that everything said is judged, recorded and held against the
agreed catalog as it would be without a bridge; only the client's own words are translated, on its side of all that.
Which eras a server speaks is what its pin says: no server that serves is ever asked.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from broker.errors import ProtocolError
from broker.model import Decision, Era, Fact, JsonObject, ServerName, Side, Verdict
from broker.protocol import replies
from broker.protocol.bridge_legacy import LegacyClient
from broker.protocol.bridge_modern import ModernClient
from broker.protocol.catalog import Catalog
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Effect, Forward, Record
from broker.protocol.envelope import Notification, Request, Response, read
from broker.protocol.eras import speaks
from broker.protocol.events import Event, FromClient, Garbled, Tick
from broker.protocol.opening import era_of


class Crossing(Protocol):
    """One direction of translation."""

    @property
    def awaiting(self) -> bool: ...
    @property
    def resting(self) -> bool: ...
    def request(self, request: Request, size: int) -> None: ...
    def notification(self, found: Notification, size: int) -> None: ...
    def response(self, response: Response, size: int) -> None: ...
    def tick(self) -> None: ...
    def to_client(self, message: JsonObject) -> None: ...


class Bridge:
    """A conversation, and a crossing in front of it where its client needs one.

    `token` makes an unguessable text: what a call that waits for its client's input is known by.  `clock` says the time
    as a task does.
    """

    def __init__(
        self,
        conversation: Conversation,
        server: ServerName,
        catalog: Catalog,
        token: Callable[[], str],
        clock: Callable[[], str],
    ) -> None:
        self._conversation = conversation
        self._server = server
        self._catalog = catalog
        self._token = token
        self._clock = clock
        self._crossing: Crossing | None = None
        legacy, modern = speaks(catalog, "legacy"), speaks(catalog, "modern")
        self._only: Era | None = None if legacy == modern else "legacy" if legacy else "modern"
        self._events: deque[Event] = deque()
        self._effects: list[Effect] = []
        self._turn = 0

    def receive(self, event: Event) -> list[Effect]:
        """What to do about `event`, in order, as a conversation says it."""
        self._turn = 0
        if isinstance(event, FromClient) and self._crosses(event):
            self._cross(event)
        elif isinstance(event, Tick) and self._crossing is not None:
            self._crossing.tick()
        else:
            self._events.append(event)
        return self._carried()

    def still_waiting(self, question: int) -> list[Effect]:
        self._carry(self._conversation.still_waiting(question))
        return self._carried()

    @property
    def era(self) -> Era | None:
        """The era the client speaks, once it is known."""
        if self._crossing is None:
            return self._conversation.era
        return "legacy" if self._only == "modern" else "modern"

    def batches(self, side: Side) -> bool:
        """A client whose words are translated has none."""
        return (side == "server" or self._crossing is None) and self._conversation.batches(side)

    @property
    def starting(self) -> bool:
        return self._conversation.starting

    @property
    def quiet(self) -> bool:
        """Nobody would notice if the server ended."""
        return self._conversation.quiet and not (self.awaiting or self.resting)

    @property
    def awaiting(self) -> bool:
        """A call that waits for its client's input is nothing the client waits for."""
        return self.resting or (self._conversation.awaiting and (self._crossing is None or self._crossing.awaiting))

    @property
    def resting(self) -> bool:
        """Something here waits for time to pass: then it wants a `Tick` now and then."""
        return self._crossing is not None and self._crossing.resting

    # --- what a crossing does ---

    def tell(self, message: JsonObject, size: int = 0) -> None:
        """Say this to the conversation, as its client; after everything that is under way."""
        self._events.append(FromClient(message, size))

    def fault(self, what: str, size: int) -> None:
        """The client broke a rule: recorded, counted, and answered under no id, which could be that of another call."""
        self._events.append(Garbled("client", what, replies.error(None, replies.INVALID_REQUEST, what), size))

    def record(self, fact: Fact) -> None:
        if fact.kind == "request" and fact.side == "client":
            self._turn = self._conversation.next_turn()
        self._effects.append(Record(fact, self._turn))

    def say(self, message: JsonObject, fact: Fact | None = None) -> None:
        """To the client.  `fact` records what is ours; the conversation has recorded what it said itself."""
        if fact is not None:
            self.record(fact)
        self._effects.append(Forward("client", message))

    def answer(self, request: Request, size: int, body: JsonObject) -> None:
        """A result of ours, at once."""
        self.record(Fact("request", "client", request.method, request.method, request.id, size=size))
        fact = Fact("result", "broker", request.method, request.method, request.id, body={"result": body})
        self.say(replies.result(request.id, body), fact)

    def reject(self, request: Request, size: int, code: int, text: str, data: JsonObject | None = None) -> None:
        """An error of ours, at once: the request goes no further."""
        method = request.method[: replies.MAX_QUOTED]
        decision = Decision(Verdict.DENY, "protocol", text)
        self.record(Fact("request", "client", method, method, request.id, decision, size, body=request.params))
        answer = replies.error(request.id, code, text, data)
        self.say(answer, Fact("result", "broker", method, request=request.id, body={"error": answer["error"]}))

    # --- inside ---

    def _crosses(self, event: FromClient) -> bool:
        if self._crossing is not None:
            return True
        if self._only is None or self._conversation.era is not None:
            return False
        try:
            envelope = read("client", event.message)
        except ProtocolError:
            return False
        if not isinstance(envelope, Request):
            return False
        era = era_of(envelope)
        if era == "legacy" and self._only == "modern":
            self._crossing = LegacyClient(self, self._server, self._token, self._clock)
        elif era == "modern" and self._only == "legacy" and envelope.method != "server/discover":
            # Discovering is a question, not a choice: the client may go on in the server's own era.
            self._conversation.bridged()
            self._crossing = ModernClient(self, self._catalog, self._token)
        return self._crossing is not None

    def _cross(self, event: FromClient) -> None:
        assert self._crossing is not None
        try:
            envelope = read("client", event.message)
        except ProtocolError as problem:
            self.fault(str(problem), event.size)
            return
        match envelope:
            case Request():
                self._crossing.request(envelope, event.size)
            case Notification():
                self._crossing.notification(envelope, event.size)
            case Response():
                self._crossing.response(envelope, event.size)

    def _carried(self) -> list[Effect]:
        """Let the conversation hear everything that is to be said to it; what it wants done meanwhile, in order."""
        while self._events:
            self._carry(self._conversation.receive(self._events.popleft()))
        effects, self._effects = self._effects, []
        return effects

    def _carry(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Record):
                self._turn = effect.turn
            if self._crossing is not None and isinstance(effect, Forward) and effect.to == "client":
                self._crossing.to_client(effect.message)
            else:
                self._effects.append(effect)
