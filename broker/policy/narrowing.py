"""How far a yes for always reaches: to the path, the repository, the host that the call named, and to no other.

Which arguments say where a call goes is told by their names, and by values that are paths or addresses.  A call that
names its destinations where this cannot look, or as nobody could read them, gets a yes for exactly itself.  Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from broker.model import JsonObject
from broker.policy.constraints import Answer, Constraint

PLACE: Final = re.compile(
    r"(?:to|cc|bcc|recipients?|receivers?|e?mail(?:_?address(?:es)?)?|address|ur[li]|link|endpoint|webhook(?:_?url)?|"
    r"host(?:_?name)?|domain|(?:channel|chat|room|user|team|project|page|parent)(?:_?(?:id|name|key))?|phone(?:_?number)?|"
    r"path|file(?:_?(?:path|name))?|folder|directory|dest(?:ination)?|target|repo(?:sitory)?|source|owner|branch|bucket|table)s?",
    re.IGNORECASE,
)
"""Names of arguments that say where a call goes."""
MAX_NAME: Final = 80
MAX_VALUE: Final = 512  # characters of a destination that a person reads
MAX_LISTED: Final = 16
MAX_LOOKED: Final = 1024  # values in a call's arguments


@dataclass(frozen=True, slots=True)
class Reach:
    """What a lasting yes holds for: calls whose every destination is one of `where`, or only the `exact` same call."""

    where: tuple[Constraint, ...] = ()
    exact: bool = False

    def covers(self, arguments: JsonObject) -> bool:
        """Whether a call goes nowhere but where this reaches.  A call of unclear destination is covered by nothing."""
        if self.exact:
            return False  # the digest of the call says that
        other = reach_of(arguments)
        if other.exact or not {one.argument for one in other.where} <= {one.argument for one in self.where}:
            return False
        return all(one.answer(arguments) is Answer.YES for one in self.where)

    def __str__(self) -> str:
        """For a person."""
        if self.exact:
            return "for exactly these arguments"
        if not self.where:
            return "whatever the arguments, as long as none of them says where the call goes"
        return "where " + " and ".join(map(_said, self.where))


def reach_of(arguments: JsonObject) -> Reach:
    """How far a yes to a call with these arguments reaches."""
    found: list[Constraint] = []
    objects = _objects(arguments)
    if objects is None:
        return Reach(exact=True)
    for part in objects:
        for name, value in part.items():
            if value is None or value == "" or not _says_where(name, value):
                continue
            constraint = _constraint(name, value) if part is arguments and _plain_name(name) else None
            if constraint is None or len(found) >= MAX_LISTED:
                return Reach(exact=True)
            found.append(constraint)
    return Reach(tuple(found))


def _says_where(name: str, value: Any) -> bool:
    """By its name; or by a value that is plainly a path or an address, whatever it is called."""
    if len(name) <= MAX_NAME and PLACE.fullmatch(name):
        return True
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and (one.startswith(("/", "~/")) or "://" in one[:16]) for one in values)


def _plain_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable() and "." not in name


def _readable(value: str) -> bool:
    return len(value) <= MAX_VALUE and value.isprintable()


def _constraint(name: str, value: Any) -> Constraint | None:
    """What keeps a later call to this destination; None where nothing can that a person would understand."""
    if isinstance(value, list):
        plain = 0 < len(value) <= MAX_LISTED and all(isinstance(one, str) and _readable(one) for one in value)
        return Constraint(name, "value", (value,)) if plain else None
    if isinstance(value, int):
        return Constraint(name, "value", (value,)) if -(1 << 63) <= value < 1 << 63 else None
    if not isinstance(value, str) or not _readable(value):
        return None
    for wanted in (Constraint(name, "under", (value.rstrip("/") or "/",)), _at_host(name, value)):
        if wanted is not None and wanted.answer({name: value}) is Answer.YES:
            return wanted
    return Constraint(name, "value", (value,))


def _at_host(name: str, value: str) -> Constraint | None:
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return None
    return Constraint(name, "host", (host,)) if host and parts.scheme in ("http", "https") else None


def _objects(arguments: JsonObject) -> list[Mapping[str, Any]] | None:
    """Every object in the arguments, themselves first; None where there is more than is looked at."""
    found: list[Mapping[str, Any]] = []
    waiting: list[object] = [arguments]
    for one in waiting:  # it grows while it is read
        if len(waiting) > MAX_LOOKED:
            return None
        if isinstance(one, Mapping):
            found.append(one)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _said(one: Constraint) -> str:
    shown = ", ".join(str(value) for value in one.wanted)
    match one.kind:
        case "under":
            return f"{one.argument} is {shown} or below it"
        case "host":
            return f"{one.argument} is at {shown}"
        case _:
            return f"{one.argument} is {shown}"
