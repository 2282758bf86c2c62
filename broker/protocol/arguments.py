"""Whether the arguments of a call are what the agreed schema of its tool allows.

A schema is text a server wrote, so checking never takes long: patterns, formats and parts from elsewhere are left to
the server, and work has a bound.  What is left to it never makes a call wrong here that is right by its schema.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from broker.model import JsonObject
from broker.protocol.catalog import canonical
from broker.protocol.replies import quoted

MAX_STEPS: Final = 200_000  # values and schemas looked at for one call, some 0.1 s; a large call has a few hundred
MAX_NESTING: Final = 128  # as deep as a message; the stack of an interpreter holds some five times that

_TYPES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "integer": ("a whole number", lambda value: _is_number(value) and value == int(value)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "object": ("an object", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "null": ("null", lambda value: value is None),
}

_Check: TypeAlias = Callable[[Any, str, "_Work"], str]
"""The fault of a value at a place; empty when there is none."""


@dataclass(slots=True)
class _Work:
    steps: int = 0
    nesting: int = 0


class _TooMuch(Exception):
    """Checking would take too long."""


class Arguments:
    """A tool's schema, compiled once."""

    def __init__(self, tool: JsonObject) -> None:
        self.tool = tool
        self._root = tool.get("inputSchema", {})
        self._compiled: dict[int, _Check] = {}

    def fault(self, arguments: Any) -> str:
        """What the schema says against these arguments; empty when nothing."""
        if not isinstance(arguments, dict):
            return "its arguments are not an object"
        try:
            return self._of(self._root)(arguments, "", _Work())
        except (_TooMuch, RecursionError):
            return f"its arguments take more than {MAX_STEPS} steps or {MAX_NESTING} levels to check"

    def _of(self, schema: Any) -> _Check:
        """The check of one schema, made when it is first needed: schemas may lead back to themselves."""
        if id(schema) not in self._compiled:  # the tool holds every schema in it, so no id is used twice
            self._compiled[id(schema)] = self._compile(schema)
        return self._compiled[id(schema)]

    def _compile(self, schema: Any) -> _Check:
        if schema is False:
            return lambda _value, place, _work: f"it has no argument {quoted(place)}"
        if not isinstance(schema, dict):
            return lambda _value, _place, _work: ""
        checks = [make(schema) for key, make in self._keywords().items() if key in schema]

        def check(value: Any, place: str, work: _Work) -> str:
            work.steps += 1
            work.nesting += 1
            if work.steps > MAX_STEPS or work.nesting > MAX_NESTING:
                raise _TooMuch
            found = next(filter(None, (each(value, place, work) for each in checks)), "")
            work.nesting -= 1
            return found

        return check

    def _keywords(self) -> Mapping[str, Callable[[JsonObject], _Check]]:
        return {
            "type": _type,
            "enum": lambda schema: _one_of(schema["enum"]),
            "const": lambda schema: _one_of([schema["const"]]),
            "required": _required,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "items": self._items,
            "anyOf": self._any,
            "oneOf": self._any,  # that no second one fits cannot be told without what is left to the server
            "allOf": self._all,
            "$ref": self._reference,
            **{key: _bound(key) for key in _BOUNDS},
        }

    def _properties(self, schema: JsonObject) -> _Check:
        """A null in the place of what may be left out is left out: many models write it so, and it says nothing."""
        found, needed = schema["properties"], schema.get("required")
        known = found if isinstance(found, dict) else {}
        required = needed if isinstance(needed, list) else []

        def check(value: Any, place: str, work: _Work) -> str:
            if not isinstance(value, dict):
                return ""
            for name, item in value.items():
                if item is None and name not in required:
                    continue
                if name in known and (fault := self._of(known[name])(item, _below(place, name), work)):
                    return fault
            return ""

        return check

    def _additional(self, schema: JsonObject) -> _Check:
        """Names a pattern may allow are the server's to check."""
        found = schema.get("properties")
        known = found if isinstance(found, dict) else {}
        rest = schema["additionalProperties"]
        if schema.get("patternProperties"):
            return lambda _value, _place, _work: ""

        def check(value: Any, place: str, work: _Work) -> str:
            others = (name for name in value if name not in known) if isinstance(value, dict) else ()
            faults = (self._of(rest)(value[name], _below(place, name), work) for name in others)
            return next(filter(None, faults), "")

        return check

    def _items(self, schema: JsonObject) -> _Check:
        if not isinstance(schema["items"], dict) or "prefixItems" in schema:
            return lambda _value, _place, _work: ""

        def check(value: Any, place: str, work: _Work) -> str:
            inner = self._of(schema["items"])
            listed = value if isinstance(value, list) else []
            return next(filter(None, (inner(item, f"{place}[]", work) for item in listed)), "")

        return check

    def _any(self, schema: JsonObject) -> _Check:
        lists = [schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list) and schema[key]]

        def check(value: Any, place: str, work: _Work) -> str:
            for choices in lists:
                if all(self._of(each)(value, place, work) for each in choices):
                    return f"{_named(place)} none of the forms it may have"
            return ""

        return check

    def _all(self, schema: JsonObject) -> _Check:
        parts = schema["allOf"] if isinstance(schema["allOf"], list) else []
        return lambda value, place, work: next(filter(None, (self._of(p)(value, place, work) for p in parts)), "")

    def _reference(self, schema: JsonObject) -> _Check:
        """Within the schema itself; another place is nobody's to look at."""
        target = self._root
        parts = str(schema["$ref"]).split("/")
        for part in parts[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name, True) if isinstance(target, dict) else True
        found = target if parts[0] == "#" else True

        def check(value: Any, place: str, work: _Work) -> str:
            return self._of(found)(value, place, work)  # not before: it may lead back to where it stands

        return check


def _type(schema: JsonObject) -> _Check:
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kinds = [_TYPES[each] for each in wanted if isinstance(each, str) and each in _TYPES]
    if len(kinds) < len(wanted) or not kinds:
        return lambda _value, _place, _work: ""
    if schema.get("nullable") is True:
        kinds.append(_TYPES["null"])
    words = " or ".join(word for word, _ in kinds)
    return lambda value, place, _work: "" if any(fits(value) for _, fits in kinds) else f"{_named(place)} not {words}"


def _one_of(found: Any) -> _Check:
    """Compared as text, because Python takes 1, 1.0 and True for equal; JSON Schema takes only the first two so."""
    if not isinstance(found, list):
        return lambda _value, _place, _work: ""
    allowed = {_comparable(each) for each in found}

    def check(value: Any, place: str, _work: _Work) -> str:
        fits = _comparable(value) in allowed or (isinstance(value, dict | list) and value in found)
        return "" if fits else f"{_named(place)} no value it may have"

    return check


def _required(schema: JsonObject) -> _Check:
    found = schema["required"]
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    def check(value: Any, place: str, _work: _Work) -> str:
        lacking = (name for name in names if name not in value) if isinstance(value, dict) else ()
        return next((f"it lacks the argument {quoted(_below(place, name))}" for name in lacking), "")

    return check


_BOUNDS: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Any], bool], str]]] = {
    "minLength": (lambda v: len(v) if isinstance(v, str) else None, lambda size, bound: size >= bound, "too short"),
    "maxLength": (lambda v: len(v) if isinstance(v, str) else None, lambda size, bound: size <= bound, "too long"),
    "minItems": (lambda v: len(v) if isinstance(v, list) else None, lambda size, bound: size >= bound, "too short"),
    "maxItems": (lambda v: len(v) if isinstance(v, list) else None, lambda size, bound: size <= bound, "too long"),
    "minimum": (lambda v: v if _is_number(v) else None, lambda size, bound: size >= bound, "too small"),
    "maximum": (lambda v: v if _is_number(v) else None, lambda size, bound: size <= bound, "too large"),
    "exclusiveMinimum": (lambda v: v if _is_number(v) else None, lambda size, bound: size > bound, "too small"),
    "exclusiveMaximum": (lambda v: v if _is_number(v) else None, lambda size, bound: size < bound, "too large"),
}


def _bound(key: str) -> Callable[[JsonObject], _Check]:
    measure, fits, words = _BOUNDS[key]

    def make(schema: JsonObject) -> _Check:
        bound = schema[key]
        if not _is_number(bound):
            return lambda _value, _place, _work: ""

        def check(value: Any, place: str, _work: _Work) -> str:
            size = measure(value)
            return f"{_named(place)} {words}" if size is not None and not fits(size, bound) else ""

        return check

    return make


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _comparable(value: Any) -> str:
    return canonical(int(value) if isinstance(value, float) and value == int(value) else value)


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _named(place: str) -> str:
    return f"its argument {quoted(place)} is" if place else "what it is given is"
