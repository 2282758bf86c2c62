"""The server side of one link: starting it, its streams, its opening's deadline, and its end.

A server that was started is stopped, whatever happens to the link: its stop runs in a task that is never cut short.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from broker.config import Waits
from broker.edges import Running
from broker.endpoints.stderr import LastWords
from broker.endpoints.stdio import LineEndpoint
from broker.protocol.frames import MAX_FRAME, Frame, FrameDecoder

SILENT: Final = "it did not answer its opening in time"
ENDED: Final = "it ended, or closed its input or output"


class Hosted:
    """One server of a link, or none: `endpoint` is None while nothing runs.

    `on_frames` is called with what it said; `on_gone` once for each instance that ended by itself or in our deadline,
    with the reason; `on_drained` when it took everything; `on_failure` when its tree could not be ended in order;
    `on_words` with what it wrote on its standard error, and how many bytes of that were left out.
    """

    def __init__(
        self,
        launch: Callable[[], Awaitable[Running]],
        waits: Waits,
        most: int = MAX_FRAME,
        *,
        on_frames: Callable[[list[Frame]], None],
        on_gone: Callable[[str], None],
        on_drained: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        on_words: Callable[[str, int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._launch = launch
        self._waits = waits
        self._on_frames = on_frames
        self._on_gone = on_gone
        self._on_drained = on_drained
        self._on_failure = on_failure
        self._on_words = on_words
        self._most = most
        self._decoder = FrameDecoder("server", most, batches=True)
        self._running: Running | None = None
        self._last_words: LastWords | None = None
        self._deadline: float | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self.endpoint: LineEndpoint | None = None

    async def launch(self) -> None:
        """Start an instance, not yet listened to.

        Raises:
            BulkheadError: why it could not be started.
        """
        self._running = await self._launch()

    def connect(self) -> None:
        """Take the streams of what was launched; the owner's first `resume_reading` listens."""
        assert self._running is not None
        streams = self._running.take_streams()
        self._decoder = FrameDecoder("server", self._most, batches=True)
        self._last_words = LastWords(streams.stderr, self._on_words)
        self.endpoint = LineEndpoint(
            streams.stdout,
            streams.stdin,
            on_bytes=self._arrived,
            on_closed=self._closed,
            on_drained=self._on_drained,
        )
        self._deadline = self._loop.time() + self._waits.launch

    def tick(self, now: float, starting: bool) -> bool:
        """Bound the wait for its opening and its lists; true when that wait is just over, because it answered."""
        if not starting:
            answered, self._deadline = self._deadline is not None, None
            return answered
        if self._deadline is None:  # it said that its lists changed, and is asked for them again
            self._deadline = now + self._waits.launch
        elif now > self._deadline:
            self.gone(SILENT)
        return False

    def gone(self, reason: str) -> None:
        """It is over with this instance: let it go and say so, once."""
        if self.endpoint is not None:
            self.let_go()
            self._deadline = None
            self._on_gone(reason)

    def _closed(self) -> None:
        """Its streams ended: because we ended it, and then it is known why, or by itself."""
        self.gone((self._running.ending if self._running is not None else "") or ENDED)

    def let_go(self) -> None:
        """Close the streams and stop the tree.  Idempotent."""
        if self._last_words is not None:
            self._last_words.finish()
        if self.endpoint is not None:
            self.endpoint.close()
        if self._running is not None:
            task = self._loop.create_task(self._stop(self._running, self._last_words))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        self.endpoint = self._running = self._last_words = None

    async def stopped(self) -> None:
        """Wait until nothing of any instance is left; each stop is bounded by itself."""
        if self._stopping:
            await asyncio.wait(self._stopping)

    def _arrived(self, data: bytes) -> None:
        if self._last_words is not None:
            self._last_words.take()
        self._on_frames(self._decoder.feed(data))

    async def _stop(self, running: Running, last_words: LastWords | None) -> None:
        try:
            await running.stop()
        except Exception as problem:  # noqa: BLE001 - nobody waits for this task: the link closes over it
            self._on_failure(problem)
        finally:
            if last_words is not None:
                last_words.close()
