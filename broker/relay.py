"""Carry one link: feed the conversation, perform its effects, in order.

One event at a time: the effects of two events never mix.  Whatever fails here ends this link, on both sides, with the
reason recorded; other links go on.  Nothing that failed lets anything through.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, assert_never

from broker.config import Waits
from broker.edges import Edges, Ending
from broker.endpoints.stdio import LineEndpoint
from broker.errands import Errands
from broker.errors import BulkheadError, ProtocolError
from broker.farewell import say_goodbye
from broker.hosted import Hosted
from broker.inbox import Inbox
from broker.model import Call, Decision, Fact, JsonObject, Side, Verdict
from broker.outbox import Outbox
from broker.protocol.batches import Batches
from broker.protocol.bridge import Bridge
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Ask, Drift, Effect, End, Forward, ForwardBatch, Launch, Read, Record, Withdraw
from broker.protocol.events import Answered, Event, FromClient, FromServer, NotStarted, ServerGone, Started
from broker.protocol.frames import MAX_FRAME, Frame, FrameDecoder

MAX_UNREAD: Final = 32 * 1024 * 1024  # beside one largest message; who is so far behind does not read
AT_ONCE: Final = 4  # events in one turn of the loop, about a millisecond; then the other links have theirs
PROGRESS_SECONDS: Final = 5.0  # clients reset their own time-out on progress, the shortest seen being 10

_log = logging.getLogger(__name__)


class Relay:
    """One client, one server, one conversation.  Nothing here is shared with another relay."""

    def __init__(
        self,
        conversation: Conversation | Bridge,
        client: tuple[int, int],
        edges: Edges,
        waits: Waits,
        most: int = MAX_FRAME,
    ) -> None:
        """`most` is the size of the largest message, either way."""
        self._conversation = Batches(conversation)
        self._edges = edges
        self._waits = waits
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._outbox = Outbox(edges.commit, MAX_UNREAD + most, self._behind)
        self._busy = False
        self._goes_on = False
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._errands = Errands(self._break)
        self._questions: dict[int, tuple[Call, asyncio.Task[None]]] = {}
        self._decoder = FrameDecoder("client", most, batches=True)
        self._client_gone = False
        self._last_lines = asyncio.Event()
        self.calls = 0
        self._client = LineEndpoint(
            *client,
            on_bytes=lambda data: self._arrived("client", self._decoder.feed(data)),
            on_closed=self._client_closed,
            on_drained=self._client_drained,
        )
        self._server = Hosted(
            edges.launch,
            waits,
            most,
            on_frames=partial(self._arrived, "server"),
            on_gone=self._server_gone,
            on_drained=self._regulate,
            on_failure=self._break,
            on_words=self._complained,
        )

    # --- what the owner does ---

    async def run(self) -> Ending:
        """Relay until either side ends it.  On return both sides are closed and the server's tree is gone."""
        self._client.start()
        try:
            return await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            self.end("bulkhead is stopping")
            raise
        finally:
            await self._close(self._ending.result())

    def feed(self, event: Event) -> None:
        """Something happened to the conversation from outside: an admission, an accepted drift."""
        self._inbox.put(event)
        self._drain()

    @property
    def queued(self) -> int:
        """Bytes that neither side has taken yet."""
        return sum(end.waiting for end in (self._client, self._server.endpoint) if end is not None)

    def end(self, reason: str, blame: str = "") -> None:
        """End the link now."""
        if not self._ending.done():
            self._ending.set_result(Ending(reason, blame))

    def tick(self, now: float) -> None:
        """Called about once a second: bounded waits that need no timer of their own."""
        for side, endpoint in (("client", self._client), ("server", self._server.endpoint)):
            since = endpoint.stuck_since if endpoint is not None else None
            if since is not None and now - since > self._waits.send:
                self.end(f"the {side} did not read for {self._waits.send:.0f} s", side)
        if self._server.tick(now, self._conversation.starting):
            self._changed()
        self._leave()

    @property
    def needed(self) -> bool:
        """Whether anybody would notice if the server ended now."""
        return bool(self._inbox) or self._busy or not self._conversation.quiet

    # --- events in ---

    def _arrived(self, side: Side, frames: list[Frame]) -> None:
        if self._ending.done():
            return
        self._inbox.arrived(side, frames)
        self._drain()

    def _drain(self) -> None:
        if self._goes_on:
            return  # in the next turn
        self._guarded(self._work)
        self._deliver()
        if self._inbox and not self._busy and not self._ending.done():
            self._goes_on = True
            self._loop.call_soon(self._go_on)
        self._regulate()
        self._leave()

    def _go_on(self) -> None:
        self._goes_on = False
        self._drain()

    def _work(self) -> None:
        """Deal with what arrived, event by event, until one has to wait for the disk or it is the others' turn."""
        for _ in range(AT_ONCE):
            if not self._inbox or self._busy or self._ending.done():
                return
            event = self._inbox.take()
            if isinstance(event, FromClient | FromServer):
                self._outbox.hear(event.message, event.line)
            rest = self._perform(self._conversation.receive(event))
            if rest:
                self._busy = True
                self._errands.start(self._finish(rest))

    def _deliver(self) -> None:
        """Let out what was said, behind its receipts."""
        self._guarded(self._outbox.send)

    def _behind(self, endpoint: LineEndpoint) -> None:
        side = "client" if endpoint is self._client else "server"
        self.end(f"the {side} does not read what it is sent", side)

    def _regulate(self) -> None:
        """Listen to each side only while there is room for what it says: the one place that pauses and resumes."""
        if self._ending.done():
            return
        room = self._inbox.has_room
        client, server = self._client, self._server.endpoint
        for endpoint, other in ((client, server), (server, client)):
            if endpoint is not None:
                if room and not (other is not None and other.congested):
                    endpoint.resume_reading()
                else:
                    endpoint.pause_reading()

    async def _finish(self, rest: list[Effect]) -> None:
        """Perform what stands behind a durable record, once that is on the disk."""
        try:
            while rest:
                first = rest[0]
                if isinstance(first, Record):
                    await self._edges.record_durably(first.fact, first.turn)
                if self._ending.done():
                    return
                rest = self._perform(rest[1:])
                self._deliver()
        except Exception as problem:  # noqa: BLE001 - as above
            self._break(problem)
            return
        finally:
            self._busy = False
        self._drain()

    def _perform(self, effects: list[Effect]) -> list[Effect]:
        """Perform effects in order; returns those left over, the first of which must reach the disk first."""
        for index, effect in enumerate(effects):
            match effect:
                case Record(fact, turn):
                    if fact.durable:
                        return effects[index:]
                    self._edges.record(fact, turn)
                case Forward(to, message):
                    self._forward(to, message if to == "client" else self._edges.outgoing(message))
                case ForwardBatch(to, messages):
                    self._forward(to, messages)
                case Read():
                    self._edges.read(effect)
                case Ask(question, call, decision):
                    self._questions[question] = call, self._errands.start(self._ask(question, call, decision))
                case Withdraw(question, answered):
                    asked = self._questions.pop(question, None)
                    if asked is not None:
                        self._withdraw(*asked, answered)
                case Launch():
                    self._errands.start(self._launch())
                case Drift(changes, live):
                    self._edges.drifted(changes, live)
                case End(reason, blame):
                    self.end(reason, blame)
                    return []
                case _:
                    assert_never(effect)
        return []

    def _forward(self, to: Side, said: JsonObject | tuple[JsonObject, ...]) -> None:
        endpoint = self._client if to == "client" else self._server.endpoint
        if endpoint is None:
            if self._inbox.holds(ServerGone):
                return  # it ended while this waited for the disk; that event answers whoever waits
            raise ProtocolError("the broker", "had a message for a server that does not run")
        self.calls += to == "server"
        self._outbox.put(endpoint, said)

    async def _ask(self, question: int, call: Call, decision: Decision) -> None:
        waiting = asyncio.ensure_future(self._edges.ask(call, decision))
        try:
            while not (await asyncio.wait({waiting}, timeout=PROGRESS_SECONDS))[0]:
                if not self._busy and not self._ending.done():
                    self._perform(self._conversation.still_waiting(question))
                    self._deliver()
            answer = waiting.result()
        except BulkheadError as problem:
            answer = Decision(Verdict.DENY, "no answer", str(problem))
        finally:
            self._questions.pop(question, None)
            waiting.cancel()
            await asyncio.wait({waiting})
        self.feed(Answered(question, answer))

    def _withdraw(self, call: Call, task: asyncio.Task[None], answered: bool) -> None:
        """A client that gave up may call again: then the answer that comes meanwhile counts.  A server may not."""
        if call.origin == "client" and not answered:
            self._edges.gave_up(call)
        else:
            task.cancel()

    async def _launch(self) -> None:
        self._changed()
        try:
            await self._server.launch()
        except BulkheadError as problem:
            hint = f"; try: {problem.hint}" if problem.hint else ""
            self.feed(NotStarted(f"{problem}{hint}"))
            self._changed()
            return
        if self._ending.done():
            return
        self._server.connect()
        self.feed(Started())
        self._changed()

    def restart_server(self, reason: str) -> None:
        """Let the server go: the next message starts it anew.  Whoever waits for an answer is told why."""
        self._server.gone(reason)

    def _server_gone(self, reason: str) -> None:
        self.feed(ServerGone(reason))
        self._changed()

    def _complained(self, text: str, lost: int) -> None:
        """The server wrote on its standard error: on record, with the requests that are under way."""
        fact = Fact("stderr", "server", size=len(text), body={"text": text, "lost": lost})
        self._guarded(lambda: self._edges.record(fact, 0))
        self._deliver()

    def _client_closed(self) -> None:
        self._client_gone = True
        self._leave()

    def _leave(self) -> None:
        """End the link of a client that said its last, once it has what it waited for or can take nothing any more.

        What it waits for has deadlines of its own.  `tick` notices a client that died: then there is nobody.
        """
        if self._client_gone:
            waits = self._conversation.awaiting or self._client.waiting or self._inbox or self._busy
            if self._client.deserted or not waits:
                self.end("the client closed the link", "client")

    def _client_drained(self) -> None:
        if self._ending.done():
            self._last_lines.set()
        self._regulate()
        self._leave()

    def _changed(self) -> None:
        self._guarded(self._edges.changed)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - the top of this conversation: it closes, it never carries on
            self._break(problem)

    def _break(self, problem: BaseException) -> None:
        """Something of ours failed: close, and say what, without the message that caused it."""
        if not isinstance(problem, BulkheadError):
            _log.exception("a link failed", exc_info=problem)
        blame = problem.who if isinstance(problem, ProtocolError) else ""
        reason = str(problem) if isinstance(problem, BulkheadError) else f"inside the daemon: {type(problem).__name__}"
        self.end(reason, blame)

    async def _say_goodbye(self, reason: str) -> None:
        try:
            await say_goodbye(self._conversation, self._edges, self._outbox, self._client, reason)
        except Exception as problem:  # noqa: BLE001 - the link is closed already; nothing more is said on it
            self._break(problem)

    async def _close(self, ending: Ending) -> None:
        """Ordered and bounded: stop listening, let the client take its last lines, stop the server's tree."""
        self._client.pause_reading()
        try:
            await self._errands.stop()
            if ending.blame != "client":
                await self._say_goodbye(ending.reason)
            if self._client.waiting and ending.blame != "client":
                async with asyncio.timeout(self._waits.stop_stdin):
                    await self._last_lines.wait()
        except TimeoutError:
            pass  # it does not read; nobody waits longer for it
        finally:
            self._client.close()
            self._server.let_go()
            await self._server.stopped()
