"""Sends spans and numbers by OTLP, with the official SDK and as its own variables say.

The SDK gathers and sends in threads of its own with bounded queues: a collector that is slow or gone loses spans, and
delays nobody.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from broker.errors import ConfigError
from broker.telemetry.numbers import COUNTERS, Numbers
from broker.telemetry.setting import Setting
from broker.telemetry.spans import Span

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

FLUSH_MS: Final = 3000  # a collector that does not answer delays the daemon's end by so long


class Exporter:
    """Open from `setting` on until `close`."""

    def __init__(self, setting: Setting, numbers: Numbers, version: str) -> None:
        """Raises `ConfigError` where the extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as cause:
            raise ConfigError(
                "OTEL_* variables ask for telemetry, and what sends it is not installed",
                hint="pip install 'mcp-bulkhead[otel]', or unset them",
            ) from cause
        self._resource = Resource.create({"service.name": "bulkhead", "service.version": version})
        self._scope = InstrumentationScope("bulkhead", version)
        self._spans = BatchSpanProcessor(OTLPSpanExporter()) if setting.traces else None
        self._meters = None
        if setting.metrics:
            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self._meters = MeterProvider([reader], self._resource)
            meter = self._meters.get_meter("bulkhead", version)
            self._duration = meter.create_histogram("mcp.server.operation.duration", "s", "how long a client waited")
            self._watch(numbers, meter)

    def send(self, spans: Sequence[Span]) -> None:
        """Queue what ended.  Never waits."""
        if self._spans is not None:
            self._trace(spans)
        for span in spans if self._meters is not None else ():
            if span.kind == "server":
                labels = {"mcp.method.name": span.attributes["mcp.method.name"],
                          "bulkhead.server": span.attributes["bulkhead.server"], "error.type": span.error}  # fmt: skip
                self._duration.record((span.end - span.start) / 1e9, labels)

    def _trace(self, spans: Iterable[Span]) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        for span in spans:
            if not span.sampled:
                continue
            trace, flags = int(span.trace, 16), TraceFlags(TraceFlags.SAMPLED)
            above = int(span.parent or "0", 16)
            parent = SpanContext(trace, above, is_remote=True, trace_flags=flags) if above else None
            attributes = {**span.attributes, **({"error.type": span.error} if span.error else {})}
            assert self._spans is not None
            self._spans.on_end(
                ReadableSpan(
                    span.name,
                    SpanContext(trace, int(span.id, 16), is_remote=False, trace_flags=flags),
                    parent,
                    self._resource,
                    attributes,
                    kind=SpanKind.SERVER if span.kind == "server" else SpanKind.CLIENT,
                    status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
                    start_time=span.start,
                    end_time=span.end,
                    instrumentation_scope=self._scope,
                )
            )

    def close(self) -> None:
        """Send what is left, for at most `FLUSH_MS` each.  Blocks."""
        if self._spans is not None:
            self._spans.force_flush(FLUSH_MS)
            self._spans.shutdown()  # type: ignore[no-untyped-call]  # the SDK says nothing of it
        if self._meters is not None:
            self._meters.shutdown(FLUSH_MS)

    def _watch(self, numbers: Numbers, meter: "Meter") -> None:
        from opentelemetry.metrics import CallbackOptions, Observation

        def counter(wanted: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
            return lambda _: [Observation(count, labels) for name, labels, count in numbers.totals() if name == wanted]

        def gauge(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
            return lambda _: [Observation(numbers.gauges[name]())]

        for name in COUNTERS:
            meter.create_observable_counter(name.removesuffix("_total").replace("_", "."), [counter(name)])
        for name in numbers.gauges:
            meter.create_observable_gauge(f"bulkhead.{name}", [gauge(name)])
