"""Who is let in by HTTP, and who is sent away before anything of the request is looked at.

A web page can make a browser send requests to this machine; it cannot leave out the marks a browser puts on them,
choose the `Host` header, or know a bearer.  Each of the three alone keeps it out.  Pure.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.protocol.http_values import Headers

BROWSER_MARKS: Final = ("origin", "sec-fetch-site")
"""No program that speaks MCP for a person sends these; a browser puts one of them on all that a page makes it ask."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One bearer: a registered client, in one workspace.  `path` is the secret first part of its addresses."""

    client: str
    path: str
    bearer: str = field(repr=False)
    workspace: str = ""
    signs_in: bool = False
    """It has no bearer, and brings a pass that its application signed in for."""


class Passes(Protocol):
    """Knows the passes of guests that sign in."""

    def admits(self, guest: Guest, server: str, bearer: str) -> bool: ...
    def challenge(self, guest: Guest, server: str, *, refused: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a body to look for: status and a sentence."""

    status: int
    why: str
    headers: tuple[tuple[str, str], ...] = ()


def admit(
    target: str, headers: Headers, host: str, guests: Mapping[str, Guest], passes: Passes | None = None
) -> tuple[Guest, str] | Refusal:
    """The guest this request belongs to and the rest of its path.  `guests` are by their path."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    if found.get("host") != [host]:
        return Refusal(403, f"this is {host} and nothing else")
    if any(mark in found for mark in BROWSER_MARKS):
        return Refusal(403, "no web page is served here")
    first, _, rest = target.partition("?")[0].removeprefix("/").partition("/")
    guest = guests.get(first)
    kind, _, bearer = found.get("authorization", [""])[0].partition(" ")
    bearer, server = bearer.strip(), rest.partition("/")[0]
    challenge = "Bearer"
    if guest is not None and guest.signs_in:
        right = passes is not None and passes.admits(guest, server, bearer)
        challenge = passes.challenge(guest, server, refused=bool(bearer)) if passes is not None else challenge
    else:
        known = guest.bearer if guest is not None else "-" * 64
        right = hmac.compare_digest(known.encode(), bearer.encode("utf-8", "replace"))
    if guest is None or not right or kind.lower() != "bearer" or len(found["authorization"]) != 1:
        why = "this needs the bearer of a client; see: bulkhead endpoint"
        return Refusal(401, why, (("www-authenticate", challenge),))
    return guest, rest


def accepts(values: Sequence[str], kind: str) -> bool:
    """Whether `Accept` headers allow an answer of this media type."""
    family = kind.partition("/")[0] + "/*"
    given = {part.partition(";")[0].strip().lower() for value in values for part in value.split(",")}
    return not given.isdisjoint({kind, family, "*/*"})


def is_json(values: Sequence[str]) -> bool:
    """Whether a body says of itself that it is JSON; a form or a plain text of a web page says something else."""
    return [value.partition(";")[0].strip().lower() for value in values] == ["application/json"]
