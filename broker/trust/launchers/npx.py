"""npx and npm exec: which npm package a line names, and what its program receives.

Only packages by name from a registry: a git address, a tarball or a folder has no version that stands still.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.model import LaunchRequest
from broker.trust.launchers.words import Line, Options, paths_among, read_options

NAME = re.compile(r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*")
MAX_NAME = 214  # npm's own limit
_EXACT = re.compile(r"[v=]?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_RANGE = re.compile(r"[0-9A-Za-z^~<>=|*+ ._-]{1,128}")  # a range or a tag: nothing that could be an address
_BIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_SWITCHES: Final = frozenset({"-y", "--yes", "-q", "--quiet"})
_VALUED: Final = {"-p": "package", "--package": "package"}
_SOURCE = "choose the registry in your npm configuration, where every tool of yours sees it"
_REFUSED: Final = {
    "-c": "it runs a shell line; name the package and its arguments instead",
    "--call": "it runs a shell line; name the package and its arguments instead",
    "--registry": _SOURCE,
    "--userconfig": _SOURCE,
    "--globalconfig": _SOURCE,
    "--node-options": "it makes node run other code than the pinned package",
}


def parse_npx(line: Line) -> LaunchRequest:
    """`npx [-y] [-p PACKAGE]... [--] PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    return _request(line, "npx", _read("npx", line.words[1:]))


def parse_npm(line: Line) -> LaunchRequest:
    """`npm exec [-y] [-p PACKAGE]... PACKAGE-OR-PROGRAM [-- ARGUMENT...]`

    npm reads options anywhere before `--`, so an option after the package's name would be npm's and not the server's.
    """
    if line.words[1:2] not in (("exec",), ("x",)):
        word = line.words[1] if len(line.words) > 1 else ""
        raise LaunchLineError(
            f"npm {word!r} is not a launch that can be pinned", hint="use `npx PACKAGE` or `npm exec -- PACKAGE`"
        )
    head, tail = _split(line.words[2:])
    options = _read("npm exec", head)
    for word in options.rest[1:]:
        if word.startswith("-") and word != "-":
            raise LaunchLineError(
                f"npm itself would read {word!r}, not the server", hint="put `--` before the package's name"
            )
    return _request(line, "npm exec", Options(options.given, options.rest + tail))


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"npx": parse_npx, "npm": parse_npm})


def requirement(word: str) -> tuple[str, str]:
    """`@scope/name@spec` -> (name, spec); spec is `*` when there is none.

    Raises:
        LaunchLineError: it is no package by name from a registry.
    """
    at = word.find("@", 1)
    name, spec = (word, "*") if at < 0 else (word[:at], word[at + 1 :])
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise LaunchLineError(
            f"{word!r} is not the name of an npm package",
            hint="git addresses, tarballs and folders cannot be pinned yet; use NAME or NAME@VERSION",
        )
    if not _RANGE.fullmatch(spec):
        raise LaunchLineError(f"{spec!r} in {word!r} is not a version, range or tag", hint="use NAME@VERSION")
    return name, spec


def is_exact(spec: str) -> bool:
    return _EXACT.fullmatch(spec) is not None


def _read(launcher: str, words: tuple[str, ...]) -> Options:
    return read_options(launcher, words, switches=_SWITCHES, valued=_VALUED, refused=_REFUSED)


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _request(line: Line, runner: str, options: Options) -> LaunchRequest:
    if not options.rest:
        raise LaunchLineError(f"{runner} is given no package", hint=f"for example: {runner} -y PACKAGE@VERSION")
    packages = options.values("package")
    program: str | None = None
    if packages:
        program = options.rest[0]
        if not _BIN.fullmatch(program):
            raise LaunchLineError(f"{program!r} is not the name of a program of {packages[0]!r}")
    else:
        packages = [options.rest[0]]
    specs = [requirement(package) for package in packages]
    args = options.rest[1:]
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="npm",
        requirement=packages[0],
        args=args,
        bin=program,
        extra=tuple(packages[1:]),
        env=line.variables,
        paths=paths_among(args),
        floating=not all(is_exact(spec) for _, spec in specs),
    )
