"""Sends every receipt, oldest first, to a collector by OTLP, where the OTEL_* variables ask for logs.

The record does not wait for it: receipts are read from the disk, and how far it came stands in a file, so that a
collector that was gone, or a daemon that was, loses none.  One that comes twice has the same `bulkhead.hash`.
"""

import asyncio
import base64
import json
import logging
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

import httpx2

from broker.audit.export import otlp
from broker.audit.following import Follower
from broker.errors import BulkheadError, ConfigError
from broker.files import read_bounded, write_private
from broker.model import JsonObject

ENTRIES: Final = 200  # of one request
BYTES: Final = 1024 * 1024  # of one request, unless a single receipt has more
LOOK_SECONDS: Final = 1.0
WAITS: Final = (1.0, 5.0, 30.0, 60.0)  # seconds after the first, second... failure in a row
TOO_MUCH: Final = frozenset({400, 413})  # the collector does not take this request, and would not take it again
_CURSOR: Final = 1024
Protocol: TypeAlias = Literal["http/protobuf", "http/json"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """Where receipts go.  `headers` may hold a key."""

    address: str
    protocol: Protocol = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: str = ""
    seconds: float = 10.0


def collector(environment: Mapping[str, str]) -> Collector | None:
    """What the OTEL_* variables say of logs; None unless they name the exporter: an address alone is not enough.

    Raises:
        ConfigError: one of them says what cannot be.
    """
    wanted = environment.get("OTEL_LOGS_EXPORTER", "").split(",")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or "otlp" not in wanted:
        return None

    def said(name: str, default: str = "") -> str:
        general = environment.get(f"OTEL_EXPORTER_OTLP_{name}", default)
        return environment.get(f"OTEL_EXPORTER_OTLP_LOGS_{name}", general)

    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    address = environment.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{base.rstrip('/')}/v1/logs")
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise ConfigError("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT is no address", hint="https://collector.example/v1/logs")
    protocol = said("PROTOCOL", "http/protobuf")
    if protocol not in ("http/protobuf", "http/json"):
        hint = "set OTEL_EXPORTER_OTLP_LOGS_PROTOCOL to http/protobuf or http/json"
        raise ConfigError(f"receipts are not sent by {protocol[:40]}", hint=hint)
    if protocol == "http/protobuf":
        _protobuf([])
    pairs = [pair.partition("=") for pair in said("HEADERS").split(",") if pair]
    headers = {name.strip(): urllib.parse.unquote(value.strip()) for name, _, value in pairs}
    timeout = said("TIMEOUT", "10000")
    if not timeout.isdecimal():
        raise ConfigError("OTEL_EXPORTER_OTLP_TIMEOUT is no number of milliseconds", hint="10000")
    return Collector(
        address, "http/json" if protocol == "http/json" else "http/protobuf", headers, said("CERTIFICATE"),
        max(0.1, int(timeout) / 1000),
    )  # fmt: skip


class Shipping:
    """From the chain in `folder` to `target`.  `until` is the last entry that is safe on the disk."""

    def __init__(self, target: Collector, folder: Path, cursor: Path, until: Callable[[], int]) -> None:
        self._target = target
        self._folder = folder
        self._cursor = cursor
        self._until = until
        self._entries = ENTRIES
        self.seq = 0
        """The last entry that the collector took."""

    async def run(self, pause: Callable[[float], "asyncio.Future[None]"] | None = None) -> None:
        """Until cancelled.  A collector that fails is tried again, later and later."""
        wait = pause or (lambda seconds: asyncio.ensure_future(asyncio.sleep(seconds)))
        self.seq = await asyncio.to_thread(self._read_cursor)
        follower = Follower(self._folder, self.seq)
        failures = 0
        tls = ssl.create_default_context(cafile=self._target.certificate or None)
        async with httpx2.AsyncClient(timeout=self._target.seconds, verify=tls, trust_env=False) as client:
            while True:
                try:
                    sent = await self._send_some(client, follower)
                except (OSError, ValueError, KeyError, TypeError, httpx2.HTTPError, _Refused, BulkheadError) as problem:
                    if not failures:
                        _log.warning("receipts from %d on wait for their collector: %s", self.seq + 1, _why(problem))
                    follower = Follower(self._folder, self.seq)
                    await wait(WAITS[min(failures, len(WAITS) - 1)])
                    failures += 1
                    continue
                failures = 0
                if not sent:
                    await wait(LOOK_SECONDS)

    async def _send_some(self, client: httpx2.AsyncClient, follower: Follower) -> bool:
        until = self._until()
        if until <= self.seq:
            return False
        entries = await asyncio.to_thread(follower.take, self._entries, BYTES, until)
        if not entries:
            return False
        is_json = self._target.protocol == "http/json"
        body = await asyncio.to_thread(_json if is_json else _protobuf, entries)
        headers = {**self._target.headers, "Content-Type": "application/json" if is_json else "application/x-protobuf"}
        response = await client.post(self._target.address, content=body, headers=headers)
        if response.status_code in TOO_MUCH and len(entries) > 1:
            self._entries = max(1, len(entries) // 2)
            raise _Refused(response.status_code)
        if response.status_code in TOO_MUCH:
            _log.warning("the collector does not take receipt %d: status %d", entries[0]["seq"], response.status_code)
        elif not response.is_success:
            raise _Refused(response.status_code)
        else:
            self._entries = ENTRIES
        await asyncio.to_thread(self._write_cursor, entries[-1])
        self.seq = entries[-1]["seq"]
        return True

    def _read_cursor(self) -> int:
        """Where the last daemon stopped; 0 where this is another chain."""
        try:
            said = json.loads(read_bounded(self._cursor, _CURSOR))
            seq, digest = int(said["seq"]), str(said["hash"])
        except (FileNotFoundError, ConfigError, ValueError, KeyError, TypeError):
            return 0
        if seq > self._until():
            return 0
        there = Follower(self._folder, seq - 1).take(1, BYTES, seq)
        return seq if not there or there[0]["hash"] == digest else 0

    def _write_cursor(self, entry: JsonObject) -> None:
        write_private(self._cursor, json.dumps({"seq": entry["seq"], "hash": entry["hash"]}).encode())


class _Refused(Exception):
    """The collector answered, and did not take it."""


def _why(problem: Exception) -> str:
    """Without an address, which may hold a key."""
    return f"it answered with status {problem}" if isinstance(problem, _Refused) else type(problem).__name__


def _request(entries: list[JsonObject]) -> JsonObject:
    """One request with all of them."""
    told = [otlp(entry)["resourceLogs"][0] for entry in entries]
    scopes = [scope for resource in told for scope in resource["scopeLogs"]]
    return {"resourceLogs": [{**told[0], "scopeLogs": scopes}]} if told else {}


def _json(entries: list[JsonObject]) -> bytes:
    return json.dumps(_request(entries), separators=(",", ":")).encode()


def _protobuf(entries: list[JsonObject]) -> bytes:
    """Raises `ConfigError` where the extra is not installed."""
    try:
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    except ImportError as cause:
        raise ConfigError(
            "OTEL_LOGS_EXPORTER asks for receipts to be sent, and what writes them is not installed",
            hint="pip install 'mcp-bulkhead[otel]', or set OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json",
        ) from cause
    request = _request(entries)
    for resource in request.get("resourceLogs", ()):
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                if "traceId" in record:  # hexadecimal in OTLP's JSON, base64 in that of protobuf
                    record["traceId"] = base64.b64encode(bytes.fromhex(record["traceId"])).decode("ascii")
    data: bytes = ParseDict(request, ExportLogsServiceRequest()).SerializeToString()
    return data
