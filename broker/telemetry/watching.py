"""Everything that is watched of one daemon: every link tells what it records, and what ended is counted and sent.

Counting is always on, and costs a message next to nothing; spans are made only where somebody asked for them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from broker.model import Fact, JsonObject, Verdict
from broker.telemetry.export import Exporter
from broker.telemetry.numbers import Numbers, key
from broker.telemetry.setting import Setting
from broker.telemetry.spans import LinkSpans, Span

MAX_TIMED: Final = 512  # requests of one link that are timed at once; what is beyond is neither timed nor counted
_BEGINS: Final = frozenset({"request", "decision", "handshake", "answer"})


class Watching:
    """The numbers of a daemon, and who is sent them."""

    def __init__(self, setting: Setting, gauges: Mapping[str, Callable[[], float]], version: str) -> None:
        """Raises `ConfigError` where OTLP is asked for and cannot be had."""
        self.setting = setting
        self.numbers = Numbers(gauges)
        self._exporter = Exporter(setting, self.numbers, version) if setting.traces or setting.metrics else None

    def link(self, client: str, server: str, session: str) -> "WatchedLink":
        spans = LinkSpans(client, server, session) if self._exporter is not None else None
        return WatchedLink(self.numbers, server, spans, self._send)

    def close(self) -> None:
        """Send what is left.  Blocks, bounded."""
        if self._exporter is not None:
            self._exporter.close()

    def _send(self, spans: list[Span]) -> None:
        if self._exporter is not None:
            self._exporter.send(spans)


class WatchedLink:
    """One link of it."""

    def __init__(
        self, numbers: Numbers, server: str, spans: LinkSpans | None, send: Callable[[list[Span]], None]
    ) -> None:
        self._numbers = numbers
        self._spans = spans
        self._send = send
        self._since: dict[str, float] = {}
        self._refused: set[str] = set()
        self._launched = False
        outcomes = ("ok", "error", "refused")
        self._outcomes = {name: key("bulkhead_requests_total", server=server, outcome=name) for name in outcomes}
        named = ("holds", "launches", "restarts", "exits")
        self._keys = {name: key(f"bulkhead_{name}_total", server=server) for name in named}

    @property
    def traced(self) -> bool:
        """Its requests are spans."""
        return self._spans is not None

    def heard(self, fact: Fact, stories: tuple[str, ...]) -> None:
        """This was recorded."""
        story = stories[0] if len(stories) == 1 else ""
        self._count(fact, story)
        if self._spans is not None and story and (ended := self._spans.heard(fact, story, time.time_ns())):
            self._send(ended)

    def outgoing(self, message: JsonObject) -> JsonObject:
        """What the server is sent: its request carries on the trace."""
        return message if self._spans is None else self._spans.outgoing(message, time.time_ns())

    def _count(self, fact: Fact, story: str) -> None:
        kind = fact.kind
        if kind == "result":
            if fact.side != "client" and (since := self._since.pop(story, None)) is not None:
                self._answered(fact, story, time.monotonic() - since)
        elif kind in _BEGINS:
            verdict = fact.decision.verdict if fact.decision is not None else None
            if fact.side == "client" and story and story not in self._since and len(self._since) < MAX_TIMED:
                self._since[story] = time.monotonic()
            if verdict is Verdict.ASK:
                self._numbers.count(self._keys["holds"])
            elif verdict is Verdict.DENY and story in self._since:
                self._refused.add(story)
        elif kind == "notification":
            if fact.method == "notifications/cancelled":
                self._since.pop(story, None)
        elif kind == "launch" and fact.method == "started":
            self._numbers.count(self._keys["launches"])
            if self._launched:
                self._numbers.count(self._keys["restarts"])
            self._launched = True
        elif kind == "exit":
            self._numbers.count(self._keys["exits"])

    def _answered(self, fact: Fact, story: str, seconds: float) -> None:
        body = fact.body or {}
        result = body.get("result")
        failed = "error" in body or (isinstance(result, dict) and result.get("isError") is True)
        outcome = "refused" if story in self._refused else "error" if failed else "ok"
        self._refused.discard(story)
        self._numbers.count(self._outcomes[outcome])
        self._numbers.took(seconds)
