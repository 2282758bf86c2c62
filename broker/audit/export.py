"""Receipts in the words of other tools: JSON lines, OCSF events, OTLP log records.

One object a line, names that stay, and nothing made up: what a format has no place for stands under `unmapped`, or
among the attributes, under the name of its column.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Final

from broker.audit.filling import microseconds
from broker.model import JsonObject

OCSF_VERSION: Final = "1.6.0"
PRODUCT: Final = "Bulkhead"
_CALLS: Final = frozenset({"handshake", "request", "notification", "result", "decision", "question", "answer", "grant"})
_VERBS: Final = {"tools/call": 99, "resources/read": 2, "prompts/get": 2}  # OCSF: 2 read, 99 other
_WAYS: Final = {"connect": 1, "close": 2, "request": 6}  # OCSF network activity: open, close, traffic; else refuse
_STEPS: Final = {"start": 3, "stop": 4, "started": 3}  # OCSF application life cycle
_SEVERE: Final = {"deny": (13, "WARN"), "ask": (10, "INFO2")}  # OpenTelemetry's numbers


def trace_of(story: str) -> str:
    """The trace id of a request that came without one."""
    return hashlib.sha256(b"bulkhead story " + story.encode()).hexdigest()[:32]


def jsonl(entry: JsonObject) -> JsonObject:
    """The entry itself, every column under its own name."""
    return entry


def ocsf(entry: JsonObject) -> JsonObject:
    """An event of OCSF 1.6.0: API Activity, Network Activity or Application Lifecycle."""
    if entry["kind"] == "egress":
        allowed = entry["verdict"] != "deny"
        activity = _WAYS.get(entry["method"], 99) if allowed else 5
        own = {"dst_endpoint": {"name": entry["target"] or "unknown"}, "app_name": entry["server"] or PRODUCT}
        return _event(entry, 4, 4001, activity, own)
    if entry["kind"] in _CALLS:
        activity = _VERBS.get(entry["method"], 99)
        operation = " ".join(word for word in (entry["method"] or entry["kind"], entry["target"]) if word)
        own = {
            "actor": {"app_name": entry["client"] or PRODUCT, "session": {"uid": entry["session"] or "none"}},
            "api": {
                "operation": operation,
                "service": {"name": entry["server"] or PRODUCT},
                "request": {"uid": str(entry["request"])},
            },
            "src_endpoint": {"name": entry["client"] or PRODUCT},
        }
        return _event(entry, 6, 6003, activity, own)
    app = {"name": entry["server"] or PRODUCT}
    return _event(entry, 6, 6002, _STEPS.get(entry["method"] or entry["target"], 99), {"app": app})


def _event(entry: JsonObject, category: int, kind: int, activity: int, own: JsonObject) -> JsonObject:
    denied = entry["verdict"] == "deny"
    event: JsonObject = {
        "activity_id": activity,
        "category_uid": category,
        "class_uid": kind,
        "type_uid": kind * 100 + activity,
        "time": microseconds(entry["time"]) // 1000,
        "severity_id": 3 if denied else 1,
        "status_id": 2 if denied else 1,
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
            "uid": entry["hash"],
            "event_code": entry["kind"],
            "sequence": entry["seq"],
            "original_time": entry["time"],
        },
        "unmapped": {name: value for name, value in entry.items() if name not in ("time", "hash", "seq")},
        **own,
    }
    if activity == 99:
        event["activity_name"] = entry["method"] or entry["kind"]
    if entry["stories"]:
        event["metadata"]["correlation_uid"] = entry["stories"][0]
    if entry["reason"]:
        event["status_detail"] = entry["reason"]
    return event


def otlp(entry: JsonObject) -> JsonObject:
    """A log record as OTLP writes it in JSON, alone in its envelope, so that every line can be sent by itself."""
    number, name = _SEVERE.get(entry["verdict"], (9, "INFO"))
    said = " ".join(str(entry[key]) for key in ("kind", "method", "target", "verdict", "rule") if entry[key])
    record: JsonObject = {
        "timeUnixNano": str(microseconds(entry["time"]) * 1000),
        "severityNumber": number,
        "severityText": name,
        "body": {"stringValue": said},
        "attributes": [
            {"key": f"bulkhead.{column}", "value": _value(value)}
            for column, value in entry.items()
            if value not in (None, "", [])
        ],
    }
    if entry["stories"]:
        record["traceId"] = trace_of(entry["stories"][0])
    service = {"key": "service.name", "value": {"stringValue": "bulkhead"}}
    scope = {"scope": {"name": "bulkhead.audit", "version": str(entry["v"])}, "logRecords": [record]}
    return {"resourceLogs": [{"resource": {"attributes": [service]}, "scopeLogs": [scope]}]}


def _value(value: object) -> JsonObject:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": str(item)} for item in value]}}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value)}


FORMATS: Final[Mapping[str, Callable[[JsonObject], JsonObject]]] = {"jsonl": jsonl, "ocsf": ocsf, "otlp": otlp}
