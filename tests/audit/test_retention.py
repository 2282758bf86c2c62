"""Receipts are kept as long as a person agreed, and what is let go is on record and leaves a chain that verifies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker.audit.log import AuditLog
from broker.audit.retention import DAY, RETENTION, Retention, parse_retention
from broker.audit.segments import segments
from broker.audit.verify import verify
from broker.errors import PolicyError
from broker.model import Fact
from tests.audit.facts import KEY, NOON, ORIGIN, VAULT, called, lines_of

MONTH: Final = b"""version = 1
[[keep]]
classes = ["messages"]
days = 30
[[keep]]
classes = ["network"]
bytes = 2000
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Agreed:
    def __init__(self, text: bytes | None) -> None:
        self.text = text

    def load(self, name: str) -> bytes | None:
        assert name == RETENTION
        return self.text


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    """Two entries a day, a message and a connection, for forty days; a few days to a segment."""
    now = [NOON]
    made = AuditLog.open(tmp_path, VAULT, lambda: now[0], segment_limit=6000, steady=lambda: now[0])
    for _ in range(40):
        made.append(ORIGIN, called())
        made.append(ORIGIN, Fact("egress", "server", "connect", "api.test:443"))
        now[0] += DAY
    yield made
    made.close()


@pytest.mark.claim("C48")
async def test_what_is_older_or_more_than_agreed_is_let_go_by_itself_and_on_record_before(
    tmp_path: Path, log: AuditLog
) -> None:
    told: list[int] = []
    done = await Retention(Agreed(MONTH), tmp_path, log, lambda: told.append(log.seq)).let_go(NOON + 40 * DAY)
    entries = [json.loads(line) for line in lines_of(tmp_path)]
    messages = [entry["seq"] for entry in entries if entry["kind"] == "request"]
    assert min(messages) == 21, "the last thirty days are left"
    rest = b"".join(line for line in lines_of(tmp_path) if json.loads(line)["kind"] == "egress")
    last = segments(tmp_path)[-1].stat().st_size
    assert len(rest) < 2000 + last and done.entries == 82 - len(entries)
    reasons = [entry for entry in entries if entry["target"] == "audit-prune"]
    assert [entry["body"]["classes"] for entry in reasons] == [["messages"], ["network"]]
    assert all(entry["durable"] for entry in reasons) and told == [82]
    report = verify(tmp_path, KEY)
    assert report.broken is None and (report.entries, report.pruned) == (82, done.entries)


async def test_nothing_is_let_go_twice_or_where_nobody_agreed_to_it(tmp_path: Path, log: AuditLog) -> None:
    agreed = Agreed(None)
    retention = Retention(agreed, tmp_path, log, lambda: None)
    assert (await retention.let_go(NOON + 4000 * DAY)).entries == 0
    agreed.text = b"version = 1\n[[keep]]\nclasses = ['messages']\ndays = 10"
    assert (await retention.let_go(NOON + 40 * DAY)).entries > 0
    seq = log.seq
    assert (await retention.let_go(NOON + 40 * DAY)).entries == 0 and log.seq == seq


@pytest.mark.parametrize(
    "text", [b"", b"version = 2", b"version = 1\n[[keep]]\nclasses = []", b"version = 1\nmore = 1", b"\xff",
             b"version = 1\n[[keep]]\nclasses = ['secrets']"]
)  # fmt: skip
async def test_a_document_that_is_not_understood_lets_nothing_go(tmp_path: Path, log: AuditLog, text: bytes) -> None:
    before = lines_of(tmp_path)
    with pytest.raises(PolicyError, match=r"retention\.toml"):
        parse_retention(text)
    with pytest.raises(PolicyError, match=r"retention\.toml"):
        await Retention(Agreed(text), tmp_path, log, lambda: None).let_go(NOON + 4000 * DAY)
    assert lines_of(tmp_path) == before
