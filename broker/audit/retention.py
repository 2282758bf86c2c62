"""How long receipts are kept by themselves: by class, age and size, as a person agreed to; for ever where nobody did.

What is let go is on record before it is gone, and leaves the same signed stub as `audit prune` does.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from broker.audit.log import AuditLog
from broker.audit.prune import Pruned, prune
from broker.errors import BulkheadError
from broker.model import Fact, Origin
from broker.toml_text import read_document

RETENTION: Final = "retention.toml"
DAY: Final = 86_400.0
LOOK_SECONDS: Final = 900.0  # how often the clock is looked at; a laptop that slept is late by no more
_HINT: Final = "see the section on what was recorded in the README"
_log = logging.getLogger(__name__)


Class: TypeAlias = Literal["messages", "decisions", "network", "daemon"]


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KeepText(_Strict):
    """One `[[keep]]`: of these classes nothing older than `days`, and no more than `bytes`."""

    classes: Annotated[tuple[Class, ...], Field(min_length=1, strict=False)]

    days: Annotated[float | None, Field(gt=0, le=36_500, strict=False)] = None
    bytes: Annotated[int | None, Field(ge=0)] = None


class RetentionText(_Strict):
    """The whole document."""

    version: Literal[1]
    keep: Annotated[tuple[KeepText, ...], Field(max_length=16, strict=False)] = ()


def parse_retention(data: bytes) -> RetentionText:
    """Read the document.

    Raises:
        PolicyError: it is not acceptable; the line is named.
    """
    document, _ = read_document(RetentionText, data, RETENTION, _HINT)
    return document


class Retention:
    """Lets go of what is due, each day.  `forget` is told when segments were changed in their middle."""

    def __init__(self, documents: Documents, folder: Path, audit: AuditLog, forget: Callable[[], None]) -> None:
        self._documents = documents
        self._folder = folder
        self._audit = audit
        self._forget = forget

    async def run(self, clock: Callable[[], float] = time.time) -> None:
        """At once, then each day by the wall clock."""
        looked = float("-inf")
        while True:
            if not 0 <= clock() - looked < DAY:
                looked = clock()
                try:
                    await self.let_go(looked)
                except BulkheadError as problem:
                    _log.warning("no receipts were let go: %s", problem)
            await asyncio.sleep(LOOK_SECONDS)

    async def let_go(self, now: float) -> Pruned:
        """Everything that is due at `now`.

        Raises:
            BulkheadError: the document, the folder or the disk does not allow it.
        """
        data = self._documents.load(RETENTION)
        total = Pruned()
        for rule in parse_retention(data).keep if data is not None else ():
            older_than = now - rule.days * DAY if rule.days is not None else None
            due = await self._prune(rule, older_than, dry_run=True)
            if not due.entries:
                continue
            body = {**rule.model_dump(mode="json"), "entries": due.entries, "older_than": older_than}
            fact = Fact("daemon", "broker", target="audit-prune", body=body, durable=True)
            await self._audit.append_durable(Origin(), fact)
            done = await self._prune(rule, older_than, dry_run=False)
            total = Pruned(total.entries + done.entries, total.bytes + done.bytes, total.segments + done.segments)
        if total.entries:
            await asyncio.to_thread(self._forget)
        return total

    async def _prune(self, rule: KeepText, older_than: float | None, *, dry_run: bool) -> Pruned:
        return await asyncio.to_thread(
            prune, self._folder, self._audit.keys, rule.classes, older_than=older_than, keep=rule.bytes, dry_run=dry_run
        )
