"""uvx: which Python package a line names, and what its program receives.

Packages by name from an index, or one repository of git, for the reason `npx` gives.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.git import is_git, python_address
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
PYTHON = re.compile(r"python(?:3(?:\.\d{1,2})?)?")
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
MAX_NAME = 128

_SWITCHES: Final = frozenset({"-q", "--quiet", "-n", "--no-cache", "--isolated", "--no-progress"})
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
    return uvx_request(line, "uvx", read_uvx("uvx", line.words[1:]))


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType({"uvx": parse_uvx})


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
            hint="files and folders cannot be pinned; use NAME, NAME@VERSION, NAME==VERSION or git+https://...@REF",
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


def read_uvx(launcher: str, words: tuple[str, ...]) -> Options:
    """Options as uvx reads them.

    Raises:
        LaunchLineError: one is not understood, or refused.
    """
    return read_options(launcher, words, switches=_SWITCHES, valued=_VALUED, refused=_REFUSED)


def extras(options: Options) -> list[tuple[str, str, bool]]:
    """Every package of `--with`, as `requirement` reads it."""
    return [requirement(piece) for text in options.values("with") for piece in split_with(text)]


def python_of(options: Options) -> str | None:
    """The Python a line asks for.

    Raises:
        LaunchLineError: it is no version, and no path.
    """
    python = options.once("python")
    if python is not None and not _PYTHON.fullmatch(python):
        raise LaunchLineError(f"--python {python!r} is not understood", hint="use a version like 3.12")
    return python


def program_of(words: tuple[str, ...], package: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    """The program a line names behind its packages: (its name, or the module of `python -m`; its arguments).

    Raises:
        LaunchLineError: it is neither.
    """
    name = words[0]
    if PYTHON.fullmatch(name):
        if len(words) < 3 or words[1] != "-m" or not MODULE.fullmatch(words[2]):
            hint = "only `python -m MODULE` can be run out of a package"
            raise LaunchLineError(f"{name} without a module of {package!r} would run something else", hint=hint)
        return None, words[2], words[3:]
    if not _BIN.fullmatch(name):
        raise LaunchLineError(f"{name!r} is not the name of a program of {package!r}")
    return name, None, words[1:]


def uvx_request(line: Line, runner: str, options: Options) -> LaunchRequest:
    """A package, or `--from PACKAGE PROGRAM`."""
    if not options.rest:
        raise LaunchLineError(f"{runner} is given no package", hint=f"for example: {runner} PACKAGE")
    source, python = options.once("from"), python_of(options)
    program, module, args = None, None, options.rest[1:]
    if source is not None:
        program, module, args = program_of(options.rest, source)
    wanted, exact = _main(source if source is not None else options.rest[0])
    extra = extras(options)
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
        module=module,
    )


def _main(word: str) -> tuple[str, bool]:
    """What the resolver reads, and whether it means the same bytes tomorrow."""
    if is_git(word):
        return word, python_address(word).is_exact
    _, wanted, exact = requirement(word)
    return wanted, exact
