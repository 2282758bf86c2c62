"""Servers that run elsewhere: an address, or mcp-remote, which only carries messages to one.

What is pinned is where it is and what it offers.  Headers may hold secrets, so no line that is kept holds one.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.words import Line, origin

CARRIER: Final = "mcp-remote"
_HEADER: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*)")
_SWITCHES: Final = frozenset({"--allow-http", "--debug", "--silent"})
_VALUED: Final = frozenset({"--transport", "--host", "--auth-timeout", "--resource"})
"""How mcp-remote signs in and which transport it tries first: Bulkhead does that by itself."""


def is_address(word: str) -> bool:
    """Whether a launch line is the address of a server, and no command."""
    return word.startswith(("https://", "http://")) and bool(origin(word))


def parse(line: Line) -> LaunchRequest:
    """An address alone.

    Raises:
        LaunchLineError: there are words behind it.
    """
    if len(line.words) > 1:
        raise LaunchLineError(
            f"{line.words[1]!r:.80} behind an address means nothing",
            hint="bulkhead add NAME --env HEADER=VALUE -- https://...",
        )
    return _to(line.words[0], line.variables)


def behind(request: LaunchRequest) -> LaunchRequest:
    """The server that a line of mcp-remote leads to.

    Raises:
        LaunchLineError: a word of it is not understood.
    """
    if not request.args or not is_address(request.args[0]):
        raise LaunchLineError(f"{CARRIER} needs the address of a server", hint="add that server by its own command")
    headers: dict[str, str] = {}
    words = list(request.args[1:])
    if words and words[0].isdigit():
        del words[0]  # where its own sign-in would listen
    while words:
        word = words.pop(0)
        if word in _SWITCHES:
            continue
        name, equals, value = word.partition("=")
        if name not in _VALUED | {"--header"} or not (equals or words):
            raise LaunchLineError(f"{CARRIER} with {word!r:.80} is not understood", hint=f"add {request.args[0]} alone")
        value = value if equals else words.pop(0)
        if name == "--header":
            said = _HEADER.fullmatch(value)
            if said is None:
                raise LaunchLineError(f"{CARRIER} has a --header that is none", hint="write it as NAME:VALUE")
            headers[said[1]] = said[2]
    return replace(_to(request.args[0], tuple(filled(headers, dict(request.env)).items())), runner=CARRIER)


def filled(headers: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Headers with `${NAME}` replaced by the variables there are."""
    return {
        name: re.sub(r"\$\{(\w+)\}", lambda found: variables.get(found[1], found[0]), value)
        for name, value in headers.items()
    }


def _to(url: str, headers: tuple[tuple[str, str], ...]) -> LaunchRequest:
    return LaunchRequest(argv=(url,), runner="address", kind="remote", requirement=url, env=headers)
