"""pipx run: which Python package a line names.  It is resolved and kept as uvx's packages are."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.git import is_git
from broker.trust.launchers.uvx import uvx_request
from broker.trust.launchers.words import Line, read_options

_SOURCE = "choose the index in your uv or pip configuration, where every tool of yours sees it"
_SWITCHES: Final = frozenset({"-q", "--quiet", "-v", "--verbose", "--no-cache"})
_VALUED: Final = {"--spec": "from", "--with": "with", "--python": "python"}
_REFUSED: Final = {
    "--index-url": _SOURCE,
    "-i": _SOURCE,
    "--pip-args": _SOURCE,
    "-e": "a folder has no version that stands still; name a package",
    "--editable": "a folder has no version that stands still; name a package",
    "--path": "give the script's absolute path behind python3",
    "--pypackages": "it runs what lies in the folder the client happens to be in",
    "--system-site-packages": "the system's packages would not be pinned",
}


def parse_pipx(line: Line) -> LaunchRequest:
    """`pipx run [--spec PACKAGE] [--with PACKAGE] [--python VERSION] PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    if line.words[1:2] != ("run",):
        word = line.words[1] if len(line.words) > 1 else ""
        raise LaunchLineError(f"pipx {word!r} is not a launch that can be pinned", hint="use `pipx run PACKAGE`")
    options = read_options("pipx run", line.words[2:], switches=_SWITCHES, valued=_VALUED, refused=_REFUSED)
    if options.rest[:1] and "@" in options.rest[0] and not is_git(options.rest[0]):
        hint = "use `pipx run NAME==VERSION`"
        raise LaunchLineError(f"{options.rest[0]!r} is not a Python package by name", hint=hint)
    return uvx_request(line, "pipx run", options)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"pipx": parse_pipx})
