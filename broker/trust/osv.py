"""What an advisory in OSV's format says, and whether one version of one package is meant by it.

Whatever cannot be compared counts as meant: a warning too many is looked at, one too few is not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from broker.errors import TrustError
from broker.trust.launchers.uvx import normal
from broker.trust.versions import order

Ecosystem: TypeAlias = Literal["npm", "PyPI"]
ECOSYSTEMS: Final[tuple[Ecosystem, ...]] = ("npm", "PyPI")
MAX_SUMMARY: Final = 200  # characters a person is shown; the id leads to the rest
MAX_NAME: Final = 214  # npm's own bound; PyPI's names are shorter
_MALWARE: Final = "MAL-"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_RANK: Final = {"introduced": 0, "fixed": 1, "last_affected": 2, "limit": 3}

Event: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Affected:
    """One package an advisory is about.  `ranges` hold OSV's events, `("introduced", "1.0.0")` and so on."""

    ecosystem: Ecosystem
    name: str
    versions: tuple[str, ...] = ()
    ranges: tuple[tuple[Event, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One advisory.  `modified` is its own word on its age; of two with one id the later counts."""

    id: str
    modified: str
    withdrawn: bool
    malware: bool
    summary: str
    affected: tuple[Affected, ...]


def read_record(data: bytes) -> Record:
    """Read one record; packages of other ecosystems are left out.

    Raises:
        TrustError: it is no such record.
    """
    try:
        record = json.loads(data)
        id, modified = record["id"], record["modified"]
        aliases = [str(alias) for alias in record.get("aliases") or []]
        affected = [each for entry in record.get("affected") or [] if (each := _affected(entry)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise TrustError("an advisory is not in OSV's format") from cause
    if not isinstance(id, str) or _ID.fullmatch(id) is None or not isinstance(modified, str):
        raise TrustError("an advisory has no id, or no date")
    said = record.get("summary") or record.get("details") or ""
    return Record(
        id=id,
        modified=modified[:40],
        withdrawn=bool(record.get("withdrawn")),
        malware=any(name.startswith(_MALWARE) for name in (id, *aliases)),
        summary=" ".join(str(said)[: 4 * MAX_SUMMARY].split())[:MAX_SUMMARY],
        affected=tuple(affected),
    )


def known_as(ecosystem: Ecosystem, name: str) -> str:
    """The one spelling of a package's name."""
    return normal(name) if ecosystem == "PyPI" else name


def ecosystems_of(integrity: str) -> tuple[Ecosystem, ...]:
    """Where a package with this integrity comes from: each registry has its own way to write one."""
    if integrity.startswith("sha512-"):
        return ("npm",)
    return ("PyPI",) if integrity.startswith("sha256:") else ECOSYSTEMS


def affects(affected: Affected, version: str) -> bool:
    """Whether this version is among the affected ones."""
    if version in affected.versions:
        return True
    if not affected.versions and not affected.ranges:
        return True  # nothing narrows it down
    key = order(affected.ecosystem, version)
    if key is None:
        return bool(affected.ranges)
    if any(_inside(affected.ecosystem, key, events) for events in affected.ranges):
        return True
    return affected.ecosystem == "PyPI" and any(order("PyPI", each) == key for each in affected.versions)


def _affected(entry: Mapping[str, Any]) -> Affected | None:
    package = entry.get("package") or {}
    ecosystem, name = package.get("ecosystem"), package.get("name")
    if ecosystem not in ECOSYSTEMS or not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        return None
    return Affected(
        ecosystem,
        known_as(ecosystem, name),
        tuple(str(version) for version in entry.get("versions") or ()),
        tuple(
            tuple((str(kind), str(at)) for event in each.get("events") or () for kind, at in event.items())
            for each in entry.get("ranges") or ()
            if each.get("type") != "GIT"  # commits are not what a registry's version says
        ),
    )


def _inside(ecosystem: Ecosystem, key: tuple[Any, ...], events: tuple[Event, ...]) -> bool:
    """OSV's own rule: walk the events from old to new; the last one at or before the version decides."""
    marks: list[tuple[bool, tuple[Any, ...], int]] = []
    limits: list[bool] = []
    for kind, at in events:
        mark = None if at in {"0", "*"} else order(ecosystem, at)
        if kind not in _RANK or (mark is None and at not in {"0", "*"}):
            return True
        if kind == "limit":
            limits.append(mark is None or key < mark)
        else:
            marks.append((mark is not None, mark or (), _RANK[kind]))
    if limits and not any(limits):
        return False
    hit = False
    for known, mark, rank in sorted(marks):
        if rank == _RANK["introduced"] and (not known or key >= mark):
            hit = True
        elif known and ((rank == _RANK["fixed"] and key >= mark) or (rank == _RANK["last_affected"] and key > mark)):
            hit = False
    return hit
