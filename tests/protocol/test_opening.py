from typing import Any

import pytest

from broker.protocol.catalog import Catalog, View
from broker.protocol.effects import Launch, Read
from tests.protocol.stage import (
    CATALOG,
    FILE,
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    META,
    MODERN,
    READ,
    SUMMARY,
    TEMPLATE,
    WRITE,
    Stage,
    call,
    changed,
    modern,
    notice,
    request,
    shape,
)

REFUSAL = {"code": -32601, "message": "Method not found", "data": {"kept": True}}


def test_initialize_is_answered_from_the_pin_and_starts_nothing() -> None:
    stage = Stage()
    effects = stage.client(INITIALIZE, INITIALIZED)
    assert shape(effects) == ["record handshake", "record result", "to client", "record handshake"]
    (answer,) = stage.to_client
    assert answer["id"] == "open"
    assert answer["result"]["instructions"] == "Keep it short"
    assert answer["result"]["serverInfo"] == {"name": "notes", "version": "1"}
    assert answer["result"]["vendorField"] == 1
    assert stage.conversation.era == "legacy"


def test_the_client_is_told_that_lists_may_change_and_nothing_else_is_added() -> None:
    capabilities = Stage().opened().to_client[0]["result"]["capabilities"]
    assert capabilities == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
        "completions": {},
    }
    assert LEGACY.opening is not None
    assert LEGACY.opening["capabilities"]["tools"] == {}


@pytest.mark.parametrize(
    ("asked", "pinned", "told"),
    [
        ("2025-11-25", "2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-11-25", "2025-06-18"),
        ("2024-11-05", "2025-11-25", "2024-11-05"),
        ("2025-11-25", "2024-11-05", "2024-11-05"),
        ("2031-01-01", "2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25", "2025-11-25"),
    ],
)
def test_a_client_is_told_the_newest_version_both_can_be_expected_to_speak(asked: str, pinned: str, told: str) -> None:
    assert LEGACY.opening is not None
    view = changed(LEGACY, opening={**LEGACY.opening, "protocolVersion": pinned})
    stage = Stage(Catalog({"legacy/full": view}))
    stage.client({**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": asked}})
    assert stage.to_client[0]["result"]["protocolVersion"] == told


def test_server_discover_is_answered_from_the_pin_without_versions_nobody_here_speaks() -> None:
    stage = Stage()
    stage.client(modern("d", "server/discover"))
    body = stage.to_client[0]["result"]
    assert body["supportedVersions"] == ["2026-07-28", "2025-11-25"]
    assert body["resultType"] == "complete"
    assert body["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "notes", "version": "1"}}


@pytest.mark.parametrize("opened", [Stage.opened, Stage.opened_modern])
@pytest.mark.claim("C13")
def test_all_four_lists_are_answered_whole_from_the_pin_and_start_nothing(opened: Any) -> None:
    stage = Stage()
    opened(stage)
    make = request if stage.conversation.era == "legacy" else modern
    stage.effects.clear()
    stage.client(*(make(m, m) for m in ("tools/list", "prompts/list", "resources/list", "resources/templates/list")))
    bodies = [answer["result"] for answer in stage.to_client]
    assert [bodies[0]["tools"], bodies[1]["prompts"]] == [[WRITE, READ], [SUMMARY]]
    assert [bodies[2]["resources"], bodies[3]["resourceTemplates"]] == [[FILE], [TEMPLATE]]
    assert not any("nextCursor" in body for body in bodies)
    assert not any(isinstance(effect, Launch) for effect in stage.effects)


def test_a_modern_list_says_that_it_must_not_be_kept() -> None:
    stage = Stage().opened_modern()
    body = stage.to_client[-1]["result"]
    assert (body["resultType"], body["ttlMs"], body["cacheScope"]) == ("complete", 0, "private")


def test_a_list_of_resources_counts_as_read_and_definitions_do_not() -> None:
    stage = Stage().opened()
    stage.client(request(1, "tools/list"), request(2, "prompts/list"), request(3, "resources/templates/list"))
    assert not any(isinstance(effect, Read) for effect in stage.effects)
    assert shape(stage.client(request(4, "resources/list")))[-3:] == ["record result", "read", "to client"]


def test_a_cursor_we_never_gave_is_refused() -> None:
    stage = Stage().opened()
    stage.client(request(1, "tools/list", cursor="x"))
    assert stage.to_client[-1]["error"]["code"] == -32602


@pytest.mark.parametrize("before", [(), (INITIALIZE,)])
def test_a_ping_is_answered_at_any_time(before: tuple[dict[str, Any], ...]) -> None:
    stage = Stage()
    stage.client(*before, request("p", "ping"))
    assert stage.to_client[-1] == {"jsonrpc": "2.0", "id": "p", "result": {}}


def test_there_is_no_ping_in_the_modern_era() -> None:
    stage = Stage().opened_modern()
    stage.client(modern("p", "ping"))
    assert stage.to_client[-1]["error"]["code"] == -32601


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "logging/setLevel"])
def test_a_legacy_client_that_has_not_said_who_it_is_gets_nothing(method: str) -> None:
    stage = Stage()
    stage.client(request(1, method, name="write"))
    assert stage.to_client[0]["error"]["code"] == -32600
    assert "before initialize" in stage.to_client[0]["error"]["message"]
    assert stage.conversation.era is None


def test_initialize_is_answered_once() -> None:
    stage = Stage().opened()
    stage.client({**INITIALIZE, "id": "again"})
    assert stage.to_client[-1]["error"]["message"] == "the client sent initialize a second time"


def test_a_modern_client_may_begin_with_any_request() -> None:
    stage = Stage()
    stage.client(modern(1, "tools/list"))
    assert stage.to_client[0]["result"]["tools"] == [WRITE, READ]
    assert stage.conversation.era == "modern"


@pytest.mark.parametrize(
    "meta", [{}, {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, {**META, next(iter(META)): 7}]
)
def test_a_modern_request_without_its_metadata_is_refused(meta: dict[str, Any]) -> None:
    stage = Stage().opened_modern()
    stage.client(request(1, "tools/list", _meta=meta))
    assert stage.to_client[-1]["error"]["code"] == -32602


@pytest.mark.parametrize("version", ["2025-11-25", "2031-01-01", "x"])
def test_a_modern_request_in_another_version_is_told_which_are_spoken(version: str) -> None:
    stage = Stage()
    stage.client(request(1, "tools/list", _meta={**META, "io.modelcontextprotocol/protocolVersion": version}))
    error = stage.to_client[0]["error"]
    assert error["code"] == -32022
    assert error["data"] == {"supported": ["2026-07-28"], "requested": version}


def test_a_client_that_speaks_both_eras_asks_and_then_chooses() -> None:
    stage = Stage()
    stage.client(modern("probe", "server/discover"), INITIALIZE)
    assert [sorted(answer) for answer in stage.to_client] == [["id", "jsonrpc", "result"]] * 2
    assert stage.conversation.era == "legacy"


def test_an_era_the_server_refused_when_it_was_pinned_is_refused_in_its_own_words() -> None:
    stage = Stage(Catalog({"legacy/full": LEGACY, "modern/full": View("modern", refusal=REFUSAL)}))
    stage.client(modern("probe", "tools/list"))
    assert stage.to_client[0] == {"jsonrpc": "2.0", "id": "probe", "error": REFUSAL}
    stage.client(INITIALIZE)
    assert "result" in stage.to_client[1]


def test_an_era_nobody_looked_at_is_refused_and_the_error_says_what_to_run() -> None:
    stage = Stage(Catalog({"modern/full": MODERN}))
    stage.client(INITIALIZE)
    assert stage.to_client[0]["error"]["code"] == -32601
    assert "bulkhead review notes" in stage.to_client[0]["error"]["message"]


def test_a_client_that_declares_nothing_is_shown_what_such_clients_are_shown() -> None:
    bare = changed(LEGACY, tools=(READ,))
    stage = Stage(Catalog({**CATALOG.views, "legacy/empty": bare}))
    stage.client({**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": {}}}, request(1, "tools/list"))
    assert stage.to_client[-1]["result"]["tools"] == [READ]


def test_a_client_that_left_its_era_is_refused() -> None:
    stage = Stage().opened()
    stage.client(modern(1, "tools/list"))
    assert stage.to_client[-1]["error"]["code"] == -32600
    stage = Stage().opened_modern()
    stage.client(INITIALIZE)
    assert stage.to_client[-1]["error"]["code"] == -32601


def test_a_log_level_is_taken_without_a_server_and_told_to_it_when_it_starts() -> None:
    stage = Stage().opened()
    stage.client(request(1, "logging/setLevel", level="debug"))
    assert stage.to_client[-1]["result"] == {}
    assert stage.to_server == []
    stage.client(call(2))
    stage.start()
    told = next(message for message in stage.to_server if message["method"] == "logging/setLevel")
    assert told["params"] == {"level": "debug"}
    assert stage.to_server.index(told) < stage.to_server.index(call(2))
    stage.client(request(3, "logging/setLevel", level="error"))
    assert stage.to_server[-1]["params"] == {"level": "error"}


@pytest.mark.parametrize("level", ["loud", 3, None])
def test_a_log_level_nobody_knows_is_refused(level: Any) -> None:
    stage = Stage().opened()
    stage.client(request(1, "logging/setLevel", level=level))
    assert stage.to_client[-1]["error"]["code"] == -32602


def test_a_server_that_keeps_no_log_is_not_asked_for_one() -> None:
    assert LEGACY.opening is not None
    stage = Stage(Catalog({"legacy/full": changed(LEGACY, opening={**LEGACY.opening, "capabilities": {"tools": {}}})}))
    stage.opened().client(request(1, "logging/setLevel", level="debug"))
    assert stage.to_client[-1]["error"]["code"] == -32601


def test_a_method_nobody_knows_is_refused_and_a_notification_nobody_knows_is_recorded_and_dropped() -> None:
    stage = Stage().running()
    stage.client(request(1, "tools/rename", name="write"), notice("notifications/unheard", a=1))
    assert stage.to_client == [
        {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32601, "message": "'tools/rename' is no method a client may use here"},
        }
    ]
    assert stage.records[-1].body == {"dropped": "no method a client may use here"}
    assert stage.to_server == []


@pytest.mark.parametrize("params", [{}, {"protocolVersion": "2025-11-25"}, {"protocolVersion": 1, "capabilities": {}}])
def test_initialize_without_what_it_must_say_is_refused_and_may_be_tried_again(params: dict[str, Any]) -> None:
    stage = Stage()
    stage.client({**INITIALIZE, "params": params})
    assert stage.to_client[-1]["error"]["code"] == -32602
    stage.client({**INITIALIZE, "id": 2})
    assert "result" in stage.to_client[-1]
