"""What a server says with 401 or 403, read by the grammar of RFC 9110 section 11 and by nothing looser.

A word inside of a quoted text is no parameter, and two challenges that contradict each other are no challenge.  Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.auth.problems import AuthError
from broker.auth.scopes import Scopes, scopes_of

MAX_CHALLENGE: Final = 8192
MAX_CHALLENGES: Final = 16

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BETWEEN: Final = re.compile(r"[ \t]*(?:,[ \t]*)*")
_PARAMETER: Final = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"
    r"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|\"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)\")"
    r"(?=[ \t]*(?:,|\Z))"
)
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|\Z))")
_END: Final = re.compile(r"[ \t]*(?:,|\Z)")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme and its parameters, names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a bearer challenge asks for.  A server that says nothing says all of this with nothing."""

    resource_metadata: str = ""
    scopes: Scopes = ()
    error: str = ""


def parse(values: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of all `WWW-Authenticate` headers.

    Raises:
        AuthError: one of them is not of the grammar.
    """
    found: list[Challenge] = []
    for text in values:
        if len(text) > MAX_CHALLENGE:
            raise AuthError("challenge")
        found += _challenges(text)
    if len(found) > MAX_CHALLENGES:
        raise AuthError("challenge")
    return tuple(found)


def bearer(values: Iterable[str]) -> Bearer:
    """What the one bearer challenge says; nothing, where there is none.

    Raises:
        AuthError: it cannot be read, or there are several that differ.
    """
    ours = {challenge for challenge in parse(values) if challenge.scheme == "bearer"}
    if len(ours) > 1:
        raise AuthError("challenge")
    said = dict(ours.pop().parameters) if ours else {}
    return Bearer(said.get("resource_metadata", ""), scopes_of(said.get("scope", "")), said.get("error", "")[:64])


def _challenges(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = _skip(_BETWEEN, text, 0)
    while at < len(text):
        scheme = _TOKEN.match(text, at)
        if scheme is None:
            raise AuthError("challenge")
        at = scheme.end()
        parameters: list[tuple[str, str]] = []
        if _END.match(text, at) is None:
            if text[at] not in " \t":
                raise AuthError("challenge")
            at = _skip(re.compile(r"[ \t]+"), text, at)
            single = None if _PARAMETER.match(text, at) else _TOKEN68.match(text, at)
            if single is not None:
                at = single.end()
            else:
                at, parameters = _parameters(text, at)
        names = [name for name, _ in parameters]
        if len(set(names)) != len(names):
            raise AuthError("challenge")
        found.append(Challenge(scheme[0].lower(), tuple(parameters)))
        at = _skip(_BETWEEN, text, at)
    return found


def _parameters(text: str, at: int) -> tuple[int, list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []
    while (parameter := _PARAMETER.match(text, at)) is not None:
        name, plain, quoted = parameter.groups()
        found.append((name.lower(), plain if plain is not None else _ESCAPED.sub(r"\1", quoted)))
        at = parameter.end()
        following = _skip(_BETWEEN, text, at)
        if _PARAMETER.match(text, following) is None:
            return at, found
        at = following
    raise AuthError("challenge")


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    matched = pattern.match(text, at)
    return matched.end() if matched is not None else at
