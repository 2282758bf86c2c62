"""What one server entry of a client means, and whether Bulkhead can stand in for it.

An entry moves only when everything in it can be carried faithfully; whatever we do not understand stays as it is,
with the reason.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.clients.families import EACH, Family, Keys
from broker.clients.tree import (
    Array,
    Document,
    Malformed,
    Node,
    Object,
    Scalar,
    item_name,
    named_item,
    place,
    printable,
)
from broker.secrecy import looks_secret

Fate: TypeAlias = Literal["import", "bulkhead", "stays"]
"""`import`: can be moved in.  `bulkhead`: goes through Bulkhead already.  The others are left alone, with a reason."""

_REMOTE_TYPES: Final = frozenset({"http", "sse", "streamable-http", "streamableHttp", "streamable_http", "remote"})
_OF_THE_CLIENT: Final = frozenset(
    {"type", "name", "display_name", "description", "disabled", "enabled", "timeout", "timeoutMs", "initTimeout",
     "trust", "startup_timeout_sec", "tool_timeout_sec", "alwaysAllow", "autoApprove", "disabledTools", "enabled_tools",
     "disabled_tools", "includeTools", "excludeTools", "tools", "gallery", "version", "bundled", "available_tools",
     "source"}
)  # fmt: skip
"""What a client does with a server wherever that runs; anything else may be about reaching it."""

_TIED: Final = MappingProxyType({
    "cwd": "sets a working folder (`cwd`), which a sandboxed server is not given yet",
    "working_directory": "sets a working folder (`working_directory`), which a sandboxed server is not given yet",
    "env_keys": "takes variables from the client's own keyring (`env_keys`), which Bulkhead does not read",
    "env_vars": "hands on the client's own variables (`env_vars`), which a sandboxed server is not given",
    "envFile": "loads variables from a file (`envFile`), which Bulkhead does not read",
    "dev": "is in development mode (`dev`): the editor watches and debugs the very process it starts",
    "sandboxEnabled": "asks for the client's own sandbox (`sandboxEnabled`), which would shut Bulkhead out",
})  # fmt: skip
"""Keys that make the client treat the command in a way our stand-in cannot follow."""

_SPREAD: Final = "is spread over the file (dotted keys, or tables apart), a form Bulkhead does not edit"
_FAST_FLAGS: Final = ("-I", "-S", "-E")


@dataclass(frozen=True, slots=True)
class Entry:
    """One server entry.  `where` is its path in the file; `argv` and `env` are set when it can be imported."""

    where: tuple[str, ...]
    fate: Fate
    reason: str = ""
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What the client calls the server: any text, so it goes to a screen only through `printable`."""
        return self.where[-1]

    @property
    def project(self) -> str:
        """The project folder an entry of local scope belongs to; empty for the user's own."""
        return self.where[1] if self.where[0] == "projects" else ""


def read_entries(document: Document, family: Family, home: str) -> tuple[Entry, ...]:
    """Every server entry of a client's file, in the file's order within each map.

    Raises:
        Malformed: a place that should hold an object does not.
    """
    return tuple(
        _read_entry((*where, name), node, family, home)
        for pattern in family.maps
        for where, servers in _maps(document, pattern, lists=family.lists)
        for name, node in _named(servers)
        if (*where, name) not in family.maps
    )


def goes_through_bulkhead(command: object, args: object) -> bool:
    """Whether a launch line is one of the two forms that `import` and the README write."""
    if not isinstance(command, str) or not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        return False
    if PurePath(command).name == "bulkhead":
        return args[:1] == ["connect"]
    match args:
        case [*flags, shim, _, "--client", _, "--home", _]:
            return tuple(flags) == _FAST_FLAGS and PurePath(shim).name == "shim.py"
        case _:
            return False


def is_ours(entry: Object, keys: Keys) -> bool:
    """Whether an entry goes through Bulkhead."""
    command, args = launch_line(entry, keys)
    return goes_through_bulkhead(command, args)


def launch_line(entry: Object, keys: Keys) -> tuple[str | None, list[str] | None]:
    """The command and its arguments; None for what is not a text, or not a list of texts."""
    if keys.args:
        return _text(entry.get(keys.command)), _texts(entry.get(keys.args))
    words = _texts(entry.get(keys.command))
    return (words[0], words[1:]) if words else (None, words)


def _maps(
    document: Document, pattern: Sequence[str], *, lists: bool
) -> Iterator[tuple[tuple[str, ...], Object | Array]]:
    """The objects or lists at `pattern`, with their paths.  A missing or null one is no objection, another value is."""
    found: list[tuple[tuple[str, ...], Object | Array]] = [((), _object(document, document.root, "the file"))]
    for depth, step in enumerate(pattern):
        below: list[tuple[tuple[str, ...], Object | Array]] = []
        for where, node in found:
            if not isinstance(node, Object):
                continue
            for key in [member.key for member in node.members] if step == EACH else [step]:
                value = node.get(key)
                if lists and isinstance(value, Array) and depth == len(pattern) - 1:
                    below.append(((*where, key), value))
                elif value is not None and not _is_null(value):
                    below.append(((*where, key), _object(document, value, json.dumps(key))))
        found = below
    yield from found


def _named(servers: Object | Array) -> Iterator[tuple[str, Node]]:
    """Each entry with its name.  An item without one, or with a name given twice, cannot be told from the others."""
    if isinstance(servers, Object):
        yield from ((member.key, member.value) for member in servers.members)
        return
    for item in servers.items:
        name = item_name(item) if isinstance(item, Object) else None
        if name is not None and named_item(servers, name) is item:
            yield name, item


def _object(document: Document, node: Node, what: str) -> Object:
    if not isinstance(node, Object):
        raise Malformed(f"{place(document.text, node.start)}: {what} should hold an object")
    return node


def _read_entry(where: tuple[str, ...], node: Node, family: Family, home: str) -> Entry:
    def stays(reason: str) -> Entry:
        return Entry(where, "stays", reason)

    if not isinstance(node, Object):
        return stays("is not an object")
    keys = family.keys
    command, args = launch_line(node, keys)
    kind = _text(node.get("type"))
    if goes_through_bulkhead(command, args):
        return Entry(where, "bulkhead")
    if kind in family.own:
        return stays("is a part of the client itself")
    urls = [key for key in keys.urls if node.get(key) is not None]
    if node.get(keys.command) is None and (urls or kind in _REMOTE_TYPES):
        return _read_elsewhere(where, node, family, home)
    if node.get(keys.command) is None:
        return stays("names no command")
    if urls:
        return stays("names both a command and a URL")
    if node.get("type") is not None and kind not in family.kinds:
        return stays(f"has a type that is not {' or '.join(sorted(family.kinds))}")
    if args is None:
        return stays(f"has {keys.args or keys.command} that are not a list of texts")
    if not command:
        return stays(f"has a {keys.command} that is not a text")
    for key, reason in _TIED.items():
        if _is_set(node.get(key)):
            return stays(reason)
    if _is_spread(node):
        return stays(_SPREAD)
    env = _environment(node.get(keys.env))
    if env is None:
        return stays(f"has an {keys.env} that is not names with texts or whole numbers")
    return _filled_in(where, (command, *args), env, family, home)


def _read_elsewhere(where: tuple[str, ...], node: Object, family: Family, home: str) -> Entry:
    """A server that runs elsewhere: its address stands for its launch line, its headers for its environment."""

    def stays(reason: str) -> Entry:
        return Entry(where, "stays", reason)

    keys, kind = family.keys, node.get("type")
    urls = [value for key in keys.urls if (value := _text(node.get(key)))]
    if kind is not None and _text(kind) not in _REMOTE_TYPES:
        return stays("has a type that is no transport Bulkhead speaks")
    if len(urls) != 1:
        return stays("does not name one address")
    said = {member.key for member in node.members if _is_set(member.value)}
    if others := said - _OF_THE_CLIENT - {*keys.urls, keys.headers}:
        return stays(f"has {printable(min(others)[:60])}, which Bulkhead does not know of a server that runs elsewhere")
    if looks_secret("url", urls[0]):
        return stays("has a secret in its address, where it would stay readable; give it as a header")
    if _is_spread(node):
        return stays(_SPREAD)
    headers = _environment(node.get(keys.headers))
    if headers is None:
        return stays(f"has {keys.headers} that are not names with texts or whole numbers")
    return _filled_in(where, (urls[0],), headers, family, home)


def _is_spread(node: Object) -> bool:
    return any(isinstance(below, Object) and below.style == "fixed" for below in _objects(node))


def _filled_in(where: tuple[str, ...], argv: tuple[str, ...], env: dict[str, str], family: Family, home: str) -> Entry:
    """The entry with the variables we can carry replaced; it stays when it holds others."""

    def fill(text: str) -> str:
        for variable in family.home_variables:
            text = text.replace(variable, home)
        return text

    argv = tuple(fill(arg) for arg in argv)
    env = {name: fill(value) for name, value in env.items()}
    texts = (*argv, *env, *env.values())
    for text in texts:
        unknown = family.variable.search(text)
        if unknown is not None:
            return Entry(where, "stays", f"uses {printable(unknown.group()[:60])}, which Bulkhead cannot fill in yet")
    if any("\0" in text or not _encodes(text) for text in texts) or any("=" in name or not name for name in env):
        return Entry(where, "stays", "holds characters that no command line or environment can carry")
    return Entry(where, "import", argv=argv, env=env)


def _objects(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Object():
            for member in node.members:
                yield from _objects(member.value)
        case Array():
            for item in node.items:
                yield from _objects(item)
        case Scalar():
            pass


def _text(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _texts(node: Node | None) -> list[str] | None:
    """A list of texts; a missing one is empty, anything else is None."""
    if _is_null(node):
        return []
    if not isinstance(node, Array):
        return None
    texts = [text for item in node.items if (text := _text(item)) is not None]
    return texts if len(texts) == len(node.items) else None


def _environment(node: Node | None) -> dict[str, str] | None:
    if _is_null(node):
        return {}
    if not isinstance(node, Object):
        return None
    values: dict[str, str] = {}
    for member in node.members:
        value = member.value.value if isinstance(member.value, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, str | int):  # True would pass for the number 1
            return None
        values[member.key] = str(value)
    return values


def _is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def _is_set(node: Node | None) -> bool:
    """Whether a key says anything: absent, null, false, and empty mean no."""
    match node:
        case None:
            return False
        case Scalar():
            return node.value not in (None, False, "")
        case Array():
            return bool(node.items)
        case Object():
            return bool(node.members)


def _encodes(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can escape but no process can be given."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
