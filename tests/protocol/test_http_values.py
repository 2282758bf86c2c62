"""What stands in the headers of Streamable HTTP, and when it contradicts the body."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol.http_values import contradiction, faulty, headers_of, spelled, written

VERSION = "2026-07-28"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
    },
}
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
        "count": st.integers(-(2**63), 2**63),
        "deep": st.fixed_dictionaries({}, optional={"flag": st.booleans()}),
    },
)


def call(**arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "look", "arguments": arguments}}


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_is_written_into_a_header_is_read_back(text: str) -> None:
    value = written(text)
    assert value.isascii() and value == value.strip() and "\n" not in value
    assert spelled(value) == text


@pytest.mark.parametrize("value", ["=?base64?@@@?=", "=?base64?YR==?=", "=?base64?/w==?=", "=?base64?YQ?="])
def test_a_wrapping_that_can_be_read_in_two_ways_is_read_in_none(value: str) -> None:
    assert spelled(value) is None


@given(ARGUMENTS)
def test_headers_made_from_a_message_never_contradict_it(arguments: dict[str, Any]) -> None:
    message = call(**arguments)
    made = headers_of(message, VERSION, SCHEMA)
    assert contradiction(message, made.items(), VERSION, SCHEMA) == ""


def test_a_request_about_a_task_names_it_and_one_that_does_not_contradicts_nothing() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t-1"}}
    made = headers_of(message, VERSION)
    assert made["mcp-name"] == "t-1"
    assert contradiction(message, made.items(), VERSION) == ""
    unnamed = {name: value for name, value in made.items() if name != "mcp-name"}
    assert contradiction(message, unnamed.items(), VERSION) == ""
    assert (
        contradiction(message, {**made, "mcp-name": "t-2"}.items(), VERSION) == "mcp-name is not the taskId of the body"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"mcp-protocol-version": "2025-11-25"},
        {"mcp-method": "tools/list"},
        {"mcp-name": "write"},
        {"mcp-param-region": "eu"},
        {"mcp-param-region": None},
        {"mcp-param-flag": "true"},
        {"mcp-method": None},
        {"mcp-name": None},
    ],
)
def test_a_header_that_says_something_else_is_a_contradiction(change: dict[str, str | None]) -> None:
    message = call(region="us", count=3)
    said = {**headers_of(message, VERSION, SCHEMA), **change}
    lines = [(name, value) for name, value in said.items() if value is not None]
    assert contradiction(message, lines, VERSION, SCHEMA)


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region"])
def test_a_header_that_stands_twice_is_a_contradiction_even_with_itself(name: str) -> None:
    message = call(region="us")
    made = headers_of(message, VERSION, SCHEMA)
    assert contradiction(message, [*made.items(), (name, made[name])], VERSION, SCHEMA)


def test_whole_numbers_are_compared_as_numbers() -> None:
    message = call(count=42)
    said = {**headers_of(message, VERSION, SCHEMA), "mcp-param-count": "42.0"}
    assert contradiction(message, said.items(), VERSION, SCHEMA) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"x-mcp-header": "A", "type": "string"},
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A B"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": 7}}},
        {"properties": {"a": {"items": {"type": "string", "x-mcp-header": "A"}}}},
        {"properties": {name: {"type": "string", "x-mcp-header": name} for name in ("a", "A")}},
    ],
)
def test_annotations_that_cannot_be_used_are_none(schema: dict[str, Any]) -> None:
    assert faulty(schema)
    assert headers_of(call(a="x"), VERSION, schema).keys() == {"mcp-protocol-version", "mcp-method", "mcp-name"}
