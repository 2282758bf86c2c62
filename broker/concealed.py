"""Secrets that stand in a launch line: taken out before anybody writes the line down, put back where its server starts.

In documents, receipts and on screens `@NAME@` stands in their place; what it means is a secret like any other of that
server's, so it lies in the vault, and a changed one counts at the next start.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from broker.pin import LaunchRequest
from broker.secrecy import looks_secret, secret_arguments

ARGUMENT: Final = "argument."
"""What the names of arguments begin with; all others are variables."""
MIN_INSIDE: Final = 8  # characters that a secret inside a longer word has to have, or it may be found by chance
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MARK: Final = re.compile(r"@([A-Za-z0-9_.-]+)@")


def conceal(launch: LaunchRequest, env: Mapping[str, str]) -> tuple[LaunchRequest, dict[str, str]]:
    """The line without its secrets, and all values it comes with: those of variables, and of what was taken out.

    A server elsewhere and a bundle have no line of which a server would get a word.
    """
    if launch.kind in ("remote", "bundle"):
        return launch, dict(env)
    values = {name: value for name, value in env.items() if value != _mark(name)}
    words = list(launch.args)
    marked: dict[str, str] = {}
    for place, (called, value) in secret_arguments(("", *launch.args)).items():
        name = _free(ARGUMENT + _NOT_IN_NAMES.sub("-", called).strip("-"), values)
        values[name] = value
        word = words[place - 1]
        words[place - 1] = marked[word] = word.removesuffix(value) + _mark(name)
    before, after = _split(launch)
    for name, value in env.items():
        if looks_secret(name, value):
            marked[f"{name}={value}"] = f"{name}={_mark(name)}"
    return replace(
        launch,
        argv=(*(_marked(word, marked) for word in before), *(words if after else ())),
        args=tuple(words),
    ), values


def marks(words: Sequence[str]) -> set[str]:
    """The names that stand for secrets in a line."""
    return {name for word in words for name in _MARK.findall(word)}


def restored(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The line with its secrets; a name nobody knows a value for stays."""
    return tuple(_MARK.sub(lambda found: values.get(found[1], found[0]), word) for word in words)


def handed_over(argv: Sequence[str], values: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a server is started with: its arguments whole, and the rest of the values as its environment."""
    arguments = {name: value for name, value in values.items() if name.startswith(ARGUMENT)}
    return restored(argv, arguments), {name: value for name, value in values.items() if name not in arguments}


def _split(launch: LaunchRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before a server's own arguments; all of the line where those are not its end word for word."""
    at = len(launch.argv) - len(launch.args)
    return (launch.argv[:at], launch.args) if launch.argv[at:] == launch.args else (launch.argv, ())


def _marked(word: str, marked: Mapping[str, str]) -> str:
    for secret, shown in marked.items():
        if word.endswith(secret) and "=" in secret:
            word = word.removesuffix(secret) + shown
        elif len(secret) >= MIN_INSIDE:
            word = word.replace(secret, shown)
    return word


def _mark(name: str) -> str:
    return f"@{name}@"


def _free(wanted: str, taken: Mapping[str, str]) -> str:
    return next(name for number in count(1) if (name := wanted if number == 1 else f"{wanted}-{number}") not in taken)
