"""What a tool or prompt of one server is called where a client sees all its servers as one: `server__tool`.

A name depends on nothing but the two it is made of, so it stays the same whichever other servers there are; no server
can choose a name for a tool of its own that would be taken for another server's.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Final

from broker.model import ServerName

MAX_NAME: Final = 48  # models take 64, and clients put up to 16 in front: `mcp__bulkhead__` is the longest seen
JOINT: Final = "__"

_FINE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
_MARK: Final = 12  # hex digits
_MARKED: Final = re.compile(rf"-[0-9a-f]{{{_MARK}}}")


def shown(server: str, name: str) -> str:
    """The name a client sees: both as they are where that can be read in one way only, else cut and marked."""
    plain = f"{server}{JOINT}{name}"
    unmistakable = JOINT not in server and not server.endswith("_") and not _MARKED.fullmatch(plain[-_MARK - 1 :])
    if name and unmistakable and len(plain) <= MAX_NAME and _FINE.fullmatch(plain):
        return plain
    mark = hashlib.sha256(json.dumps([server, name]).encode()).hexdigest()[:_MARK]
    return f"{_ODD.sub('-', plain)[: MAX_NAME - _MARK - 1]}-{mark}"


def meant(
    name: str, servers: Iterable[ServerName], names_of: Callable[[ServerName], Iterable[str]]
) -> tuple[ServerName, str] | None:
    """Whose name this is, and what its server calls it; None if it is nobody's.

    `names_of` is asked only for a name that does not say itself what it was made of.
    """
    known = list(servers)
    server, joint, own = name.partition(JOINT)
    if joint and server in known and shown(server, own) == name:
        return ServerName(server), own
    if not _MARKED.fullmatch(name[-_MARK - 1 :]):
        return None
    return next(((each, own) for each in known for own in names_of(each) if shown(each, own) == name), None)
