"""Arguments against the schema of their tool; what JSON Schema allows is never refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from broker.model import JsonObject
from broker.protocol.arguments import MAX_STEPS, Arguments
from tests.protocol.stage import LEGACY, WRITE, Stage, call, changed


def fault(schema: Any, **arguments: Any) -> str:
    return Arguments({"name": "t", "inputSchema": schema}).fault(arguments)


def of(**properties: Any) -> JsonObject:
    return {"type": "object", "properties": properties, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "string"}, 1, "'a' is not text"),
        ({"type": "number"}, True, "'a' is not a number"),
        ({"type": "integer"}, 1.5, "'a' is not a whole number"),
        ({"type": ["string", "null"]}, 1, "'a' is not text or null"),
        ({"type": "object", "properties": {"b": {"type": "boolean"}}}, {"b": 1}, "'a.b' is not true or false"),
        ({"type": "array", "items": {"type": "string"}}, ["x", 1], "'a[]' is not text"),
        ({"enum": ["x", 1]}, True, "'a' is no value it may have"),
        ({"const": {"b": 1}}, {"b": 2}, "'a' is no value it may have"),
        (of(b={}), {"c": 1}, "it has no argument 'a.c'"),
        ({"required": ["b"]}, {}, "it lacks the argument 'a.b'"),
        ({"additionalProperties": {"type": "string"}}, {"c": 1}, "'a.c' is not text"),
        ({"minLength": 2}, "x", "'a' is too short"),
        ({"maxLength": 2}, "xxx", "'a' is too long"),
        ({"minItems": 1}, [], "'a' is too short"),
        ({"maxItems": 1}, [1, 2], "'a' is too long"),
        ({"minimum": 3}, 2, "'a' is too small"),
        ({"maximum": 3}, 4, "'a' is too large"),
        ({"exclusiveMinimum": 3}, 3, "'a' is too small"),
        ({"exclusiveMaximum": 3}, 3, "'a' is too large"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "'a' is none of the forms it may have"),
        ({"oneOf": [{"type": "string"}]}, 1, "'a' is none of the forms it may have"),
        ({"allOf": [{}, {"type": "string"}]}, 1, "'a' is not text"),
        ({"$ref": "#/properties/other"}, 1, "'a' is not text"),
        (False, 1, "it has no argument 'a'"),
    ],
)
def test_a_value_its_schema_does_not_allow_is_named_and_never_quoted(schema: Any, value: Any, words: str) -> None:
    found = fault(of(a=schema, other={"type": "string"}), a=value)
    assert words in found


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.0),
        ({"enum": [1]}, 1.0),
        ({"enum": [[1]]}, [1.0]),
        ({"type": "string", "nullable": True}, None),
        ({"type": "boolean"}, None),  # left out, in the words of many models
        ({"type": "unheard-of"}, 1),
        ({"pattern": "^(a+)+$"}, "a" * 100_000 + "!"),
        ({"$ref": "https://elsewhere.example/schema"}, 1),
        ({"$ref": "#/nowhere"}, 1),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, ["x", 1]),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x1": 1}),
        ({"minimum": "text", "required": "b", "properties": [], "enum": 3, "allOf": 1, "anyOf": [], "items": []}, {}),
        ({"minimum": 3, "maxLength": 1, "maxItems": 0, "required": ["b"]}, None),
        (True, 1),
    ],
)
def test_what_is_right_or_cannot_be_told_is_left_to_the_server(schema: Any, value: Any) -> None:
    assert fault({"properties": {"a": schema}}, a=value) == ""


def test_a_null_is_no_value_of_what_may_not_be_left_out() -> None:
    schema = {"properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    assert fault(schema, a=None) == "its argument 'a' is not true or false"


def test_a_schema_that_leads_to_itself_ends() -> None:
    tree = {"$defs": {"t": {"properties": {"next": {"$ref": "#/$defs/t"}, "n": {"type": "number"}}}}}
    assert fault({**tree, "properties": {"a": {"$ref": "#/$defs/t"}}}, a={"next": {"next": {"n": 1}}}) == ""
    assert "'a.next.n' is not a number" in fault(
        {**tree, "properties": {"a": {"$ref": "#/$defs/t"}}}, a={"next": {"n": ""}}
    )
    assert "levels to check" in fault({"$ref": "#"})


def test_a_schema_made_to_take_long_is_given_up_on_after_so_many_steps() -> None:
    twice: JsonObject = {"type": "string"}
    for _ in range(60):
        twice = {"anyOf": [twice, twice]}
    assert f"more than {MAX_STEPS} steps" in fault({"properties": {"a": twice}}, a=1)


def test_a_wrong_value_is_refused_before_the_server_hears_of_it_and_a_changed_schema_counts_at_once() -> None:
    stage = Stage().running()
    stage.client(call(1, text=5))
    assert stage.to_server == []
    assert "refused by Bulkhead (R0, schema)" in stage.to_client[0]["error"]["message"]
    assert [fact.decision.rule for fact in stage.records if fact.decision] == ["R0"]
    assert "'text' is not text" in stage.to_client[0]["error"]["message"]
    assert "5" not in stage.to_client[0]["error"]["message"]
    stage = Stage(live=changed(LEGACY, tools=(WRITE,))).running()
    stage.client(call(2, text="fine"))
    assert [each["id"] for each in stage.to_server] == [2]


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "bb"])
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("ab"), v, max_size=2), max_leaves=6
)
numbers = st.integers(-2, 3)
leaves = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])}
    ),
    st.fixed_dictionaries({"type": st.just(["string", "array"])}),
    st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"const": values}),
    st.builds(lambda key, bound: {key: bound}, st.sampled_from(["minimum", "maximum", "exclusiveMinimum"]), numbers),
    st.builds(
        lambda key, bound: {key: bound},
        st.sampled_from(["minLength", "maxLength", "minItems", "maxItems"]),
        st.integers(0, 3),
    ),
    st.booleans(),
)
schemas = st.recursive(
    leaves,
    lambda s: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("ab"), s, max_size=2)}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.just("a"), s), "additionalProperties": s}),
        st.fixed_dictionaries({"required": st.lists(st.sampled_from("ab"), unique=True), "type": st.just("object")}),
        st.fixed_dictionaries({"items": s}),
        st.builds(
            lambda key, parts: {key: parts},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(s, min_size=1, max_size=2),
        ),
        st.fixed_dictionaries({"not": s}),
        st.fixed_dictionaries({"patternProperties": st.fixed_dictionaries({"a": s}), "additionalProperties": s}),
    ),
    max_leaves=5,
)


@settings(max_examples=400)
@given(schemas, st.dictionaries(st.sampled_from("ab"), values, max_size=2))
def test_nothing_that_json_schema_allows_is_refused(schema: Any, arguments: JsonObject) -> None:
    if Draft202012Validator(schema).is_valid(arguments):
        assert Arguments({"name": "t", "inputSchema": schema}).fault(arguments) == ""
