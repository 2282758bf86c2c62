"""Lessons: for a while, a server's starts are watched, and what it asked for in vain becomes proposals for a person.

A watched server has no more than otherwise: where it was granted no host it gets a network that leads nowhere, so that
it is seen whom it asks for.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from broker.errors import DeskError, SandboxError
from broker.model import Grants, ServerName
from broker.sandbox.eyes import Seen
from broker.sandbox.places import NETWORKS, check_places, file_system, mounted
from broker.sandbox.plan import check_grant
from broker.sandbox.proposals import PROJECT_MARKS, Kind, Outside, Proposals, propose
from broker.sandbox.syscalls import SORTS, Sort

NOWHERE: Final = "nowhere.invalid"
"""A host that is granted and cannot be there (RFC 6761): asking for any other is seen, and denied."""
MAX_SECONDS: Final = 3600
AWAY: Final = NETWORKS | {"autofs"}


@dataclass(frozen=True, slots=True)
class Refused:
    """Calls of one sort that the filter refused, and how often in all."""

    sort: Sort
    calls: tuple[str, ...]
    times: int


@dataclass(slots=True)
class Lesson:
    """What was seen of one server since `began` (seconds since the epoch); no start is watched after `ends`."""

    server: ServerName
    began: float
    ends: float
    seen: Seen = field(default_factory=lambda: Seen({}))
    starts: int = 0

    def grants(self, grants: Grants) -> Grants:
        """What a watched start gets; counts it."""
        self.starts += 1
        return replace(grants, hosts=grants.hosts or (NOWHERE,))

    def refused(self) -> list[Refused]:
        """The system calls it was refused so far, by their sort."""
        counted = dict(self.seen.calls)
        named = {sort: tuple(call for call in sort.calls if call in counted) for sort in SORTS}
        return [Refused(sort, calls, sum(counted[call] for call in calls)) for sort, calls in named.items() if calls]


class Lessons:
    """The lessons that are going on, at most one for a server."""

    def __init__(self, home: Path, protected: Callable[[], list[Path]]) -> None:
        """`protected` is what no server may be granted, looked up when proposals are made."""
        self._home = home
        self._protected = protected
        self._open: dict[ServerName, Lesson] = {}

    def open(self, server: ServerName, seconds: int) -> Lesson:
        """Watch its starts from now on, in the place of an earlier lesson."""
        lesson = Lesson(server, time.time(), time.monotonic() + min(seconds, MAX_SECONDS))
        self._open[server] = lesson
        return lesson

    def of(self, server: ServerName) -> Lesson | None:
        """The lesson under which a start is watched, if there is one."""
        lesson = self._open.get(server)
        return lesson if lesson is not None and time.monotonic() < lesson.ends else None

    def close(self, server: ServerName) -> Lesson:
        """End it.

        Raises:
            DeskError: there is none.
        """
        lesson = self._open.pop(server, None)
        if lesson is None:
            raise DeskError(f"{server} is not being watched", hint=f"bulkhead sandbox learn {server}", code="unknown")
        return lesson

    def proposals(self, lesson: Lesson) -> Proposals:
        """What a person could grant.  Looks at the files of this machine."""
        protected, mounts = self._protected(), mounted()

        def kind(path: Path) -> Kind:
            far = file_system(path, mounts) in AWAY  # only looking would be an errand that a server sends us on
            return "nothing" if far else _kind(path)

        def grantable(path: Path, writable: bool) -> bool:
            try:
                check_grant(lesson.server, path, writable, home=self._home.resolve(), forbidden=protected,
                            realpath=Path.resolve)  # fmt: skip
                check_places(lesson.server, Grants(write=(path,)) if writable else Grants(read=(path,)))
            except SandboxError:
                return False
            return True

        return propose(dict(lesson.seen.paths), Outside(self._home.resolve(), kind, grantable, _is_project))


def _kind(path: Path) -> Kind:
    """What it is to the user; a path through a link is nothing that a grant of it could show."""
    try:
        mode = os.lstat(path).st_mode
        if path.resolve() != path:
            return "nothing"
    except (OSError, ValueError):
        return "nothing"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "nothing"


def _is_project(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in PROJECT_MARKS)
