"""Carry one link: feed the conversation, perform its effects, in order.

One event at a time: the effects of two events never mix.  Whatever fails here ends this link, on both sides, with the
reason recorded; other links go on.  Nothing that failed lets anything through.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, assert_never

from broker.config import Waits
from broker.edges import Edges, Ending, Running
from broker.endpoints.stderr import LastWords
from broker.endpoints.stdio import LineEndpoint
from broker.errors import BulkheadError, ProtocolError
from broker.model import Call, Decision, Side, Verdict
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Ask, Drift, Effect, End, Forward, Launch, Read, Record, Withdraw
from broker.protocol.events import (
    Answered,
    Event,
    FromClient,
    FromServer,
    Garbled,
    NotStarted,
    ServerGone,
    Started,
)
from broker.protocol.frames import FrameDecoder, encode

MAX_QUEUED: Final = 256  # events waiting behind one fdatasync; reading stops long before
PROGRESS_SECONDS: Final = 5.0  # clients reset their own time-out on progress, the shortest seen being 10

_log = logging.getLogger(__name__)


class Relay:
    """One client, one server, one conversation.  Nothing here is shared with another relay."""

    def __init__(self, conversation: Conversation, client: tuple[int, int], edges: Edges, waits: Waits) -> None:
        self._conversation = conversation
        self._edges = edges
        self._waits = waits
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Event] = deque()
        self._busy = False
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions: dict[int, asyncio.Task[None]] = {}
        self._decoders = {"client": FrameDecoder("client")}
        self._server: LineEndpoint | None = None
        self._running: Running | None = None
        self._launch_deadline: float | None = None
        self._client_gone = False
        self._last_lines = asyncio.Event()
        self._last_words: LastWords | None = None
        self.calls = 0
        self._client = LineEndpoint(
            client[0],
            client[1],
            on_bytes=self._from_client,
            on_closed=self._client_closed,
            on_drained=self._client_drained,
        )

    # --- what the owner does ---

    async def run(self) -> Ending:
        """Relay until either side ends it.  On return both sides are closed and the server's tree is gone."""
        self._client.start()
        try:
            ending = await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            ending = Ending("the daemon stops")
            if not self._ending.done():
                self._ending.set_result(ending)
            await self._close(ending)
            raise
        await self._close(ending)
        return ending

    def feed(self, event: Event) -> None:
        """Something happened to the conversation from outside: an admission, an accepted drift."""
        self._queue.append(event)
        if not self._busy:
            self._drain()

    def end(self, reason: str, blame: str = "") -> None:
        """End the link now."""
        if not self._ending.done():
            self._ending.set_result(Ending(reason, blame))

    def tick(self, now: float) -> None:
        """Called about once a second: bounded waits that need no timer of their own."""
        for side, endpoint in (("client", self._client), ("server", self._server)):
            since = endpoint.stuck_since if endpoint is not None else None
            if since is not None and now - since > self._waits.send:
                self.end(f"the {side} did not read for {self._waits.send:.0f} s", side)
        if self._launch_deadline is not None:
            if not self._conversation.starting:
                self._launch_deadline = None
                self._edges.changed()
            elif now > self._launch_deadline:
                self._launch_deadline = None
                self._server_ended("it did not answer its opening in time")
        if self._client_gone and not self._conversation.awaiting:
            self.end("the client closed the link", "client")

    # --- events in ---

    def _from_client(self, data: bytes) -> None:
        self._arrived("client", data)

    def _from_server(self, data: bytes) -> None:
        self._arrived("server", data)

    def _arrived(self, side: Side, data: bytes) -> None:
        for frame in self._decoders[side].feed(data):
            if frame.fault is not None:
                self._queue.append(Garbled(side, str(frame.fault.error), frame.fault.reply, frame.size))
            elif frame.message is not None:
                event = FromClient if side == "client" else FromServer
                self._queue.append(event(frame.message, frame.size))
        if not self._busy:
            self._drain()
        if len(self._queue) > MAX_QUEUED:
            self._pause(side)

    def _drain(self) -> None:
        while self._queue and not self._busy and not self._ending.done():
            event = self._queue.popleft()
            try:
                rest = self._perform(self._conversation.receive(event))
            except Exception as problem:  # noqa: BLE001 - the top of this conversation: it closes, it never carries on
                self._break(problem)
                return
            if rest:
                self._busy = True
                self._start(self._finish(rest))

    async def _finish(self, rest: list[Effect]) -> None:
        """Perform what stands behind a durable record, once that is on the disk."""
        try:
            while rest:
                first = rest[0]
                if isinstance(first, Record):
                    await self._edges.record_durably(first.fact)
                if self._ending.done():
                    return
                rest = self._perform(rest[1:])
        except Exception as problem:  # noqa: BLE001 - as above
            self._break(problem)
            return
        finally:
            self._busy = False
        self._drain()
        if len(self._queue) <= MAX_QUEUED:
            self._resume()

    # --- effects out ---

    def _perform(self, effects: list[Effect]) -> list[Effect]:
        """Perform effects in order; returns those left over, the first of which must reach the disk first."""
        for index, effect in enumerate(effects):
            match effect:
                case Record(fact):
                    if fact.durable:
                        return effects[index:]
                    self._edges.record(fact)
                case Forward(to, message):
                    self._forward(to, encode(message))
                case Read():
                    self._edges.read(effect)
                case Ask(question, call, decision):
                    self._questions[question] = self._start(self._ask(question, call, decision))
                case Withdraw(question):
                    task = self._questions.pop(question, None)
                    if task is not None:
                        task.cancel()
                case Launch():
                    self._start(self._launch())
                case Drift(changes, live):
                    self._edges.drifted(changes, live)
                case End(reason, blame):
                    self.end(reason, blame)
                    return []
                case _:
                    assert_never(effect)
        return []

    def _forward(self, to: Side, line: bytes) -> None:
        if to == "client":
            self._client.send(line)
            if self._client.congested and self._server is not None:
                self._server.pause_reading()
            return
        if self._server is None:
            raise ProtocolError("the broker", "had a message for a server that does not run")
        self.calls += 1
        self._server.send(line)
        if self._server.congested:
            self._client.pause_reading()

    async def _ask(self, question: int, call: Call, decision: Decision) -> None:
        waiting = asyncio.ensure_future(self._edges.ask(call, decision))
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=PROGRESS_SECONDS)
                if done:
                    break
                if not self._busy and not self._ending.done():
                    self._perform(self._conversation.still_waiting(question))
            self._questions.pop(question, None)
            self.feed(Answered(question, waiting.result()))
        except BulkheadError as problem:
            self.feed(Answered(question, Decision(Verdict.DENY, "no answer", str(problem))))
        except asyncio.CancelledError:
            raise
        except Exception as problem:  # noqa: BLE001 - as above
            self._break(problem)
        finally:
            waiting.cancel()

    async def _launch(self) -> None:
        self._edges.changed()
        try:
            running = await self._edges.launch()
        except BulkheadError as problem:
            hint = f"; try: {problem.hint}" if problem.hint else ""
            self.feed(NotStarted(f"{problem}{hint}"))
            self._edges.changed()
            return
        except asyncio.CancelledError:
            raise
        except Exception as problem:  # noqa: BLE001 - as above
            self._break(problem)
            return
        self._running = running
        if self._ending.done():
            return
        self._decoders["server"] = FrameDecoder("server")
        streams = running.take_streams()
        self._server = LineEndpoint(
            streams.stdout,
            streams.stdin,
            on_bytes=self._from_server,
            on_closed=lambda: self._server_ended("it closed its output"),
            on_drained=self._server_drained,
        )
        self._last_words = LastWords(streams.stderr)
        self._launch_deadline = self._loop.time() + self._waits.launch
        self._server.start()
        self.feed(Started())
        self._edges.changed()

    def _server_ended(self, reason: str) -> None:
        running, server = self._running, self._server
        self._running = self._server = None
        self._launch_deadline = None
        if server is None:
            return
        server.close()
        if running is not None:
            self._start(self._stopped(running))
        self.feed(ServerGone(reason))
        self._edges.changed()

    async def _stopped(self, running: Running) -> None:
        await running.stop()

    # --- ends and bounds ---

    def _client_closed(self) -> None:
        """The client says nothing more.  What it still waits for is answered first; `tick` bounds nothing here, the
        questions and launches behind it have deadlines of their own."""
        self._client_gone = True
        if not self._conversation.awaiting or self._client.waiting:
            self.end("the client closed the link", "client")

    def _client_drained(self) -> None:
        if self._ending.done():
            self._last_lines.set()
        if self._server is not None:
            self._server.resume_reading()

    def _server_drained(self) -> None:
        if not self._client_gone:
            self._client.resume_reading()

    def _pause(self, side: Side) -> None:
        endpoint = self._client if side == "client" else self._server
        if endpoint is not None:
            endpoint.pause_reading()

    def _resume(self) -> None:
        if not self._client_gone:
            self._client.resume_reading()
        if self._server is not None:
            self._server.resume_reading()

    def _break(self, problem: Exception) -> None:
        """Something of ours failed: close, and say what, without the message that caused it."""
        if not isinstance(problem, BulkheadError):
            _log.exception("a link failed", exc_info=problem)
        blame = problem.who if isinstance(problem, ProtocolError) else ""
        reason = str(problem) if isinstance(problem, BulkheadError) else f"inside the daemon: {type(problem).__name__}"
        self.end(reason, blame)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _close(self, ending: Ending) -> None:
        """Ordered and bounded: stop listening, let the client take its last lines, stop the server's tree."""
        self._client.pause_reading()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client.waiting and ending.blame != "client":
            await asyncio.wait({asyncio.ensure_future(self._last_lines.wait())}, timeout=self._waits.stop_stdin)
        self._client.close()
        if self._server is not None:
            self._server.close()
        if self._running is not None:
            await asyncio.shield(self._running.stop())
        self._server = self._running = None
