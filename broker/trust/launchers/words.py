"""The words of a launch line and the questions every launcher asks of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import LaunchLineError
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


def read_options(
    launcher: str,
    words: tuple[str, ...],
    *,
    switches: frozenset[str],
    valued: dict[str, str],
    refused: dict[str, str],
) -> Options:
    """Read leading options; `valued` maps each spelling to its name, `refused` to the hint.

    Raises:
        LaunchLineError: an option is in none of the three tables, or lacks its value.
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
        elif word not in switches:
            raise LaunchLineError(
                f"{launcher} option {word!r} is not understood",
                hint="remove it if the server does not need it; whether it takes the next word is never guessed",
            )
        index += 1
    return Options(tuple(given), words[index:])


def program_name(word: str) -> str:
    """The name a program goes by: the last part of an absolute path, or the word itself."""
    return word.rpartition("/")[2] if word.startswith("/") else word


def assignment(word: str) -> tuple[str, str] | None:
    name, equals, value = word.partition("=")
    return (name, value) if equals and NAME.fullmatch(name) else None


_PATH = re.compile(r"(?:/|~(?:/|$)|\.{1,2}(?:/|$))")


def paths_among(args: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments that name a place in the file system, and such values of `--name=value`; each once, in order."""
    found: dict[str, None] = {}
    for arg in args:
        value = arg.partition("=")[2] if arg.startswith("-") else arg
        if _PATH.match(value):
            found[value] = None
    return tuple(found)
