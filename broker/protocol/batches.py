"""Batches of the one revision that has them: each message is its own, and the answers go back together.

Everything in a batch is judged and recorded by itself; only the sending of answers waits for the last of them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from broker.model import Era, JsonObject, Side
from broker.protocol import replies
from broker.protocol.bridge import Bridge
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Effect, Forward, ForwardBatch
from broker.protocol.events import Batch, Event, FromClient, FromServer, Garbled, ServerGone
from broker.protocol.frames import encode, is_request_id
from broker.protocol.replies import RequestId

MAX_OPEN: Final = 16  # batches one side may have open
MAX_HELD: Final = 4 * 1024 * 1024  # bytes of answers kept for the last one; then they go as they are, like one message


@dataclass(slots=True)
class _Open:
    """One batch: the requests nobody has answered, and the answers to the others."""

    waits: set[RequestId]
    answers: list[JsonObject] = field(default_factory=list)
    size: int = 0


class Batches:
    """A conversation whose peers may speak in batches, if their revision lets them."""

    def __init__(self, conversation: Conversation | Bridge) -> None:
        self._conversation = conversation
        self._open: dict[Side, deque[_Open]] = {"client": deque(), "server": deque()}

    def receive(self, event: Event | Batch) -> list[Effect]:
        if isinstance(event, Batch):
            return self._batch(event)
        effects = self._gather(self._conversation.receive(event))
        if isinstance(event, FromClient | FromServer):
            effects += self._cancelled("client" if isinstance(event, FromClient) else "server", event.message)
        elif isinstance(event, ServerGone):
            self._open["server"].clear()
        return effects

    def still_waiting(self, question: int) -> list[Effect]:
        return self._conversation.still_waiting(question)

    @property
    def era(self) -> Era | None:
        return self._conversation.era

    @property
    def starting(self) -> bool:
        return self._conversation.starting

    @property
    def quiet(self) -> bool:
        return self._conversation.quiet

    @property
    def awaiting(self) -> bool:
        return self._conversation.awaiting

    def _batch(self, event: Batch) -> list[Effect]:
        side = event.who
        what = ""
        if not self._conversation.batches(side):
            what = f"{side} sent a batch, which only revision 2025-03-26 of the protocol has"
        elif len(self._open[side]) >= MAX_OPEN:
            what = f"{side} sent a batch while {MAX_OPEN} of its batches were not answered"
        if what:
            reply = replies.error(None, replies.INVALID_REQUEST, what)
            return self._conversation.receive(Garbled(side, what, reply, event.size))
        asked = {each["id"] for each in event.messages if "method" in each and is_request_id(each.get("id"))}
        if asked:
            self._open[side].append(_Open(asked))
        said: Callable[[JsonObject, int], Event] = FromClient if side == "client" else FromServer
        effects: list[Effect] = []
        for message in event.messages:
            effects += self.receive(said(message, len(encode(message))))
        return effects

    def _gather(self, effects: list[Effect]) -> list[Effect]:
        """Keep answers to what stood in a batch until the last of it is answered."""
        gathered: list[Effect] = []
        for effect in effects:
            batch = self._of(effect) if isinstance(effect, Forward) else None
            if batch is None or not isinstance(effect, Forward):
                gathered.append(effect)
                continue
            batch.waits.discard(effect.message["id"])
            batch.answers.append(effect.message)
            batch.size += len(encode(effect.message))
            gathered += self._flushed(effect.to, batch)
        return gathered

    def _of(self, effect: Forward) -> _Open | None:
        """The batch a message answers a part of."""
        message = effect.message
        if "method" in message or message.get("id") is None:
            return None
        return next((batch for batch in self._open[effect.to] if message["id"] in batch.waits), None)

    def _flushed(self, to: Side, batch: _Open) -> list[Effect]:
        if batch.waits and batch.size <= MAX_HELD:
            return []
        if not batch.waits:
            self._open[to].remove(batch)
        answers, batch.answers, batch.size = tuple(batch.answers), [], 0
        return [ForwardBatch(to, answers)] if answers else []

    def _cancelled(self, side: Side, message: JsonObject) -> list[Effect]:
        """What its sender has cancelled is answered by nobody."""
        params = message.get("params")
        if message.get("method") != "notifications/cancelled" or not isinstance(params, dict):
            return []
        cancelled = params.get("requestId")
        for batch in self._open[side]:
            if is_request_id(cancelled) and cancelled in batch.waits:
                batch.waits.discard(cancelled)
                return self._flushed(side, batch)
        return []
