"""npx and its kin (npm exec, pnpm dlx, yarn dlx, bunx): which npm package a line names, and what its program receives.

Packages by name from a registry, or one repository of git; a tarball or a folder has no version that stands still.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers.git import is_git, npm_address
from broker.trust.launchers.words import Line, Options, origin, paths_among, read_options

NAME = re.compile(r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*")
MAX_NAME = 214  # npm's own limit
_EXACT = re.compile(r"[v=]?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_RANGE = re.compile(r"[0-9A-Za-z^~<>=|*+ ._-]{1,128}")  # a range or a tag: nothing that could be an address
_BIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_SOURCE = "choose the registry in your npm configuration, where every tool of yours sees it"
_SHELL = "it runs a shell line; name the package and its arguments instead"
_LOCAL = "it runs what lies in the folder the client happens to be in; name the package to fetch"
_LOADS = "it makes node run other code than the pinned package"
_PACKAGE: Final = {"-p": "package", "--package": "package"}
_SWITCHES: Final = frozenset(
    {"-y", "--yes", "-q", "--quiet", "--silent", "--prefer-online", "--prefer-offline", "--no-update-notifier",
     "--no-fund", "--no-audit", "--ignore-scripts"}
)  # fmt: skip
_VALUED: Final = {**_PACKAGE, "--registry": "registry", "--loglevel": "loglevel"}
_REFUSED: Final = {
    "-c": _SHELL, "--call": _SHELL, "--shell": _SHELL, "--script-shell": _SHELL,
    "--userconfig": _SOURCE, "--globalconfig": _SOURCE, "--cache": _SOURCE, "--prefix": _LOCAL, "-C": _LOCAL,
    "--no": _LOCAL, "--no-install": _LOCAL, "-w": _LOCAL, "--workspace": _LOCAL, "--workspaces": _LOCAL,
    "--node-options": _LOADS, "--node-arg": _LOADS, "-n": _LOADS, "--npm": _LOADS,
}  # fmt: skip
_PNPM_SWITCHES: Final = frozenset({"--silent", "-s", "--prefer-offline", "--ignore-scripts"})
_PNPM_VALUED: Final = {"--package": "package", "--registry": "registry", "--loglevel": "loglevel", "--reporter": "r"}
_PNPM_REFUSED: Final = {
    "-c": _SHELL, "--shell-mode": _SHELL, "-C": _LOCAL, "--dir": _LOCAL, "--filter": _LOCAL, "-r": _LOCAL,
    "--allow-build": "no package's install script is run",
}  # fmt: skip
_YARN_SWITCHES: Final = frozenset({"-q", "--quiet"})
_SCOPE = re.compile(r"--(@[a-z0-9~][a-z0-9.~-]*):registry(?:=(.*))?")


def parse_npx(line: Line) -> LaunchRequest:
    """`npx [-y] [-p PACKAGE]... [--] PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    return npx_request(line, "npx", read_npx("npx", line.words[1:]))


def parse_npm(line: Line) -> LaunchRequest:
    """`npm exec [-y] [-p PACKAGE]... PACKAGE-OR-PROGRAM [-- ARGUMENT...]`

    npm reads options anywhere before `--`, so an option after the package's name would be npm's and not the server's.
    """
    if line.words[1:2] not in (("exec",), ("x",)):
        raise _not_a_launch("npm", line.words[1:], "npx PACKAGE` or `npm exec -- PACKAGE")
    head, tail = _split(line.words[2:])
    options = read_npx("npm exec", head)
    for word in options.rest[1:]:
        if word.startswith("-") and word != "-":
            raise LaunchLineError(
                f"npm itself would read {word!r}, not the server", hint="put `--` before the package's name"
            )
    return npx_request(line, "npm exec", Options(options.given, options.rest + tail))


def parse_pnpx(line: Line) -> LaunchRequest:
    """`pnpx`, which is `pnpm dlx`."""
    return npx_request(line, "pnpx", _read_pnpm("pnpx", line.words[1:]))


def parse_pnpm(line: Line) -> LaunchRequest:
    """`pnpm [--package=PACKAGE]... dlx PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    before = _read_pnpm("pnpm", line.words[1:])
    if before.rest[:1] != ("dlx",):
        raise _not_a_launch("pnpm", before.rest, "pnpm dlx PACKAGE")
    after = _read_pnpm("pnpm dlx", before.rest[1:])
    return npx_request(line, "pnpm dlx", Options(before.given + after.given, after.rest))


def parse_yarn(line: Line) -> LaunchRequest:
    """`yarn dlx [-q] [-p PACKAGE]... PACKAGE-OR-PROGRAM [ARGUMENT...]`"""
    if line.words[1:2] != ("dlx",):
        raise _not_a_launch("yarn", line.words[1:], "yarn dlx PACKAGE")
    options = read_options("yarn dlx", line.words[2:], switches=_YARN_SWITCHES, valued=_PACKAGE, refused={})
    return npx_request(line, "yarn dlx", options)


LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType(
    {"npx": parse_npx, "npm": parse_npm, "pnpx": parse_pnpx, "pnpm": parse_pnpm, "yarn": parse_yarn}
)


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
            hint="tarballs and folders cannot be pinned; use NAME, NAME@VERSION or github:OWNER/REPO#REF",
        )
    if not _RANGE.fullmatch(spec):
        raise LaunchLineError(f"{spec!r} in {word!r} is not a version, range or tag", hint="use NAME@VERSION")
    return name, spec


def is_exact(spec: str) -> bool:
    return _EXACT.fullmatch(spec) is not None


def npm_request(line: Line, runner: str, package: str, *, bin: str | None, args: tuple[str, ...]) -> LaunchRequest:
    """One package by name, whoever launches it."""
    _, spec = requirement(package)
    if bin is not None and not _BIN.fullmatch(bin):
        raise LaunchLineError(f"{bin!r} is not the name of a program of {package!r}")
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="npm",
        requirement=package,
        args=args,
        bin=bin,
        env=line.variables,
        paths=paths_among(args),
        floating=not is_exact(spec),
    )


def read_npx(launcher: str, words: tuple[str, ...]) -> Options:
    """Options as npm reads them.

    Raises:
        LaunchLineError: one is not understood, or refused.
    """
    scoped = {f"--{scope}:registry": f"{scope} registry" for scope in _scopes(words)}
    return read_options(launcher, words, switches=_SWITCHES, valued={**_VALUED, **scoped}, refused=_REFUSED)


def _read_pnpm(launcher: str, words: tuple[str, ...]) -> Options:
    scoped = {f"--{scope}:registry": f"{scope} registry" for scope in _scopes(words)}
    return read_options(
        launcher, words, switches=_PNPM_SWITCHES, valued={**_PNPM_VALUED, **scoped}, refused=_PNPM_REFUSED
    )


def _scopes(words: tuple[str, ...]) -> list[str]:
    return [match[1] for word in words if (match := _SCOPE.fullmatch(word))]


def _registry(options: Options) -> str | None:
    """The one registry a line names: an address, or `@scope=address`.

    Raises:
        LaunchLineError: there are several, or one that anybody between could answer for.
    """
    found = [(name, value) for name, value in options.given if name == "registry" or name.endswith(" registry")]
    if not found:
        return None
    if len(found) > 1:
        raise LaunchLineError("the launch line names more than one registry", hint=_SOURCE)
    ((name, url),) = found
    if not _is_protected(url):
        raise LaunchLineError(f"the registry {origin(url)!r} is not an https address without a password",
                              hint=_SOURCE)  # fmt: skip
    scope = name.partition(" ")[0]
    return f"{scope}={url}" if scope.startswith("@") else url


def _is_protected(url: str) -> bool:
    try:
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
        return bool(parts.hostname) and "@" not in parts.netloc and (parts.scheme == "https" or local)
    except ValueError:
        return False


def _not_a_launch(launcher: str, words: tuple[str, ...], instead: str) -> LaunchLineError:
    word = words[0] if words else ""
    hint = f"use `{instead}`"
    if word in {"exec", "run", "start", "run-script"}:
        hint += "; what a project's own scripts say is no package"
    return LaunchLineError(f"{launcher} {word!r} is not a launch that can be pinned", hint=hint)


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def npx_request(line: Line, runner: str, options: Options, *, warnings: tuple[str, ...] = ()) -> LaunchRequest:
    """A package, or `-p PACKAGE... PROGRAM`."""
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
    exact = _are_exact(packages)
    args, registry = options.rest[1:], _registry(options)
    named = (f"packages come from {registry}, which the launch line names",) if registry else ()
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="npm",
        requirement=packages[0],
        args=args,
        bin=program,
        extra=tuple(packages[1:]),
        registry=registry,
        env=line.variables,
        paths=paths_among(args),
        floating=not exact,
        warnings=(*named, *warnings),
    )


def _are_exact(packages: list[str]) -> bool:
    """Whether all packages mean the same bytes tomorrow; a repository has to stand alone.

    Raises:
        LaunchLineError: one is nothing that can be pinned.
    """
    if not is_git(packages[0]):
        exact = [is_exact(requirement(package)[1]) for package in packages]  # each, also behind a floating one
        return all(exact)
    if len(packages) > 1:
        raise LaunchLineError("a git repository and other packages on one line cannot be pinned together",
                              hint="name the repository alone")  # fmt: skip
    return npm_address(packages[0]).is_exact
