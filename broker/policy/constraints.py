"""What a rule may say about the arguments of a call: a value, a pattern, below which folder, at which host.

Paths and addresses are compared as what they are, never as text.  Where that cannot be said for certain - a path with
`..` in it, an address that parsers read in two ways, an argument of another kind - the answer is unsure, and a rule
takes it for the worse: it allows nothing, and still asks or denies.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from broker.errors import PolicyError
from broker.model import JsonObject

Kind: TypeAlias = Literal["value", "glob", "under", "host", "at_most", "at_least", "absent", "schema"]

MAX_TEXT: Final = 8192  # characters of an argument that are compared; a longer one is not understood
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NOTHING: Final = object()


class Answer(Enum):
    """Whether a call is what a rule speaks of."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One test of one argument.  `argument` is its name; `a.b` is the name `b` in the object `a`.

    `wanted` by `kind`: value and glob, under and host a tuple, of which one must fit; at_most and at_least a number;
    absent true; schema a JSON Schema (2020-12) that takes nothing from elsewhere.
    """

    argument: str
    kind: Kind
    wanted: Any

    def answer(self, arguments: Mapping[str, Any]) -> Answer:
        found = _argument(arguments, self.argument)
        if self.kind == "absent":
            return Answer.YES if found is _NOTHING else Answer.NO
        if found is _NOTHING:
            return Answer.NO
        return _TESTS[self.kind](self.wanted, found)


def check_schema(schema: JsonObject, where: str) -> None:
    """Refuse what is no JSON Schema.

    Raises:
        PolicyError: it is none; `where` is named.
    """
    from jsonschema import Draft202012Validator, SchemaError  # only policies that use one pay for it

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as cause:
        raise PolicyError(f"{where} is no JSON Schema: {cause.message[:200]}") from None
    if _leads_away(schema):
        raise PolicyError(f"{where} takes a part from elsewhere", hint="write the whole schema into the policy")


def _leads_away(schema: object) -> bool:
    if isinstance(schema, Mapping):
        away = any(key in ("$ref", "$dynamicRef") and not str(value).startswith("#") for key, value in schema.items())
        return away or any(map(_leads_away, schema.values()))
    return isinstance(schema, list) and any(map(_leads_away, schema))


def _argument(arguments: Mapping[str, Any], name: str) -> object:
    if name in arguments:
        return arguments[name]
    value: object = arguments
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _NOTHING
        value = value[part]
    return value


def _said(yes: bool) -> Answer:
    return Answer.YES if yes else Answer.NO


def _value(wanted: tuple[object, ...], found: object) -> Answer:
    return _said(any(type(one) is type(found) and one == found for one in wanted))


def _glob(wanted: tuple[str, ...], found: object) -> Answer:
    if not isinstance(found, str) or len(found) > MAX_TEXT:
        return Answer.UNSURE
    return _said(any(fnmatchcase(found, pattern) for pattern in wanted))


def _under(wanted: tuple[str, ...], found: object) -> Answer:
    """Every path must lie below one of the folders; links in the file system are the sandbox's to refuse."""
    paths = found if isinstance(found, list) else [found]
    answers = {_one_under(wanted, path) for path in paths}
    if Answer.UNSURE in answers or not answers:
        return Answer.UNSURE
    return Answer.YES if answers == {Answer.YES} else Answer.NO if answers == {Answer.NO} else Answer.UNSURE


def _one_under(folders: tuple[str, ...], path: object) -> Answer:
    if not isinstance(path, str) or len(path) > MAX_TEXT or not path.startswith("/") or path.startswith("//"):
        return Answer.UNSURE
    parts = path.split("/")
    if ".." in parts or "\0" in path or "\\" in path:
        return Answer.UNSURE
    plain = "/" + "/".join(part for part in parts if part not in ("", "."))
    return _said(any(plain == folder or plain.startswith(folder.rstrip("/") + "/") for folder in folders))


def _host(wanted: tuple[str, ...], found: object) -> Answer:
    host = _host_of(found)
    if host is None:
        return Answer.UNSURE
    for pattern in wanted:
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])):
            return Answer.YES
    return Answer.NO


def _host_of(found: object) -> str | None:
    """The host of an address or a bare host name; None where two programs could read two hosts."""
    if not isinstance(found, str) or len(found) > MAX_TEXT or not found.isascii():
        return None
    if any(ord(char) <= 0x20 or char in "\\\x7f" for char in found):
        return None
    try:
        parts = urlsplit(found if "://" in found else f"//{found}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if "://" in found and parts.scheme not in ("http", "https", "ws", "wss"):
        return None
    if not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    host = host.rstrip(".")
    if ":" in host or host.replace(".", "").isdigit() or host.startswith("0x"):
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            return None
    return host if _HOST.fullmatch(host) else None


def _at_most(wanted: float, found: object) -> Answer:
    return _said(found <= wanted) if isinstance(found, int | float) and not isinstance(found, bool) else Answer.UNSURE


def _at_least(wanted: float, found: object) -> Answer:
    return _said(found >= wanted) if isinstance(found, int | float) and not isinstance(found, bool) else Answer.UNSURE


def _schema(wanted: JsonObject, found: object) -> Answer:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        return _said(Draft202012Validator(wanted, registry=Registry()).is_valid(found))
    except (Unresolvable, RecursionError, re.error):  # a reference to nowhere, too deep a value: nothing is known
        return Answer.UNSURE


_TESTS: Final[Mapping[str, Callable[[Any, object], Answer]]] = {
    "value": _value, "glob": _glob, "under": _under, "host": _host, "at_most": _at_most, "at_least": _at_least,
    "schema": _schema,
}  # fmt: skip
