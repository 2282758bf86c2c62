"""Watched from outside: one trace from the client through Bulkhead to the server, and numbers, only where asked for."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from broker.errors import ConfigError
from broker.model import JsonObject
from broker.telemetry.numbers import Numbers, key
from broker.telemetry.scrape import Readings, Scrape
from broker.telemetry.setting import Setting, setting
from broker.telemetry.watching import Watching
from tests.house import OPEN, housed
from tests.peers import ToyServer, echo
from tests.protocol.stage import request
from tests.test_links import ASKS, only_link, opened, reply
from tests.test_links import answer as answer_question
from tests.waiting import until

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Collector:
    """A receiver of OTLP by HTTP, as the official messages define it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.logs: list[Any] = []
        self.refusals: list[int] = []
        """Statuses to answer with before anything is taken."""
        self.most = 1 << 30
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                status = outer.refusals.pop(0) if outer.refusals else 200 if len(body) <= outer.most else 413
                if status == 200:
                    outer.took(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def took(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [span for scope in spans.scope_spans for span in scope.spans]
        elif path == "/v1/logs":
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                self.logs += [record for scope in resource.scope_logs for record in scope.log_records]
        elif path == "/v1/metrics":
            for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {each.name: each for scope in found.scope_metrics for each in scope.metrics}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setattr("broker.telemetry.export.FLUSH_MS", 60_000)  # a busy machine sends late
    yield made
    made.server.shutdown()
    made.server.server_close()


def call(number: int, name: str = "read", **meta: str) -> JsonObject:
    return request(number, "tools/call", name=name, arguments={"text": "hello"}, **({"_meta": meta} if meta else {}))


@pytest.mark.claim("C47")
async def test_a_call_is_one_trace_of_client_bulkhead_and_server(tmp_path: Path, collector: Collector) -> None:
    heard: list[JsonObject] = []

    def listen(message: JsonObject) -> JsonObject | None:
        heard.append(message)
        return echo(message)

    watching = Watching(Setting(traces=True, metrics=True), {"links": lambda: 1.0}, "0")
    async with housed(tmp_path, toy=lambda: ToyServer(answer=listen), policy=OPEN, watching=watching) as rooms:
        far = await opened(rooms)
        await far.say(call(1, traceparent=f"00-{TRACE}-{PARENT}-01"))
        await reply(far, 1)
        await far.say(call(2))
        await reply(far, 2)
        link = only_link(rooms).id
        far.close()
    await asyncio.to_thread(watching.close)
    calls = [span for span in collector.spans if span.name.startswith("tools/call")]
    joined = {span.kind: span for span in calls if span.trace_id.hex() == TRACE}
    outer, inner = joined[2], joined[3]  # a server of the client, and a client of the server
    assert outer.parent_span_id.hex() == PARENT and inner.parent_span_id == outer.span_id
    sent = [message["params"]["_meta"]["traceparent"] for message in heard if message.get("method") == "tools/call"]
    assert sent[0] == f"00-{TRACE}-{inner.span_id.hex()}-01", "the server's own spans go on from there"
    attributes = {each.key: each.value.string_value for each in outer.attributes}
    assert attributes["mcp.method.name"] == "tools/call" and attributes["bulkhead.story"] == f"{link}.2"
    assert outer.start_time_unix_nano <= inner.start_time_unix_nano <= outer.end_time_unix_nano
    assert len({span.trace_id for span in calls}) == 2 and len(calls) == 4
    assert b"hello" not in b"".join(span.SerializeToString() for span in collector.spans), "no word of a message"
    assert {"mcp.server.operation.duration", "bulkhead.requests", "bulkhead.links"} <= collector.metrics.keys()


async def test_a_client_that_does_not_sample_is_not_traced_and_its_word_goes_on(
    tmp_path: Path, collector: Collector
) -> None:
    heard: list[JsonObject] = []

    def listen(message: JsonObject) -> JsonObject | None:
        heard.append(message)
        return echo(message)

    watching = Watching(Setting(traces=True), {}, "0")
    async with housed(tmp_path, toy=lambda: ToyServer(answer=listen), policy=OPEN, watching=watching) as rooms:
        far = await opened(rooms)
        await far.say(call(1, traceparent=f"00-{TRACE}-{PARENT}-00"))
        await reply(far, 1)
        far.close()
    await asyncio.to_thread(watching.close)
    assert [span for span in collector.spans if span.trace_id.hex() == TRACE] == []
    assert any(f"00-{TRACE}-" in json.dumps(message) and '-00"' in json.dumps(message) for message in heard)


async def test_off_a_server_is_sent_what_its_client_said_and_nothing_is_traced(tmp_path: Path) -> None:
    heard: list[JsonObject] = []

    def listen(message: JsonObject) -> JsonObject | None:
        heard.append(message)
        return echo(message)

    watching = Watching(setting({}), {}, "0")
    async with housed(tmp_path, toy=lambda: ToyServer(answer=listen), policy=OPEN, watching=watching) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        far.close()
    assert "traceparent" not in json.dumps(heard)
    named = {name: count for name, labels, count in watching.numbers.totals() if labels.get("outcome") in (None, "ok")}
    assert named["bulkhead_launches_total"] == 1 and named["bulkhead_requests_total"] == 2  # opening, call


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Setting()),
        ({"OTEL_SERVICE_NAME": "x"}, Setting()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, Setting(traces=True, metrics=True)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/x"}, Setting(traces=True)),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}, Setting(traces=True)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none"}, Setting(metrics=True)),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, Setting(port=9464)),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, Setting(port=9999)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "true"}, Setting()),
    ],
)
def test_the_standard_variables_say_what_is_sent(environment: dict[str, str], wanted: Setting) -> None:
    assert setting(environment) == wanted


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0"), ("OTEL_EXPORTER_PROMETHEUS_PORT", "ninety")]
)
def test_numbers_are_given_out_on_loopback_only(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"loopback|is no port"):
        setting({"OTEL_METRICS_EXPORTER": "prometheus", name: value})


async def answer(port: int, path: str, host: str) -> tuple[str, str]:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        said = (await reader.read()).decode()
        writer.close()
    head, _, body = said.partition("\r\n\r\n")
    return head.split(" ")[1], body


async def test_prometheus_reads_numbers_and_health_on_loopback_and_a_web_page_does_not() -> None:
    numbers = Numbers({"links": lambda: 3.0})
    numbers.count(key("bulkhead_holds_total", server='a"b'))
    failures = [""]
    scrape = Scrape(0, Readings(numbers.prometheus, lambda: failures[0]))
    await scrape.open()
    try:
        own = f"127.0.0.1:{scrape.port}"
        status, text = await answer(scrape.port, "/metrics", own)
        assert status == "200" and 'bulkhead_holds_total{server="a\\"b"} 1\n' in text and "bulkhead_links 3.0" in text
        assert text.count("# TYPE bulkhead_holds_total") == 1
        assert await answer(scrape.port, "/healthz", own) == ("200", "ok\n")
        failures[0] = "the disk is full"
        assert await answer(scrape.port, "/healthz", own) == ("503", "the disk is full\n")
        assert (await answer(scrape.port, "/other", own))[0] == "404"
        assert (await answer(scrape.port, "/metrics", f"rebound.example:{scrape.port}"))[0] == "421"
    finally:
        await scrape.close()


async def test_what_is_counted_says_how_it_ended_and_how_often_a_server_was_started(tmp_path: Path) -> None:
    watching = Watching(Setting(), {"links": lambda: 1.0}, "0")
    async with housed(tmp_path, policy=ASKS, watching=watching) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        only_link(rooms).provisions_changed("its secret was changed")
        await far.say(call(2))
        await reply(far, 2)
        await far.say(call(3, "write"))
        await until(rooms.house.consent.open)
        answer_question(rooms, False)
        await reply(far, 3)
        far.close()
    found = {(name, labels.get("outcome", "")): count for name, labels, count in watching.numbers.totals()}
    assert found[("bulkhead_requests_total", "refused")] == 1 == found[("bulkhead_holds_total", "")]
    assert (found[("bulkhead_launches_total", "")], found[("bulkhead_restarts_total", "")]) == (2, 1)
    assert found[("bulkhead_exits_total", "")] == 1
    waited = int(watching.numbers.prometheus().split("bulkhead_request_seconds_count ")[1].split()[0])
    assert waited == sum(count for (name, _), count in found.items() if name == "bulkhead_requests_total")
