"""Receipts go to a collector one after the other: none is lost when it is gone, and the record never waits for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.audit.following import Follower
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.prune import prune
from broker.errors import ConfigError
from broker.telemetry.shipping import Collector, Shipping, collector
from tests.audit.facts import NOON, ORIGIN, VAULT, called, lines_of
from tests.test_telemetry import Collector as Receiver
from tests.waiting import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def opened(folder: Path, keys: AuditKeys = VAULT) -> AuditLog:
    return AuditLog.open(folder / "audit", keys, lambda: NOON, segment_limit=8000, steady=lambda: NOON)


@asynccontextmanager
async def shipping(folder: Path, address: str, log: AuditLog) -> AsyncIterator[Shipping]:
    """Running; it waits for nobody."""

    def at_once(_seconds: float) -> "asyncio.Future[None]":
        return asyncio.ensure_future(asyncio.sleep(0.001))

    made = Shipping(Collector(f"{address}/v1/logs"), folder / "audit", folder / "shipped", lambda: log.synced_seq)
    running = asyncio.create_task(made.run(at_once))
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def said(record: Any, name: str) -> str:
    words: str = next(each.value.string_value for each in record.attributes if each.key == f"bulkhead.{name}")
    return words


def hashes(folder: Path) -> list[str]:
    return [json.loads(line)["hash"] for line in lines_of(folder / "audit")]


@pytest.mark.claim("C97")
async def test_every_receipt_arrives_in_order_while_more_come_and_the_next_daemon_goes_on_from_there(
    tmp_path: Path, receiver: Receiver
) -> None:
    log = opened(tmp_path)
    for _ in range(30):
        log.append(ORIGIN, called())
    log.sync()
    log.append(ORIGIN, called(body={"not": "on the disk yet"}))
    async with shipping(tmp_path, receiver.address, log) as first:
        await until(lambda: first.seq == 30)
        assert len(receiver.logs) == 30, "what a power cut could take back is not sent"
        log.sync()
        await until(lambda: first.seq == 31)
    for _ in range(9):
        log.append(ORIGIN, called())
    log.sync()
    async with shipping(tmp_path, receiver.address, log) as second:
        await until(lambda: second.seq == 40)
    log.close()
    assert [said(record, "hash") for record in receiver.logs] == hashes(tmp_path)
    assert all(len(record.trace_id) in (0, 16) for record in receiver.logs)


@pytest.mark.claim("C97")
async def test_a_collector_that_refuses_or_is_gone_loses_nothing_and_nobody_waits_for_it(
    tmp_path: Path, receiver: Receiver
) -> None:
    log = opened(tmp_path)
    async with shipping(tmp_path, "http://127.0.0.1:9", log) as nowhere:
        for _ in range(20):
            log.append(ORIGIN, called())
        log.sync()
        assert (nowhere.seq, log.seq, log.failure) == (0, 20, "")
    receiver.refusals = [503, 429, 401]
    receiver.most = 6000
    async with shipping(tmp_path, receiver.address, log) as again:
        await until(lambda: again.seq == 20)
    log.close()
    assert receiver.refusals == [] and [said(record, "hash") for record in receiver.logs] == hashes(tmp_path)


async def test_one_receipt_that_a_collector_never_takes_does_not_keep_back_the_others(
    tmp_path: Path, receiver: Receiver
) -> None:
    log = opened(tmp_path)
    for words in ("a", "b" * 9000, "c"):
        log.append(ORIGIN, called(body={"text": words}))
    log.sync()
    receiver.most = 9000
    async with shipping(tmp_path, receiver.address, log) as made:
        await until(lambda: made.seq == 3)
    log.close()
    assert [said(record, "hash") for record in receiver.logs] == hashes(tmp_path)[::2]


async def test_a_new_chain_is_sent_from_its_beginning(tmp_path: Path, receiver: Receiver) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        log = opened(tmp_path / name)
        for number in range(3 + len(receiver.logs)):
            log.append(ORIGIN, called(body={"in": name, "number": number}))
        log.sync()
        if name == "two":
            (tmp_path / name / "shipped").write_bytes((tmp_path / "one" / "shipped").read_bytes())
        async with shipping(tmp_path / name, receiver.address, log) as made:
            await until(lambda: made.seq == log.seq)  # noqa: B023
        log.close()
    assert [said(record, "hash") for record in receiver.logs] == hashes(tmp_path / "one") + hashes(tmp_path / "two")


def test_whoever_follows_the_chain_takes_each_entry_once_whatever_is_let_go_meanwhile(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(30):
        log.append(ORIGIN, called())
    follower, seen = Follower(tmp_path / "audit"), []
    for pruned in (False, True, False):
        if pruned:
            prune(tmp_path / "audit", VAULT, ["messages"], older_than=None, keep=14_000)
        seen += [entry["seq"] for entry in follower.take(7, 1 << 20, 30)]
    left = [json.loads(line)["seq"] for line in lines_of(tmp_path / "audit")]
    while more := follower.take(7, 1, 30):
        assert len(more) == 1, "within its bytes, but never less than one"
        seen += [more[0]["seq"]]
    assert seen[:7] == list(range(1, 8)) and seen[7:] == [seq for seq in left if seq > 7] and seen[7] > 8
    log.close()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, None),
        ({"OTEL_LOGS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, Collector("http://127.0.0.1:4318/v1/logs")),
        (
            {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "https://lake.example/",
             "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,x=y", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json",
             "OTEL_EXPORTER_OTLP_TIMEOUT": "500"},
            Collector("https://lake.example/v1/logs", "http/json", {"api-key": "a b", "x": "y"}, "", 0.5),
        ),
    ],
)  # fmt: skip
def test_receipts_are_sent_only_where_the_variables_name_logs(
    environment: dict[str, str], wanted: Collector | None
) -> None:
    assert collector(environment) == wanted
    assert "a b" not in repr(collector(environment))


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "file:///x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
     ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")],
)  # fmt: skip
def test_a_variable_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError):
        collector({"OTEL_LOGS_EXPORTER": "otlp", name: value})
