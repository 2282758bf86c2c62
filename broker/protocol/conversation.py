"""One conversation between one client and one server: events go in, effects come out.

The order of the effects is the order in which the relay performs them, so "recorded before forwarded" is something a
test reads off a list.  Nothing here blocks, reads a clock or touches the world.
"""

from collections.abc import Callable
from typing import assert_never

from broker.errors import ProtocolError
from broker.model import Call, ClientName, Decision, Era, ServerName, SessionId, Side
from broker.protocol import replies
from broker.protocol.calls import Names
from broker.protocol.catalog import Catalog
from broker.protocol.client_side import ClientSide
from broker.protocol.dispatch import MAX_WAITING, MAX_WAITING_BYTES, Dispatcher
from broker.protocol.effects import Effect, End
from broker.protocol.envelope import Request, read
from broker.protocol.events import (
    AdmissionDelayed,
    Admitted,
    Answered,
    Closing,
    DriftAccepted,
    Due,
    Event,
    FromClient,
    FromServer,
    Garbled,
    NotStarted,
    OffersChanged,
    Overdue,
    ServerGone,
    Started,
    Tick,
)
from broker.protocol.frames import encode
from broker.protocol.instance import Instance
from broker.protocol.lifecycle import ANSWERS, Admission, Phase
from broker.protocol.link import Link
from broker.protocol.replies import RequestId
from broker.protocol.requests import Place
from broker.protocol.server_side import ServerSide
from broker.protocol.sight import CLEAR, Sight
from broker.protocol.versions import BATCH_VERSION, negotiated


class Conversation:
    """Decides what happens to each message of one link."""

    def __init__(
        self,
        client: ClientName,
        server: ServerName,
        session: SessionId,
        catalog: Catalog,
        judge: Callable[[Call], Decision],
        admitted: bool,
        sight: Sight = CLEAR,
    ) -> None:
        self._link = Link(Names(client, server, session), catalog, judge, admitted, sight)
        self._dispatcher = Dispatcher(self._link)
        self._instance = Instance(self._link, self._dispatcher)
        self._client = ClientSide(self._link, self._dispatcher, self._instance)
        self._server = ServerSide(self._link, self._dispatcher, self._instance)
        self._waiting: list[FromClient] = []
        self._waiting_ids: set[RequestId] = set()

    def receive(self, event: Event) -> list[Effect]:
        """What to do about `event`, in order.  After `End` nothing is done any more."""
        self._link.turn = 0
        if not self._link.ended:
            self._happen(event)
        return _until_end(self._link.take_effects())

    def still_waiting(self, question: int) -> list[Effect]:
        """Progress for the client whose call waits for `question`, if it asked for progress.  Call it now and then."""
        self._link.turn = 0
        if not self._link.ended:
            self._dispatcher.still_waiting(question)
        return _until_end(self._link.take_effects())

    def next_turn(self) -> int:
        """For a request that is answered in front of this conversation."""
        return self._link.next_turn()

    def bridged(self) -> None:
        """Its client speaks the other era and is translated: it may ask what there is to discover at any time."""
        self._link.bridged = True

    @property
    def era(self) -> Era | None:
        """The protocol era the client opened in; None before."""
        return self._link.era

    def batches(self, _side: Side) -> bool:
        """Whether this side speaks the one revision that has batches, as then both do."""
        link = self._link
        if link.era != "legacy" or link.opening is None or link.agreed is None or link.agreed.opening is None:
            return False
        told = negotiated(link.opening.params.get("protocolVersion"), link.agreed.opening["protocolVersion"])
        return told == BATCH_VERSION

    @property
    def starting(self) -> bool:
        """The server owes us its opening or its lists, and calls wait for them.

        True from `Started` until the live catalog was compared, and again while changed lists are read; the relay
        bounds this wait (then `ServerGone`).
        """
        return self._link.phase in (Phase.OPENING, Phase.COMPARING)

    @property
    def quiet(self) -> bool:
        """Nobody waits for anything and nothing is followed: the server could end, and nobody would notice."""
        link = self._link
        places = [place for place in Place if place is not Place.LISTENING]
        wants = link.subscriptions
        followed = bool(wants.resources) or any(each.uris for each in wants.listeners.values())
        open_requests = bool(link.from_client.at(*places)) or bool(link.from_server.at(*Place))
        return link.phase is Phase.READY and not (self._waiting or open_requests or followed)

    @property
    def awaiting(self) -> bool:
        """The client waits for an answer: of a person, of the server, or to its first messages."""
        places = [place for place in Place if place is not Place.LISTENING]
        return bool(self._waiting) or bool(self._link.from_client.at(*places))

    def _happen(self, event: Event) -> None:
        match event:
            case FromClient():
                self._from_client(event)
            case FromServer(message, size):
                self._server.receive(message, size or len(encode(message)))
            case Garbled("server", what, _, size, overlong=True):
                self._server.unheard(what, size)
            case Garbled("client", what, _, size, overlong=True):
                text = f"{what}; for more: bulkhead limits {self._link.names.server} --message-size SIZE"
                self._link.garbled("client", text, replies.error(None, replies.INVALID_REQUEST, text), size)
            case Garbled(who, what, reply, size):
                self._link.garbled(who, what, reply, size)
            case Answered(question, decision):
                answered = self._dispatcher.answered(question, decision)
                if answered is not None:
                    self._server.allowed(answered)
            case Admitted(allowed):
                self._admit(Admission.ADMITTED if allowed else Admission.REFUSED)
            case AdmissionDelayed():
                if self._link.admission is Admission.UNDECIDED:
                    self._admit(Admission.DELAYED)
            case Started():
                self._started()
            case NotStarted(reason) | ServerGone(reason):
                self._instance.gone(reason)
            case Overdue(turn, seconds):
                self._server.overdue(turn, seconds)
            case Due(turn):
                self._dispatcher.again(turn)
            case Closing(reason):
                self._close(reason)
            case DriftAccepted(live):
                self._instance.accepted(live)
            case OffersChanged():
                if self._link.admission is Admission.ADMITTED and self._link.era is not None:
                    self._instance.announce(["tools", "prompts", "resources"])
            case Tick():
                pass  # nothing in here waits for time to pass
            case _:
                assert_never(event)

    def _from_client(self, event: FromClient) -> None:
        sized = FromClient(event.message, event.size or len(encode(event.message)))
        if self._link.admission is Admission.UNDECIDED and not self._at_once(sized):
            self._waiting.append(sized)
        elif self._link.admission is not Admission.UNDECIDED:
            self._client.receive(sized.message, sized.size)

    def _at_once(self, event: FromClient) -> bool:
        """Before anybody decided, everything waits in its order but what grants nothing; true when it was handled."""
        try:
            envelope = read("client", event.message)
        except ProtocolError as problem:
            self._client.malformed(event.message, str(problem), event.size)
            return True
        if isinstance(envelope, Request) and envelope.id in self._waiting_ids:
            self._client.taken(event.size)
            return True
        if isinstance(envelope, Request) and envelope.method == "ping":
            self._client.receive(event.message, event.size)
            return True
        held = sum(each.size for each in self._waiting)
        if len(self._waiting) < MAX_WAITING and held + event.size <= MAX_WAITING_BYTES:
            if isinstance(envelope, Request):
                self._waiting_ids.add(envelope.id)
            return False
        text = "refused by Bulkhead (bounds): too much waits for a person to admit this client"
        if isinstance(envelope, Request):
            self._link.next_turn()
            self._link.heard("client", envelope, envelope.method, event.size)
            self._link.reply(envelope, replies.error(envelope.id, replies.BUSY, text))
        else:
            self._link.fault("client", text, size=event.size)
        return True

    def _admit(self, answer: Admission) -> None:
        link = self._link
        before = link.admission
        if answer is before:
            return
        if answer not in ANSWERS[before]:
            link.end(f"{link.names.client} may not use {link.names.server} any more")
            return
        link.admission = answer
        waiting, self._waiting = self._waiting, []
        self._waiting_ids.clear()
        for event in waiting:
            link.turn = 0
            if not link.ended:
                self._client.receive(event.message, event.size)
        link.turn = 0
        if before is not Admission.UNDECIDED and answer is Admission.ADMITTED:
            self._instance.announce(["tools", "prompts", "resources"])

    def _close(self, reason: str) -> None:
        """What waits for a person's admission is answered, too."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            request = read("client", event.message)
            if isinstance(request, Request):
                self._link.next_turn()
                self._link.reject(request, event.size, replies.UNAVAILABLE, f"Bulkhead closed the link: {reason}")
        self._link.end(reason)

    def _started(self) -> None:
        if self._link.phase is not Phase.LAUNCHING:
            self._link.end("an instance was started that nobody asked for")
            return
        self._instance.started()


def _until_end(effects: list[Effect]) -> list[Effect]:
    for index, effect in enumerate(effects):
        if isinstance(effect, End):
            return effects[: index + 1]
    return effects
