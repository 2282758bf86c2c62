"""One configuration file of one client, as it was when read.  A value: reading is done in `found`."""

from dataclasses import dataclass, field
from pathlib import Path

from broker.clients.entries import Entry
from broker.clients.families import Family
from broker.model import ClientName


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """One configuration file of one client, as it was when read.

    `target` is `path` with links followed: the file that is edited.  `problem` says why the file is left alone as a
    whole; it then has no entries.  `project_files` belong to projects, not to the user: they are named, never imported.
    """

    family: Family
    label: str
    path: Path
    target: Path
    text: str = field(repr=False)
    entries: tuple[Entry, ...] = ()
    problem: str = ""
    project_files: tuple[Path, ...] = ()

    @property
    def client(self) -> ClientName:
        return self.family.client

    @property
    def importable(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.fate == "import")
