"""Who comes to the door, and what an accepted link is to whoever holds its other end.  Values only."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

ALL: Final = "@all"
"""Stands where a server's name stands, for all of a client's servers as one; no server can be called so."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a shim says.  The secret decides who the client is; `cwd` is only shown."""

    server: str
    client: str
    secret: str
    cwd: str

    def __repr__(self) -> str:
        return f"Hello(server={self.server!r}, client={self.client!r})"


@dataclass(frozen=True, slots=True)
class Visit:
    """An accepted link: await `ended` for the reason, with "" for the client's own goodbye; `leave` ends it early."""

    link: str
    ended: Awaitable[str]
    leave: Callable[[], None]
