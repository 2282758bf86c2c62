"""bun: `bunx` and `bun x` name an npm package, `bun run FILE` a file of a local project.

Packages run with node, as every other npm package here does; that is said.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.npx import npx_request
from broker.trust.launchers.words import Line, file_of_project, read_options

_NODE: Final = ("it runs with node, not with bun",)
_BUNX: Final = frozenset({"--bun", "-y", "--silent", "--verbose"})
_RUN: Final = frozenset({"--silent", "--bun"})
_PACKAGE: Final = {"-p": "package", "--package": "package"}
_REFUSED: Final = {
    "--no-install": "it runs what lies in the folder the client happens to be in; name the package to fetch",
    "-e": "code on the command line has no file to pin",
    "--eval": "code on the command line has no file to pin",
    "-r": "it loads code that is not pinned",
    "--preload": "it loads code that is not pinned",
    "--import": "it loads code that is not pinned",
    "--cwd": "give the file's absolute path",
}


def parse_bunx(line: Line) -> LaunchRequest:
    """`bunx [-p PACKAGE] PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    return _package(line, "bunx", line.words[1:])


def parse_bun(line: Line) -> LaunchRequest:
    """`bun x PACKAGE` or `bun run FILE`"""
    match line.words[1:2]:
        case ("x",):
            return _package(line, "bun x", line.words[2:])
        case ("run",):
            options = read_options("bun run", line.words[2:], switches=_RUN, valued={}, refused=_REFUSED)
            return file_of_project(line, "bun", ("run",), options.rest)
        case _:
            word = line.words[1] if len(line.words) > 1 else ""
            raise LaunchLineError(
                f"bun {word!r} is not a launch that can be pinned", hint="use `bun run /FILE` or `bunx PACKAGE`"
            )


def _package(line: Line, runner: str, words: tuple[str, ...]) -> LaunchRequest:
    options = read_options(runner, words, switches=_BUNX, valued=_PACKAGE, refused=_REFUSED)
    return npx_request(line, runner, options, warnings=_NODE)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType(
    {"bunx": parse_bunx, "bun": parse_bun}
)
