"""Whether a client still goes through Bulkhead: its files are looked at again whenever one of them changed.

Nothing is changed here; a person imports again, or does not.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.clients.apply import imported_clients
from broker.clients.found import config_paths, found_clients
from broker.clients.tree import printable
from broker.errors import BulkheadError


@dataclass(frozen=True, slots=True)
class Application:
    """One configuration file of a client.

    `through` entries go through Bulkhead, those in `past` could and do not; `came_back`: its servers were moved in
    before, so somebody put one there again.  `project_files` are those that projects brought along.
    """

    client: str
    label: str
    path: str
    problem: str
    through: int
    past: tuple[str, ...]
    came_back: bool
    project_files: tuple[str, ...]


class ClientWatch:
    """The files of one user's clients.  Blocking: look from a worker thread."""

    def __init__(self, home: Path, platform: str, environment: Mapping[str, str], backups: Path) -> None:
        self._home = home
        self._platform = platform
        self._environment = environment
        self._backups = backups
        self._stamp: tuple[object, ...] = ()
        self.seen: tuple[Application, ...] = ()

    def look(self) -> tuple[Application, ...]:
        """Every client's file as it is now."""
        stamp = self._now()
        if stamp != self._stamp:
            self.seen = self._read()
            self._stamp = stamp
        return self.seen

    def _now(self) -> tuple[object, ...]:
        """What tells that something changed, without reading it."""
        paths = config_paths(self._home, self._platform, self._environment)
        return tuple(_facts(path) for path in (*paths, self._backups, *map(Path, self._projects())))

    def _projects(self) -> list[str]:
        return [file for one in self.seen for file in one.project_files]

    def _read(self) -> tuple[Application, ...]:
        try:
            moved = imported_clients(self._backups)
        except BulkheadError:  # `undo` says what is wrong with them
            moved = ()
        found = found_clients(self._home, self._platform, self._environment)
        return tuple(
            Application(
                client=config.client,
                label=config.label,
                path=str(config.path),
                problem=config.problem,
                through=sum(entry.fate == "bulkhead" for entry in config.entries),
                past=(past := tuple(printable(entry.name) for entry in config.importable)),
                came_back=bool(past) and config.client in moved,
                project_files=tuple(map(str, config.project_files)),
            )
            for config in found
        )


def _facts(path: Path) -> tuple[object, ...]:
    try:
        facts = os.stat(path)
    except OSError:
        return (path,)
    return path, facts.st_mtime_ns, facts.st_size, facts.st_ino
