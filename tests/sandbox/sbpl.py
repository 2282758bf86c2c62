"""A small reader of Seatbelt profiles, so that each can be asked what it answers.  The last rule that matches wins."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

TOKEN = re.compile(r'\s*(?:(?P<sign>[()])|#"(?P<raw>[^"]*)"|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()"#]+))')
Form: TypeAlias = "str | Text | Raw | list[Form]"


class Text(str):
    """A quoted string."""


class Raw(str):
    """A pattern."""


@dataclass(frozen=True)
class Deed:
    """What a program tries.  Only what the deed is about is set."""

    operation: str
    path: str = ""
    name: str = ""
    remote: str = ""
    target: str = ""


def read(text: str) -> list[Form]:
    """All forms of a profile; anything that is no form fails."""
    stack: list[list[Form]] = [[]]
    place = 0
    while place < len(text.rstrip()):
        found = TOKEN.match(text, place)
        assert found is not None, text[place : place + 40]
        place = found.end()
        if found["sign"] == "(":
            stack.append([])
        elif found["sign"] == ")":
            form = stack.pop()
            stack[-1].append(form)
        elif found["raw"] is not None:
            stack[-1].append(Raw(found["raw"]))
        elif found["text"] is not None:
            stack[-1].append(Text(re.sub(r"\\(.)", r"\1", found["text"])))
        else:
            stack[-1].append(found["word"])
    assert len(stack) == 1, "a bracket is open"
    return stack[0]


def allows(text: str, parameters: Mapping[str, str], deed: Deed) -> bool:
    """What the kernel would answer."""
    verdict: bool | None = None
    version, *rules = read(text)
    assert version == ["version", "1"]
    for rule in rules:
        assert isinstance(rule, list) and rule[0] in ("allow", "deny"), rule
        operations = [word for word in rule[1:] if isinstance(word, str)]
        filters = [word for word in rule[1:] if isinstance(word, list)]
        if not any(word == "default" or fnmatchcase(deed.operation, word) for word in operations):
            continue
        if not filters or any(_matches(each, parameters, deed) for each in filters):
            verdict = rule[0] == "allow"
    assert verdict is not None, "nothing is said by default"
    return verdict


def _matches(form: list[Form], parameters: Mapping[str, str], deed: Deed) -> bool:
    kind, *arguments = form
    if kind == "require-all":
        return all(_matches(each, parameters, deed) for each in arguments if isinstance(each, list))
    value = next(_values(arguments, parameters))
    match kind:
        case "literal":
            return deed.path == value
        case "subpath":
            return deed.path == value or deed.path.startswith(f"{value}/")
        case "regex":
            assert isinstance(value, Raw)
            return bool(deed.path) and re.search(value, deed.path) is not None
        case "global-name" | "sysctl-name":
            return deed.name == value
        case "sysctl-name-prefix":
            return deed.name.startswith(value)
        case "target":
            return deed.target == value
        case "remote":
            return bool(deed.remote) and deed.remote == arguments[1]
    raise AssertionError(f"a filter that is not known: {kind}")


def _values(arguments: list[Form], parameters: Mapping[str, str]) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, list):
            assert argument[0] == "param" and isinstance(argument[1], str)
            yield parameters[argument[1]]
        else:
            yield argument
