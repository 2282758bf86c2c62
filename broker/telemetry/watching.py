"""Everything that is watched of one daemon: every link tells what it records, and what ended is counted and sent."""

import time
from collections.abc import Callable, Mapping

from broker.model import Fact, JsonObject, Verdict
from broker.telemetry.export import Exporter
from broker.telemetry.numbers import Numbers
from broker.telemetry.setting import Setting
from broker.telemetry.spans import LinkSpans


class Watching:
    """Off, it keeps the gauges only and costs a link nothing."""

    def __init__(self, setting: Setting, gauges: Mapping[str, Callable[[], float]], version: str) -> None:
        """Raises `ConfigError` where OTLP is asked for and cannot be had."""
        self.setting = setting
        self.numbers = Numbers(gauges)
        wanted = setting.traces or setting.metrics
        self._exporter = Exporter(setting, self.numbers, version) if wanted else None

    def link(self, client: str, server: str, session: str) -> "WatchedLink | None":
        return None if self.setting.is_off else WatchedLink(self, client, server, session)

    def heard(self, spans: LinkSpans, fact: Fact, story: str, server: str) -> None:
        if fact.kind == "decision" and fact.decision is not None and fact.decision.verdict is Verdict.ASK:
            self.numbers.count("bulkhead_holds_total", server=server)
        elif fact.kind == "launch" and fact.method == "started":
            self.numbers.count("bulkhead_launches_total", server=server)
        ended = spans.heard(fact, story, time.time_ns()) if story else []
        for span in ended:
            self.numbers.ended(span)
        if ended and self._exporter is not None:
            self._exporter.send(ended)

    def close(self) -> None:
        """Send what is left.  Blocks, bounded."""
        if self._exporter is not None:
            self._exporter.close()


class WatchedLink:
    """One link of it."""

    def __init__(self, watching: Watching, client: str, server: str, session: str) -> None:
        self._watching = watching
        self._server = server
        self._spans = LinkSpans(client, server, session)

    def heard(self, fact: Fact, stories: tuple[str, ...]) -> None:
        """This was recorded."""
        self._watching.heard(self._spans, fact, stories[0] if len(stories) == 1 else "", self._server)

    def outgoing(self, message: JsonObject) -> JsonObject:
        """What the server is sent: its request carries on the trace."""
        return self._spans.outgoing(message, time.time_ns())
