"""What Streamable HTTP repeats of a message in its headers, and how a value is written there.

A proxy on the way may route by a header and the server act on the body, so the two must say the same; where they do
not, the message is refused rather than believed in one of its two readings.  Pure.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from broker.model import JsonObject

VERSION: Final = "mcp-protocol-version"
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
PARAM: Final = "mcp-param-"
SESSION: Final = "mcp-session-id"
LAST_EVENT: Final = "last-event-id"

NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
    | dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")
)
"""The methods whose target stands in `Mcp-Name`, and the parameter it repeats."""

_OPTIONAL: Final = frozenset({"taskId"})
"""What only an extension demands: a client that follows the revision alone leaves it out."""

ANNOTATION: Final = "x-mcp-header"
MAX_ANNOTATIONS: Final = 64  # parameters of one tool; a request with more headers than this is no request

Headers: TypeAlias = Iterable[tuple[str, str]]
"""As they came: lower-case names, one pair for each line, so that a name that stands twice is seen."""

_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_WRAPPED: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WHOLE: Final = re.compile(r"(-?[0-9]{1,40})(?:\.0+)?")
_TYPES: Final = frozenset({"string", "integer", "boolean"})


def written(value: str) -> str:
    """`value` as a header carries it: plain where every hop leaves it alone, else wrapped in base64."""
    if _PLAIN.fullmatch(value) and not _WRAPPED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8')).decode('ascii')}?="


def spelled(value: str) -> str | None:
    """What a header says; None for a wrapping that cannot be read in exactly one way."""
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped is None:
        return value
    try:
        data = base64.b64decode(wrapped[1], validate=True)
        return data.decode("utf-8") if base64.b64encode(data).decode("ascii") == wrapped[1] else None
    except (binascii.Error, ValueError):
        return None


def headers_of(message: JsonObject, version: str, schema: object = None) -> dict[str, str]:
    """What a client of the modern era writes beside `message`.  `schema` is the called tool's own."""
    method, params = message["method"], message.get("params", {})
    found = {VERSION: version, METHOD: method}
    name = params.get(NAMED.get(method, ""))
    if isinstance(name, str):
        found[NAME] = written(name)
    if method == "tools/call" and not faulty(schema):
        for path, token, _kind in _annotated(schema):
            text = _text(_at(params.get("arguments"), path))
            if text is not None:
                found[PARAM + token.lower()] = written(text)
    return found


def contradiction(message: JsonObject, headers: Headers, version: object, schema: object = None) -> str:
    """How the headers contradict `message`, whose own protocol version is `version`; empty if they do not."""
    lines: dict[str, list[str]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    for name in (VERSION, METHOD, NAME):
        if len(lines.get(name, ())) > 1:
            return f"{name} stands there twice"
    if lines.get(VERSION) != [version]:
        return f"{VERSION} is not the protocol version of the body"
    if lines.get(METHOD) != [message["method"]]:
        return f"{METHOD} is not the method of the body"
    parameter = NAMED.get(message["method"])
    if parameter is not None:
        name = message.get("params", {}).get(parameter)
        said = [spelled(value) for value in lines.get(NAME, ())]
        if isinstance(name, str) and said != [name] and (said or parameter not in _OPTIONAL):
            return f"{NAME} is not the {parameter} of the body"
    if message["method"] == "tools/call" and not faulty(schema):
        return _wrong_parameter(message.get("params", {}).get("arguments"), lines, schema)
    return ""


def faulty(schema: object) -> str:
    """Why the annotations of a tool's schema cannot be used; empty if they can, or there are none."""
    seen: set[str] = set()
    for path, node in _positions(schema):
        if ANNOTATION not in node:
            continue
        token = node[ANNOTATION]
        if not path:
            return f"{ANNOTATION} stands where no plain property is"
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            return f"{ANNOTATION} is no name of a header"
        if node.get("type") not in _TYPES:
            return f"{ANNOTATION} stands at what is neither text, a whole number nor yes or no"
        if token.lower() in seen or len(seen) >= MAX_ANNOTATIONS:
            return f"{ANNOTATION} names one header twice, or too many"
        seen.add(token.lower())
    return ""


def _wrong_parameter(arguments: object, lines: Mapping[str, list[str]], schema: object) -> str:
    for path, token, kind in _annotated(schema):
        header = PARAM + token.lower()
        values, text = lines.get(header, []), _text(_at(arguments, path))
        if len(values) != (text is not None):
            is_set = "is absent" if text is None else "is set"
            return f"{header} stands there {len(values)} times, and its argument {is_set}"
        if text is not None and not _same(kind, text, spelled(values[0])):
            return f"{header} is not the argument of the body"
    return ""


def _same(kind: str, text: str, said: str | None) -> bool:
    """Whole numbers compare as numbers: 42 and 42.0 are one."""
    if said is None:
        return False
    ours, theirs = _WHOLE.fullmatch(text), _WHOLE.fullmatch(said)
    if kind == "integer" and ours and theirs:
        return int(ours[1]) == int(theirs[1])
    return text == said


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 128) else None


def _at(arguments: object, path: tuple[str, ...]) -> object:
    for step in path:
        if not isinstance(arguments, dict):
            return None
        arguments = arguments.get(step)
    return arguments


def _annotated(schema: object) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for path, node in _positions(schema):
        if path and isinstance(node.get(ANNOTATION), str):
            yield path, node[ANNOTATION], str(node.get("type"))


_ONE: Final = frozenset(
    {"items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties", "not",
     "if", "then", "else", "contentSchema"}
)  # fmt: skip
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_BY_NAME: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})


def _positions(schema: object) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Every place of a schema where a schema stands, with its path where only plain properties lead to it."""
    waiting: list[tuple[tuple[str, ...] | None, object]] = [((), schema)]
    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        for key, value in node.items():
            if key == "properties" and isinstance(value, dict):
                waiting += [(None if path is None else (*path, name), each) for name, each in value.items()]
            elif key in _ONE:
                waiting.append((None, value))
            elif key in _MANY and isinstance(value, list):
                waiting += [(None, each) for each in value]
            elif key in _BY_NAME and isinstance(value, dict):
                waiting += [(None, each) for each in value.values()]
