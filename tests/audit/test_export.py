"""Exported receipts are what other tools read: the published schema of OCSF, and the official messages of OTLP."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf.json_format import ParseDict
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from broker.audit.export import FORMATS, OCSF_VERSION, jsonl, ocsf, otlp, trace_of
from broker.audit.receipt import KEYS
from broker.model import Decision, Fact, JsonObject, Origin, Verdict
from tests.audit.facts import ORIGIN, called, lines_of, opened

NO = Decision(Verdict.DENY, "hosts", "no grant covers it")
FACTS: list[tuple[Origin, Fact]] = [
    (ORIGIN, called(body={"path": "a"})),
    (
        Origin("cursor", "files", "s-1", "l-1", "p", "A", ("l-1.2",), "PU"),
        Fact("result", "server", "tools/call", "x", 1),
    ),
    (Origin(), Fact("decision", "client", "resources/read", "file:///a", "id", NO)),
    (ORIGIN, Fact("egress", "server", "connect", "api.test:443")),
    (ORIGIN, Fact("egress", "server", "lookup", "", decision=NO)),
    (ORIGIN, Fact("launch", "broker", target="files", body={"argv": ["npx"]})),
    (Origin(), Fact("daemon", "broker", "start")),
    (Origin(), Fact("violation", "client", body={"what": "no message"})),
    (ORIGIN, Fact("answer", "person", "tools/call", "read_file")),
]


@pytest.fixture
def entries(tmp_path: Path) -> list[JsonObject]:
    log = opened(tmp_path)
    for origin, fact in FACTS:
        log.append(origin, fact)
    log.close()
    return [json.loads(line) for line in lines_of(tmp_path)]


@cache
def schema_of(uid: int) -> Any:
    published = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=OCSF_VERSION))
    return jsonschema.Draft202012Validator(published.get_class_schema(published.lookup_class_name_from_uid(uid)))


@pytest.mark.claim("C46")
def test_every_receipt_is_an_event_of_the_published_ocsf_schema(entries: list[JsonObject]) -> None:
    events = [ocsf(entry) for entry in entries]
    assert [event["class_uid"] for event in events] == [6003, 6003, 6003, 4001, 4001, 6002, 6002, 6002, 6003]
    for event in events:
        assert list(schema_of(event["class_uid"]).iter_errors(event)) == []
        assert event["metadata"]["version"] == OCSF_VERSION
    assert events[1]["metadata"]["correlation_uid"] == "l-1.2"
    assert [event["status_id"] for event in events[2:4]] == [2, 1]
    spoilt = {**events[0], "time": "noon"}
    assert list(schema_of(6003).iter_errors(spoilt)), "the schema says no to something"


@pytest.mark.claim("C46")
def test_every_receipt_is_a_log_record_of_otlp(entries: list[JsonObject]) -> None:
    for entry in entries:
        said = ParseDict(otlp(entry), ExportLogsServiceRequest())
        (record,) = said.resource_logs[0].scope_logs[0].log_records
        attributes = {each.key: each.value for each in record.attributes}
        assert attributes["bulkhead.seq"].int_value == entry["seq"]
        assert attributes["bulkhead.hash"].string_value == entry["hash"]
        assert record.time_unix_nano == 1_750_000_000_250_000_000
        assert (record.severity_text == "WARN") is (entry["verdict"] == "deny")


def test_the_records_of_one_request_share_a_trace() -> None:
    assert len(trace_of("l-1.2")) == 32 and trace_of("l-1.2") != trace_of("l-1.3")


def test_json_lines_are_the_columns_under_their_documented_names(entries: list[JsonObject]) -> None:
    security = (Path(__file__).resolve().parents[2] / "SECURITY.md").read_text()
    for entry in entries:
        assert tuple(jsonl(entry)) == (*KEYS, "hash")
    assert [key for key in KEYS if f"`{key}`" not in security] == []
    assert FORMATS.keys() == {"jsonl", "ocsf", "otlp"}
