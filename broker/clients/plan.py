"""From a client's file to what an import would do: servers to register, entries to replace, a diff to show.

Pure: nothing is written and nothing is registered here.  The plan carries secrets (environment values) for the caller
to store; neither its `repr` nor its diff shows them.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.clients.configs import ClientConfig
from broker.clients.diff import masked_diff
from broker.clients.entries import Entry, read_entries
from broker.clients.notation import read
from broker.clients.rewrite import ShimEntry, moved_entry
from broker.clients.tree import Document, Edit, Object, edited, node_at, printable
from broker.errors import ConfigError
from broker.model import ServerName

MAX_NAME: Final = 64
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class ServerLine:
    """How a server is launched.  Two entries with equal lines are one server."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Replacement:
    """One entry that moves: the server it becomes, and the entry's new text.

    `known` says that the server is registered already (or comes from an earlier entry) with this very line.
    `note` says why the server is not called what the entry is.
    """

    entry: Entry
    server: ServerName
    line: ServerLine
    text: str = field(repr=False)
    known: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import of one file would do.  Only `plan_import` and `only` make one."""

    found: ClientConfig
    replacements: tuple[Replacement, ...]
    after: str = field(repr=False)
    diff: str

    @property
    def servers(self) -> Mapping[ServerName, ServerLine]:
        """What the caller registers (and stores the environment of) before it applies the plan."""
        return {one.server: one.line for one in self.replacements if not one.known}

    @property
    def left(self) -> tuple[Entry, ...]:
        """Entries that stay as they are, each with its reason."""
        return tuple(entry for entry in self.found.entries if entry.fate == "stays")

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(one.note for one in self.replacements if one.note)

    def only(self, servers: Collection[str]) -> "ImportPlan":
        """The same plan for these servers alone: the others could not be registered, so their entries stay."""
        return _planned(
            _document(self.found), self.found, tuple(one for one in self.replacements if one.server in servers)
        )


def plan_import(
    found: ClientConfig,
    shim: Callable[[str], ShimEntry],
    registered: Mapping[ServerName, ServerLine] | None = None,
) -> ImportPlan:
    """Plan to move every importable entry of `found` in.

    `registered` are the servers there are already, those of earlier plans included: an entry with the same launch line
    becomes the same server, one with another line gets a name of its own.

    Raises:
        ConfigError: the file has a problem, or what `shim` makes cannot be written into it.
    """
    if found.problem:
        raise ConfigError(f"{found.path} {found.problem}", hint="mend the file and import again; it was left untouched")
    if not found.importable:
        return ImportPlan(found, (), found.text, "")
    document = _document(found)
    taken = {name.casefold(): (name, line) for name, line in (registered or {}).items()}
    replacements: list[Replacement] = []
    for entry in found.importable:
        line = ServerLine(entry.argv, dict(entry.env))
        name, known = _name_for(entry, line, found.client, taken)
        taken[name.casefold()] = (name, line)
        text = moved_entry(found.text, _node_of(document, entry), shim(name), found.family)
        replacements.append(Replacement(entry, name, line, text, known, _note(entry, name)))
    return _planned(document, found, tuple(replacements))


def server_name(wanted: str) -> ServerName:
    """The name a client gave a server, in the letters our names allow."""
    name = _NOT_IN_NAMES.sub("-", wanted).lstrip("_.-")[:MAX_NAME].rstrip("-")
    return ServerName(name or "server")


def _planned(document: Document, found: ClientConfig, replacements: tuple[Replacement, ...]) -> ImportPlan:
    if not replacements:
        return ImportPlan(found, (), found.text, "")
    nodes = [(one, _node_of(document, one.entry)) for one in replacements]
    edits = [Edit(node.start, node.end, one.text) for one, node in nodes]
    moved = {one.entry.where for one in replacements}
    after = _read_back(found, edited(found.text, edits), moved)
    return ImportPlan(found, replacements, after.text, masked_diff(found, document, after, edits, moved))


def _read_back(found: ClientConfig, after: str, moved: set[tuple[str, ...]]) -> Document:
    """Read the new text as the client would: the moved entries go through Bulkhead, and nothing else changed."""
    try:
        after.encode()
        document = read(after, found.path, comments=found.family.comments)
        entries = read_entries(document, found.family, "")
    except (UnicodeEncodeError, ConfigError) as cause:
        raise ConfigError(
            f"{found.path} would not be readable after the import", hint="it was left untouched"
        ) from cause
    expected = {entry.where: "bulkhead" if entry.where in moved else entry.fate for entry in found.entries}
    if {entry.where: entry.fate for entry in entries} != expected:
        raise ConfigError(f"{found.path} would not say what the import means", hint="it was left untouched")
    return document


def _document(found: ClientConfig) -> Document:
    return read(found.text, found.path, comments=found.family.comments)


def _node_of(document: Document, entry: Entry) -> Object:
    node = node_at(document.root, entry.where)
    if not isinstance(node, Object):
        raise ConfigError(f"the entry {printable(entry.name)} is not where it was read")
    return node


def _name_for(
    entry: Entry, line: ServerLine, client: str, taken: Mapping[str, tuple[ServerName, ServerLine]]
) -> tuple[ServerName, bool]:
    """The first free name, or the name of the server that is this one already."""
    wanted = server_name(entry.name)
    number = 0
    while True:
        suffix = "" if number == 0 else f"-{client}" if number == 1 else f"-{client}-{number}"
        name = ServerName(wanted[: MAX_NAME - len(suffix)] + suffix)
        holder = taken.get(name.casefold())  # names become file names, and some file systems ignore case
        if holder is None:
            return name, False
        if holder[1] == line:
            return holder[0], True
        number += 1


def _note(entry: Entry, name: ServerName) -> str:
    if name == entry.name:
        return ""
    if name == server_name(entry.name):
        return f"{printable(entry.name)} is called {name} in Bulkhead, whose names are letters, digits, _, . and -"
    return f"{printable(entry.name)} is called {name} in Bulkhead: another server has the shorter name"
