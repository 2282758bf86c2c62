"""Messages as a published type of the protocol allows them, with fields beside them that nobody knows."""

from typing import Any, Final

from hypothesis import strategies as st

Json = dict[str, Any]
Strategy = st.SearchStrategy[Any]

DEEP: Final = 3  # from here on only what must be there is there
text: Final = st.text(st.characters(codec="utf-8"), max_size=6)
values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=3,
)
unknown: Final = st.dictionaries(st.sampled_from(["x-vendor", "$later", "ключ", "vendor/it"]), values, max_size=2)


def fitting(schema: Json) -> Strategy:
    """Values that fit a JSON schema as pydantic writes it."""
    return _fitting(schema, schema.get("$defs", {}), 0)


def _fitting(schema: Json | bool, defs: Json, depth: int) -> Strategy:
    if isinstance(schema, bool):
        return values
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: _fitting(defs[name], defs, depth))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for any_of in ("anyOf", "oneOf"):
        if any_of in schema:
            return st.one_of([_fitting(each, defs, depth) for each in schema[any_of]])
    match schema.get("type"):
        case "object":
            return _object(schema, defs, depth)
        case "array":
            items = _fitting(schema.get("items", True), defs, depth + 1)
            return st.lists(items, max_size=2 if depth < DEEP else 0)
        case "string":
            return text if schema.get("format") is None else st.sampled_from(["https://a.example/x", "every://1"])
        case "integer":
            return st.integers(schema.get("minimum", -(2**60)), schema.get("maximum", 2**60))
        case "number":
            return st.floats(schema.get("minimum", -1e9), schema.get("maximum", 1e9), allow_nan=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return values


def _said(schema: Json) -> Json:
    """A field that may be absent is written as one that may be null; on the wire it is one or the other."""
    if schema.get("default", ...) is None and "anyOf" in schema:
        return {**schema, "anyOf": [each for each in schema["anyOf"] if each.get("type") != "null"]}
    return schema


def _object(schema: Json, defs: Json, depth: int) -> Strategy:
    required = set(schema.get("required", ()))
    fields = {
        name: _fitting(_said(each), defs, depth + 1)
        for name, each in schema.get("properties", {}).items()
        if name in required or depth < DEEP
    }
    known = st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )
    if schema.get("additionalProperties") is False:
        return known
    rest = schema.get("additionalProperties", True)
    more = unknown if rest is True else st.dictionaries(text, _fitting(rest, defs, depth + 1), max_size=2)
    return st.builds(lambda beside, mine: {**beside, **mine}, more if depth < DEEP else st.just({}), known)
