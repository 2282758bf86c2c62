"""What a person is asked before a sign-in, and what they are shown to go on with it.  Values only."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from broker.auth.challenge import Bearer
from broker.auth.scopes import Scopes

Way: TypeAlias = Literal["browser", "device"]
Reason: TypeAlias = Literal["sign in", "more rights", "another authorization server", "without a person"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person is asked before a sign-in: all of it is shown."""

    client: str
    server: str
    url: str
    issuer: str
    host: str
    """Where the browser will be sent, in full."""
    scopes: Scopes
    new_scopes: Scopes
    reason: Reason
    before: str = ""
    """The authorization server that was signed in at before, if it is another one now."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the person needs to go on: an address, or on another machine an address and a code."""

    url: str = field(repr=False)
    code: str = ""
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose sign-in it is, and why."""

    client: str
    server: str
    url: str
    challenge: Bearer
    way: Way = "browser"
    anew: bool = False
    """A person asked for it: the server may name another authorization server than last time."""
