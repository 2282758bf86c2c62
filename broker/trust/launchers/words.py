"""The words of a launch line and the questions every launcher asks of them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.variables import NAME


@dataclass(frozen=True, slots=True)
class Line:
    """A launch line: the whole of it, the words after an `env` prefix, and what that prefix set."""

    argv: tuple[str, ...]
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    exists: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Options:
    """Options read up to the first word that is none: (`name`, value) pairs, and what follows."""

    given: tuple[tuple[str, str], ...]
    rest: tuple[str, ...]

    def values(self, name: str) -> list[str]:
        return [value for given, value in self.given if given == name]

    def once(self, name: str) -> str | None:
        """The value of an option that may be given only once.

        Raises:
            LaunchLineError: it is given twice.
        """
        values = self.values(name)
        if len(values) > 1:
            raise LaunchLineError(f"--{name} is given twice")
        return values[0] if values else None


def read_options(
    launcher: str,
    words: tuple[str, ...],
    *,
    switches: frozenset[str],
    valued: Mapping[str, str],
    refused: Mapping[str, str],
    optional: frozenset[str] = frozenset(),
) -> Options:
    """Read leading options; `valued` maps each spelling to its name, `refused` to the hint.

    `optional` take a value only behind `=`.  Switches and these are given as (word, value) pairs too.

    Raises:
        LaunchLineError: an option is in none of the tables, or lacks its value.
    """
    given: list[tuple[str, str]] = []
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            break
        if not word.startswith("-") or word == "-":
            break
        name, equals, value = word.partition("=")
        if name in refused:
            raise LaunchLineError(f"{launcher} with {name!r} is refused", hint=refused[name])
        if name in valued:
            if not equals:
                index += 1
                if index == len(words):
                    raise LaunchLineError(f"{launcher} option {word!r} lacks its value")
                value = words[index]
            given.append((valued[name], value))
        elif word in switches or name in optional:
            given.append((name, value))
        else:
            raise LaunchLineError(
                f"{launcher} option {word!r} is not understood",
                hint="remove it if the server does not need it; whether it takes the next word is never guessed",
            )
        index += 1
    return Options(tuple(given), words[index:])


def program_name(word: str) -> str:
    """The name a program goes by: the last part of an absolute path, or the word; without what Windows adds to it."""
    name = word.rpartition("/")[2] if word.startswith("/") else word
    if _DRIVE.match(word):
        name = re.split(r"[\\/]", word)[-1]
    return name[:-4].lower() if _SUFFIX.search(name) else name


def assignment(word: str) -> tuple[str, str] | None:
    name, equals, value = word.partition("=")
    return (name, value) if equals and NAME.fullmatch(name) else None


_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SUFFIX = re.compile(r"\.(?:cmd|exe|bat|ps1)\Z", re.IGNORECASE)
_PATH = re.compile(r"(?:/|~(?:/|$)|\.{1,2}(?:/|$))")


def paths_among(args: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments that name a place in the file system, and such values of `--name=value`; each once, in order."""
    found: dict[str, None] = {}
    for arg in args:
        value = arg.partition("=")[2] if arg.startswith("-") else arg
        if _PATH.match(value):
            found[value] = None
    return tuple(found)


def file_of_project(line: Line, runner: str, flags: tuple[str, ...], rest: tuple[str, ...]) -> LaunchRequest:
    """A file that a runtime runs out of a local project; which folder is the project is found where files are read.

    Raises:
        LaunchLineError: there is no file, or it is not named by its absolute path.
    """
    if not rest:
        raise LaunchLineError(f"{runner} is given no file", hint="give the absolute path of the server's file")
    existing_file(line, rest[0])
    return LaunchRequest(
        argv=line.argv,
        runner=runner,
        kind="project",
        requirement=rest[0],
        args=rest[1:],
        bin=line.words[0],
        extra=flags,
        env=line.variables,
        paths=paths_among(rest[1:]),
    )


def existing_file(line: Line, path: str) -> None:
    """Only an absolute path: a relative one means another file in another folder.

    Raises:
        LaunchLineError: it is not absolute, or nothing is there.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        hint = "give its absolute path; a relative one means another file in another folder"
        raise LaunchLineError(f"{path!r} is not the absolute path of a file", hint=hint)
    if not line.exists(path):
        raise LaunchLineError(f"{path} does not exist", hint="check the path")


def origin(word: str) -> str:
    """Scheme, host and port of an address: never the path or a name and password, which may be secret."""
    try:
        parts = urlsplit(word)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    named = parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname
    return f"{parts.scheme}://{parts.hostname}{port}" if named else ""
