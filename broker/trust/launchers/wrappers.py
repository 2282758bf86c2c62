"""What stands around a command: `env`, `cmd /c`, `sh -c`, or quotes around the whole line.

A wrapper is taken off only if what is left are plain words: a shell would do the same with them.  Anything a shell
would do more than that refuses the line.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from broker.errors import LaunchLineError
from broker.trust.launchers.words import assignment, program_name
from broker.trust.variables import refusal

Words: TypeAlias = tuple[str, ...]
Variables: TypeAlias = dict[str, str]

SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ash", "ksh"})
_COMMAND: Final = frozenset({("-c",), ("-lc",), ("-l", "-c")})
_ACTIVE: Final = frozenset("|&;<>()$`\\*?[]{}~#!^%\n")
"""What some shell gives a meaning to outside quotes."""
_BETWEEN: Final = frozenset(" \t")
"""What cuts words; about other spaces shells do not agree."""
_IN_DOUBLE: Final = frozenset("$`\\!")
_CMD_SWITCHES: Final = frozenset({"/d", "/s", "/q"})
_CMD_ACTIVE = re.compile(r'[&|<>^%"!()]')
_PLAIN = "give the server's own command, every word on its own"
_LINE = re.compile(r"\A(?=.*\s)\s*[A-Za-z0-9_.:/\\-]+(?:\s|\Z)")


def unwrap(argv: Words, exists: Callable[[str], bool]) -> tuple[tuple[tuple[str, str], ...], Words]:
    """The variables that are set, and the command itself.

    Raises:
        LaunchLineError: a wrapper does more than stand around one command, or stands there twice.
    """
    variables: Variables = {}
    words, seen = argv, set()
    while True:
        wrapper = _wrapper(words, exists)
        if wrapper is None:
            return tuple(variables.items()), words
        if wrapper in seen:
            raise LaunchLineError(f"{wrapper} stands in the launch line twice", hint=_PLAIN)
        seen.add(wrapper)
        words = _OFF[wrapper](words, variables)


def plain_words(line: str) -> Words:
    """Cut a shell line that is one simple command.

    Raises:
        LaunchLineError: a shell would do something with it; the message names the character.
    """
    words: list[str] = []
    word: str | None = None
    quote = ""
    for character in line:
        if quote:
            if character == quote:
                quote = ""
                continue
            if quote == '"' and character in _IN_DOUBLE:
                raise _active(line, character)
            word = (word or "") + character
        elif character in "'\"":
            quote, word = character, word or ""
        elif character in _ACTIVE or (character.isspace() and character not in _BETWEEN):
            raise _active(line, character)
        elif character in _BETWEEN:
            words += [word] if word is not None else []
            word = None
        else:
            word = (word or "") + character
    if quote:
        raise LaunchLineError(f"a quote in {line[:80]!r} is never closed", hint=_PLAIN)
    words += [word] if word is not None else []
    if not words or not words[0]:
        raise LaunchLineError("a shell is given no command", hint=_PLAIN)
    return tuple(words)


def _wrapper(words: Words, exists: Callable[[str], bool]) -> str | None:
    name = program_name(words[0])
    if name in SHELLS and tuple(words[1:2]) + tuple(words[2:3] if words[1:2] == ("-l",) else ()) in _COMMAND:
        return "a shell"
    if name in {"env", "cmd"}:
        return name
    if len(words) == 1 and _LINE.match(words[0]) and not (words[0].startswith("/") and exists(words[0])):
        return "one word"
    return None


def _env(words: Words, variables: Variables) -> Words:
    """`env NAME=VALUE ... command`"""
    for index, word in enumerate(words[1:], start=1):
        if (pair := assignment(word)) is None:
            if word.startswith("-"):
                raise LaunchLineError(f"env with {word!r} is not supported", hint="only `env NAME=VALUE ... command`")
            return words[index:]
        name, value = pair
        if reason := refusal(name):
            raise LaunchLineError(f"the variable {name} is refused: {reason}", hint="leave it out of the launch line")
        if name in variables:
            raise LaunchLineError(f"the variable {name} is set twice")
        variables[name] = value
    raise LaunchLineError("env is given no command", hint="add the command after the variables")


def _cmd(words: Words, _variables: Variables) -> Words:
    """`cmd /c COMMAND...`, which Windows needs to start a `.cmd` file."""
    rest = words[1:]
    while rest and rest[0].lower() in _CMD_SWITCHES:
        rest = rest[1:]
    if not rest or rest[0].lower() != "/c":
        raise LaunchLineError(f"cmd with {(rest or ('nothing',))[0]!r} is refused", hint="only `cmd /c COMMAND...`")
    if len(rest) == 1:
        raise LaunchLineError("cmd is given no command", hint=_PLAIN)
    for word in rest[1:]:
        if found := _CMD_ACTIVE.search(word):
            raise LaunchLineError(f"cmd would give {found[0]!r} in {word[:80]!r} a meaning", hint=_PLAIN)
    return rest[1:]


def _shell(words: Words, _variables: Variables) -> Words:
    """`sh -c 'COMMAND ...'`"""
    rest = words[3:] if words[1] == "-l" else words[2:]
    if len(rest) != 1:
        raise LaunchLineError(f"{program_name(words[0])} -c takes one line, and this has {len(rest)}", hint=_PLAIN)
    inner = plain_words(rest[0])
    if inner[0] == "exec":
        inner = inner[1:]
    if not inner:
        raise LaunchLineError("a shell is given no command", hint=_PLAIN)
    if assignment(inner[0]) is not None:
        raise LaunchLineError(f"{inner[0].partition('=')[0]} is set by a shell", hint="use `env NAME=VALUE command`")
    return inner


def _one_word(words: Words, _variables: Variables) -> Words:
    return plain_words(words[0])


def _active(line: str, character: str) -> LaunchLineError:
    if re.search(r"\b(?:curl|wget|iwr|irm|iex)\b", line, re.IGNORECASE):
        return LaunchLineError("the line downloads something and may run it", hint=_PLAIN)
    return LaunchLineError(f"a shell would give {character!r} in {line[:80]!r} a meaning", hint=_PLAIN)


_OFF: Final[Mapping[str, Callable[[Words, Variables], Words]]] = MappingProxyType(
    {"env": _env, "cmd": _cmd, "a shell": _shell, "one word": _one_word}
)
