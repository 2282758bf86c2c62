"""Any valid message of any revision arrives with the same meaning, what nobody knows of it included.

The shapes, and the word on what is valid, are the published types of each revision, as the SDK's packages carry them.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_types import methods
from pydantic import TypeAdapter

from broker.protocol.catalog import Catalog
from broker.protocol.events import FromClient, FromServer
from broker.protocol.frames import FrameDecoder, encode
from tests.fidelity.shapes import fitting, unknown
from tests.protocol.stage import INITIALIZE, INITIALIZED, LEGACY, META, MODERN, Stage, changed, request

Json = dict[str, Any]
MODERN_VERSION: Final = "2026-07-28"
VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN_VERSION)
FORCED: Final[dict[str, Json]] = {"tools/call": {"name": "read"}, "prompts/get": {"name": "summary"}}
"""What has to be there for a message to be allowed: names that were agreed to."""
USES: Final = ("tools/call", "prompts/get", "resources/read", "resources/subscribe", "completion/complete")
few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def of(table: Mapping[tuple[str, str], Any], *wanted: str) -> list[tuple[str, str]]:
    """Methods and the revisions they are in."""
    return sorted(key for key in table if not wanted or key[0] in wanted)


@cache
def shaped(type: Any, field: str = "") -> st.SearchStrategy[Any]:
    """Values of a published type, or of one field of it."""
    schema: Json = TypeAdapter(type).json_schema(by_alias=True)
    if not field:
        return fitting(schema)
    inner = schema.get("properties", {}).get(field)
    return st.just({}) if inner is None else fitting({**inner, "$defs": schema.get("$defs", {})})


def running(version: str) -> Stage:
    """A server of this revision that runs, and whose client has shaken hands."""
    if version == MODERN_VERSION:
        return Stage(Catalog({"modern/full": MODERN})).running_modern()
    opening = {**(LEGACY.opening or {}), "protocolVersion": version}
    view = changed(LEGACY, opening=opening)
    stage = Stage(Catalog({"legacy/full": view}))
    stage.client({**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": version}}, INITIALIZED)
    stage.client(request("warm", "tasks/list"))
    stage.start(view)
    stage.server({"jsonrpc": "2.0", "id": "warm", "result": {"tasks": []}})
    stage.effects.clear()
    return stage


def through(message: Json) -> Json:
    """As it comes off the wire."""
    (frame,) = FrameDecoder("client").feed(json.dumps(message).encode() + b"\n")
    assert frame.message is not None, frame.fault
    return frame.message


def dressed(version: str, method: str, params: Json | None) -> Json:
    """Parameters as their era carries them, about something that was agreed to."""
    said = {key: value for key, value in (params or {}).items() if key not in ("requestState", "task")}
    said |= FORCED.get(method, {})
    if version == MODERN_VERSION:
        said["_meta"] = {**(said.get("_meta") or {}), **META}
    return said


@pytest.mark.claim("C03")
@pytest.mark.parametrize(("method", "version"), of(methods.CLIENT_REQUESTS, *USES))
@few
@given(data=st.data())
def test_what_a_client_asks_arrives(method: str, version: str, data: st.DataObject) -> None:
    params = dressed(version, method, data.draw(shaped(methods.CLIENT_REQUESTS[method, version], "params")))
    methods.validate_client_request(method, version, params)
    asked = {**request(1, method, **params), **data.draw(unknown)}
    stage = running(version)
    stage.feed(FromClient(through(asked), 1))
    assert [json.loads(encode(message)) for message in stage.to_server] == [asked]


@pytest.mark.parametrize(("method", "version"), of(methods.SERVER_RESULTS, *USES))
@few
@given(data=st.data())
def test_what_a_server_answers_arrives(method: str, version: str, data: st.DataObject) -> None:
    result = data.draw(shaped(methods.SERVER_RESULTS[method, version]))
    methods.validate_server_result(method, version, result)
    stage = running(version)
    stage.client(request(1, method, **dressed(version, method, {"uri": "every://1", "ref": {"name": "summary"}})))
    answer = {"jsonrpc": "2.0", "id": 1, "result": result, **data.draw(unknown)}
    stage.feed(FromServer(through(answer), 1))
    assert [json.loads(encode(message)) for message in stage.to_client] == [answer]


@pytest.mark.parametrize(("method", "version"), of(methods.SERVER_REQUESTS))
@few
@given(data=st.data())
def test_what_a_server_asks_and_is_answered_arrives(method: str, version: str, data: st.DataObject) -> None:
    params = data.draw(shaped(methods.SERVER_REQUESTS[method, version], "params")) or {}
    given_back = data.draw(shaped(methods.CLIENT_RESULTS[method, version]))
    asked = {**request("q", method, **params), **data.draw(unknown)}
    answer = {"jsonrpc": "2.0", "id": "q", "result": given_back, **data.draw(unknown)}
    stage = running(version)
    stage.feed(FromServer(through(asked), 1))
    stage.feed(FromClient(through(answer), 1))
    assert [json.loads(encode(message)) for message in stage.to_client] == [asked]
    assert [json.loads(encode(message)) for message in stage.to_server] == [answer]


TOLD: Final = (
    "notifications/message", "notifications/progress", "notifications/elicitation/complete",
    "notifications/resources/updated",
)  # fmt: skip


@pytest.mark.parametrize(("method", "version"), of(methods.SERVER_NOTIFICATIONS, *TOLD))
@few
@given(data=st.data())
def test_what_a_server_tells_arrives(method: str, version: str, data: st.DataObject) -> None:
    params = data.draw(shaped(methods.SERVER_NOTIFICATIONS[method, version], "params")) or {}
    stage = running(version)
    if method == "notifications/progress":
        params |= {"progressToken": "token"}
        meta = {**(META if version == MODERN_VERSION else {}), "progressToken": "token"}
        stage.client(request(1, "tools/call", name="read", arguments={}, _meta=meta))
    elif method == "notifications/resources/updated" and version == MODERN_VERSION:
        params["_meta"] = {**(params.get("_meta") or {}), "io.modelcontextprotocol/subscriptionId": "s"}
        follow = {"resourceSubscriptions": [params["uri"]]}
        stage.client(request("s", "subscriptions/listen", notifications=follow, _meta=META))
    elif method == "notifications/resources/updated":
        stage.client(request(1, "resources/subscribe", uri=params["uri"]))
        stage.server({"jsonrpc": "2.0", "id": 1, "result": {}})
    stage.effects.clear()
    told = {"jsonrpc": "2.0", "method": method, "params": params, **data.draw(unknown)}
    stage.feed(FromServer(through(told), 1))
    assert [json.loads(encode(message)) for message in stage.to_client] == [told]


PINNED: Final = ("initialize", "server/discover", "tools/list", "prompts/list", "resources/list",
                 "resources/templates/list", "ping", "logging/setLevel")  # fmt: skip


@pytest.mark.parametrize(("method", "version"), of(methods.CLIENT_REQUESTS, *PINNED))
def test_what_bulkhead_answers_itself_is_what_the_revision_allows(method: str, version: str) -> None:
    stage = running(version)
    params: Json = {"level": "info"} if method == "logging/setLevel" else {}
    if method == "initialize":
        stage = Stage(Catalog({"legacy/full": LEGACY}))
        params = {**INITIALIZE["params"], "protocolVersion": version}
    stage.client(request(1, method, **dressed(version, method, params)))
    (answer,) = stage.to_client
    methods.validate_server_result(method, version, answer["result"])
