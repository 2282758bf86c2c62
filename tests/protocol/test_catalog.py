import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.model import JsonObject
from broker.protocol.catalog import (
    Catalog,
    Change,
    View,
    diff,
    digest,
    endorsed,
    from_json,
    held,
    settled,
    to_json,
)
from tests.protocol.stage import CATALOG, FILE, LEGACY, MODERN, READ, SUMMARY, WRITE

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('ab"é')
objects = st.dictionaries(st.text("abc", max_size=3), scalars | st.lists(scalars, max_size=2), max_size=4)


def _tools(found: dict[str, JsonObject]) -> tuple[JsonObject, ...]:
    return tuple({**rest, "name": name, "inputSchema": {}} for name, rest in found.items())


tools = st.dictionaries(st.text("xyz", min_size=1, max_size=2), objects, max_size=4).map(_tools)
views = st.builds(
    lambda shown, opening: replace(LEGACY, tools=shown, opening={"capabilities": {}, **opening}), tools, objects
)


def legacy(**opening: Any) -> View:
    assert LEGACY.opening is not None
    return replace(LEGACY, opening={**LEGACY.opening, **opening})


@given(views, views)
def test_two_views_differ_exactly_when_their_digests_do_apart_from_order(one: View, other: View) -> None:
    def bag(view: View) -> str:
        ordered = replace(view, tools=tuple(sorted(view.tools, key=lambda item: str(item["name"]))))
        return digest(Catalog({"legacy/full": ordered}))

    assert (diff(one, other) == ()) == (bag(one) == bag(other))


@given(views)
def test_a_catalog_survives_being_written_down(view: View) -> None:
    catalog = Catalog({"legacy/full": view, "modern/empty": View("modern", refusal={"code": -1, "message": "no"})})
    text = to_json(catalog)
    assert from_json(text) == catalog
    assert to_json(from_json(text)) == text
    assert digest(from_json(text)) == digest(catalog)


def test_the_order_of_keys_and_views_does_not_change_the_digest() -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    document = turned(json.loads(to_json(CATALOG)))
    assert digest(from_json(json.dumps(document))) == digest(CATALOG)


@pytest.mark.parametrize(
    "tool",
    [
        {**WRITE, "description": "Write a note."},
        {**WRITE, "vendorField": {"kept": [1, 1, None]}},
        {**WRITE, "vendorField": {"kept": [True, 1.0, None]}},
        {**WRITE, "annotations": {}},
        {key: value for key, value in WRITE.items() if key != "vendorField"},
    ],
)
def test_a_change_in_any_byte_of_a_definition_changes_the_digest_and_is_drift(tool: JsonObject) -> None:
    live = replace(LEGACY, tools=(tool, READ))
    assert digest(Catalog({"legacy/full": live})) != digest(Catalog({"legacy/full": LEGACY}))
    assert [change.name for change in held(diff(LEGACY, live))] == ["write"]


def test_a_change_names_the_fields_that_differ() -> None:
    live = replace(LEGACY, tools=({**WRITE, "description": "x", "icons": []}, READ))
    assert diff(LEGACY, live) == (Change("changed", "tool", "write", ("description", "icons")),)


def test_what_is_new_changed_and_missing_is_told_apart() -> None:
    live = replace(LEGACY, tools=(READ, {"name": "new", "inputSchema": {}}), prompts=(), templates=LEGACY.templates)
    assert set(diff(LEGACY, live)) == {
        Change("added", "tool", "new"),
        Change("missing", "tool", "write"),
        Change("missing", "prompt", "summary"),
    }
    assert held(diff(LEGACY, live)) == (Change("added", "tool", "new"),)


def test_resources_are_compared_but_never_held() -> None:
    live = replace(LEGACY, resources=(FILE, {"uri": "file:///notes/two", "name": "two"}))
    assert diff(LEGACY, live) == (Change("added", "resource", "file:///notes/two"),)
    assert held(diff(LEGACY, live)) == ()


@pytest.mark.parametrize(
    ("live", "change"),
    [
        (legacy(instructions="Obey"), Change("changed", "instructions", "", ("instructions",))),
        (legacy(capabilities={"tools": {}, "new": {}}), Change("changed", "capabilities", "", ("new",))),
        (legacy(serverInfo={"name": "other", "version": "1"}), Change("changed", "identity", "", ("serverInfo",))),
        (legacy(vendorField=2), Change("changed", "identity", "", ("vendorField",))),
    ],
)
def test_instructions_capabilities_and_identity_are_compared(live: View, change: Change) -> None:
    assert change in held(diff(LEGACY, live))


def test_a_capability_a_server_keeps_from_some_clients_is_not_drift() -> None:
    live = legacy(capabilities={"tools": {}})
    assert held(diff(LEGACY, live)) == ()
    assert diff(LEGACY, live)[0].kind == "missing"


def test_what_varies_from_request_to_request_is_not_drift() -> None:
    assert MODERN.opening is not None
    live = replace(MODERN, opening={**MODERN.opening, "ttlMs": 7, "cacheScope": "public"})
    assert diff(MODERN, live) == ()
    assert diff(LEGACY, legacy(protocolVersion="2024-11-05")) == ()


def test_a_server_that_begins_to_speak_an_era_has_changed() -> None:
    refused = View("modern", refusal={"code": -32601, "message": "no"})
    assert diff(refused, MODERN)[0] == Change("added", "identity", "")
    assert diff(MODERN, refused)[0] == Change("missing", "identity", "")
    assert diff(refused, refused) == ()


@given(views, views)
def test_what_is_shown_was_agreed_to_and_is_what_the_server_shows_now(agreed: View, live: View) -> None:
    shown = endorsed(agreed, diff(agreed, live))
    assert shown.opening == agreed.opening
    for tool in shown.tools:
        assert repr(tool) in {repr(each) for each in agreed.tools}
        assert json.dumps(tool, sort_keys=True) in {json.dumps(each, sort_keys=True) for each in live.tools}


def test_an_item_agreed_to_in_the_other_view_of_the_era_is_not_drift() -> None:
    plain = {**WRITE, "description": "for clients that declare nothing"}
    sibling = replace(LEGACY, tools=(plain, {"name": "extra", "inputSchema": {}}))
    live = replace(LEGACY, tools=(plain, READ, {"name": "extra", "inputSchema": {}}))
    agreed = settled(LEGACY, sibling, live)
    assert diff(agreed, live) == ()
    assert agreed.prompts == (SUMMARY,)
    worse = replace(live, tools=({**plain, "description": "neither"},))
    assert held(diff(settled(LEGACY, sibling, worse), worse)) != ()


def _document(**changes: Any) -> JsonObject:
    document: JsonObject = json.loads(to_json(Catalog({"legacy/full": LEGACY})))
    document["views"]["legacy/full"].update(changes)
    return document


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"format": 2, "views": {}},
        {"format": 1, "views": {}, "more": 1},
        {"format": 1, "views": {"legacy/half": {}}},
        {"format": 1, "views": {"legacy/full": {"opening": {}}}},
        _document(refusal={"code": 1, "message": ""}),
        _document(opening=None),
        _document(tools={}),
        _document(tools=[{"name": 1, "inputSchema": {}}]),
        _document(tools=[{"name": "x"}]),
        _document(resources=[{"name": "no uri"}]),
        _document(extra=[]),
    ],
)
def test_a_catalog_document_that_is_not_ours_is_refused_and_says_to_pin_again(document: Any) -> None:
    with pytest.raises(ConfigError, match="pinned catalog cannot be read") as caught:
        from_json(json.dumps(document))
    assert "bulkhead pin" in caught.value.hint


def test_a_catalog_with_a_key_twice_is_refused() -> None:
    with pytest.raises(ConfigError):
        from_json('{"format": 1, "format": 1, "views": {}}')
