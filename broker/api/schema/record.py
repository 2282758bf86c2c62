"""Receipts."""

from typing import Any, Literal

from pydantic import Field

from broker.api.schema.words import Words


class Receipt(Words):
    """One entry of the audit chain, as it stands in the log."""

    entry: dict[str, Any]


class Search(Words):
    """Receipts, newest last.  Every field narrows; `oldest_first` begins at the old end, `after` a number."""

    limit: int = Field(default=50, ge=1, le=10_000)
    client: str = ""
    server: str = ""
    session: str = ""
    tool: str = ""
    kind: str = ""
    rule: str = ""
    verdict: str = ""
    story: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None
    after: int = 0
    oldest_first: bool = False


class Prune(Words):
    """Receipts to let go of: of these classes, from before a time, and the oldest beyond so many bytes."""

    classes: list[Literal["messages", "decisions", "network", "daemon"]] = ["messages", "network"]
    older_than: float | None = None
    keep: int | None = Field(default=None, ge=0)
    dry_run: bool = False


class PrunedView(Words):
    entries: int
    bytes: int
    segments: int


class Receipts(Words):
    receipts: list[dict[str, Any]]
