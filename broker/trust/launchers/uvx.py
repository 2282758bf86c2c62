"""uvx and uv tool run: which Python package a line names, and what its program receives.

Only packages by name from an index, for the reason `npx` gives.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.model import LaunchRequest
from broker.trust.launchers.words import Line, Options, paths_among, read_options

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\]"
_VERSION = r"[0-9A-Za-z][0-9A-Za-z.!+_*-]{0,127}"
_CLAUSE = rf"(?:===|==|~=|!=|<=|>=|<|>)\s*{_VERSION}"
_REQUIREMENT = re.compile(rf"({_NAME})\s*({_EXTRAS})?\s*({_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?")
_AT = re.compile(rf"({_NAME})({_EXTRAS})?@({_VERSION})")
_EXACT = re.compile(r"={2,3}\s*[^*,]+")
_PYTHON = re.compile(r"(?:python|cpython@?)?3(?:\.\d{1,3}){0,2}|/[^\s]+")
_BIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_NAME = 128

_SWITCHES: Final = frozenset({"-q", "--quiet"})
_VALUED: Final = {"--from": "from", "--with": "with", "-w": "with", "--python": "python", "-p": "python"}
_SOURCE = "choose the index in your uv configuration, where every tool of yours sees it"
_REFUSED: Final = {
    "--index": _SOURCE,
    "--default-index": _SOURCE,
    "--index-url": _SOURCE,
    "-i": _SOURCE,
    "--extra-index-url": _SOURCE,
    "--find-links": _SOURCE,
    "-f": _SOURCE,
    "--config-file": _SOURCE,
    "--with-editable": "a folder has no version that stands still; name a package",
    "--with-requirements": "name the packages with --with",
    "--env-file": "name the variables with `env NAME=VALUE`",
}


def parse_uvx(line: Line) -> LaunchRequest:
    """`uvx [--from PACKAGE] [--with PACKAGE] [--python VERSION] PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    return _request(line, "uvx", _read("uvx", line.words[1:]))


def parse_uv(line: Line) -> LaunchRequest:
    """`uv tool run`, which is uvx."""
    if line.words[1:3] != ("tool", "run"):
        words = " ".join(line.words[1:3])
        raise LaunchLineError(
            f"uv {words!r} is not a launch that can be pinned", hint="use `uvx PACKAGE` or `uv tool run PACKAGE`"
        )
    return _request(line, "uv tool run", _read("uv tool run", line.words[3:]))


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"uvx": parse_uvx, "uv": parse_uv})


def normal(name: str) -> str:
    """The one spelling of a project's name that indexes agree on."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(word: str) -> tuple[str, str, bool]:
    """uv's `name[extra]@version` or a plain specifier -> (normal name, what the resolver reads, whether exact).

    Raises:
        LaunchLineError: it is no package by name from an index.
    """
    text = word.strip()
    if (at := _AT.fullmatch(text)) and len(at[1]) <= MAX_NAME:
        if at[3] == "latest":
            return normal(at[1]), at[1] + (at[2] or ""), False
        return normal(at[1]), f"{at[1]}{at[2] or ''}=={at[3]}", "*" not in at[3]
    match = _REQUIREMENT.fullmatch(text)
    if match is None or len(match[1]) > MAX_NAME:
        raise LaunchLineError(
            f"{word!r} is not a Python package by name",
            hint="git addresses, files and folders cannot be pinned yet; use NAME, NAME@VERSION or NAME==VERSION",
        )
    return normal(match[1]), text, bool(match[3] and _EXACT.fullmatch(match[3]))


def split_with(text: str) -> list[str]:
    """Cut `a,b[x,y]>=1,<2` between packages, not inside brackets and not between clauses."""
    packages: list[str] = []
    for piece in text.split(","):
        inside = bool(packages) and packages[-1].count("[") > packages[-1].count("]")
        if packages and (inside or piece.lstrip()[:1] in set("<>=!~")):
            packages[-1] += f",{piece}"
        else:
            packages.append(piece)
    return [package.strip() for package in packages if package.strip()]


def _read(launcher: str, words: tuple[str, ...]) -> Options:
    return read_options(launcher, words, switches=_SWITCHES, valued=_VALUED, refused=_REFUSED)


def _once(options: Options, name: str) -> str | None:
    values = options.values(name)
    if len(values) > 1:
        raise LaunchLineError(f"--{name} is given twice")
    return values[0] if values else None


def _request(line: Line, runner: str, options: Options) -> LaunchRequest:
    if not options.rest:
        raise LaunchLineError(f"{runner} is given no package", hint=f"for example: {runner} PACKAGE@VERSION")
    source, python = _once(options, "from"), _once(options, "python")
    if python is not None and not _PYTHON.fullmatch(python):
        raise LaunchLineError(f"--python {python!r} is not understood", hint="use a version like 3.12")
    program: str | None = None
    if source is not None:
        program = options.rest[0]
        if not _BIN.fullmatch(program):
            raise LaunchLineError(f"{program!r} is not the name of a program of {source!r}")
    _, wanted, exact = requirement(source if source is not None else options.rest[0])
    extra = [requirement(piece) for text in options.values("with") for piece in split_with(text)]
    args = options.rest[1:]
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="pypi",
        requirement=wanted,
        args=args,
        bin=program,
        extra=tuple(text for _, text, _ in extra),
        python=python,
        env=line.variables,
        paths=paths_among(args),
        floating=not (exact and all(each for _, _, each in extra)),
    )
