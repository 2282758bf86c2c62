"""What a check of `bulkhead doctor` says: what was looked at, how it is, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One row.  Whatever is not `ok` says what to do; `unenforced`: no server can be boxed in on this machine."""

    what: str
    state: State
    said: str
    fix: str = ""
    unenforced: bool = False


Check: TypeAlias = Callable[[], list[Finding]]
"""Looks, changes nothing, and raises BulkheadError or OSError where it cannot look."""


@dataclass(frozen=True, slots=True)
class Named:
    """A check with the seconds it may take."""

    what: str
    check: Check
    limit: float
