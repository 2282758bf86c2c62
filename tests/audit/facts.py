"""Facts to record, and logs to record them in."""

from pathlib import Path
from typing import Final

from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.redact import Redactor
from broker.audit.segments import segments
from broker.model import Decision, Fact, JsonObject, Origin, Verdict

VAULT: Final = AuditKeys(b"integrity key of this test home!")
KEY: Final = VAULT.public
NOON: Final = 1_750_000_000.25
ORIGIN: Final = Origin("cursor", "files", "s-1", "l-1", "pin-1", "A")


def noon() -> float:
    return NOON


def called(tool: str = "read_file", body: JsonObject | None = None, *, durable: bool = False) -> Fact:
    decision = Decision(Verdict.ALLOW, "agreed-server", "the client may use this server")
    return Fact("request", "client", "tools/call", tool, 1, decision, 120, "ab" * 32, body, durable)


def opened(folder: Path, *, redactor: Redactor | None = None, segment_limit: int = 1 << 24) -> AuditLog:
    return AuditLog.open(folder, VAULT, noon, redactor, segment_limit=segment_limit, steady=noon)


def written(folder: Path, count: int, *, segment_limit: int = 1 << 24) -> list[bytes]:
    """A closed log of `count` entries; returns their lines."""
    log = opened(folder, segment_limit=segment_limit)
    lines = [log.append(ORIGIN, called(f"tool_{number}", {"number": number})).line for number in range(1, count + 1)]
    log.close()
    return lines


def lines_of(folder: Path) -> list[bytes]:
    return [line for segment in segments(folder) for line in segment.read_bytes().splitlines(keepends=True)]
