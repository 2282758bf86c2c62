import re

import mcp_types.methods
import pytest

from broker.protocol.methods import METHODS, Kind, method_for, target_of

JUDGED = {
    "tasks/update",
    "tools/call",
    "resources/read",
    "resources/subscribe",
    "prompts/get",
    "completion/complete",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
}


def test_every_method_the_sdk_knows_is_in_the_table_for_its_sender_and_era() -> None:
    tables: list[tuple[str, Kind]] = [("REQUESTS", "request"), ("NOTIFICATIONS", "notification")]
    checked = 0
    for suffix, kind in tables:
        for side in ("client", "server"):
            for name, version in getattr(mcp_types.methods, f"{side.upper()}_{suffix}"):
                era = "modern" if version >= "2026" else "legacy"
                assert method_for(name, kind, side, era) is not None, (name, version, side)  # type: ignore[arg-type]
                checked += 1
    assert checked > 80


def test_exactly_what_uses_or_shows_something_is_judged() -> None:
    assert {name for name, method in METHODS.items() if method.judged} == JUDGED


def test_only_what_needs_no_server_is_answered_from_the_pin() -> None:
    pinned = {name for name, method in METHODS.items() if method.pinned}
    assert pinned == {
        "initialize", "server/discover", "ping", "logging/setLevel", "subscriptions/listen",
        "tools/list", "prompts/list", "resources/list", "resources/templates/list",
    }  # fmt: skip
    assert not pinned & JUDGED


def test_a_modern_server_makes_no_requests() -> None:
    assert not [name for name, method in METHODS.items() if method.kind == "request" and "server" in method.modern]


def test_what_a_result_may_ask_for_is_what_a_legacy_server_could_request() -> None:
    assert {name for name, method in METHODS.items() if method.input} == {
        "sampling/createMessage", "elicitation/create", "roots/list",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["tools/Call", "tools/call ", "", "constructor", "rpc.discover"])
def test_a_method_that_is_not_in_the_table_is_no_method(name: str) -> None:
    assert method_for(name, "request", "client", "legacy") is None


def test_a_request_is_no_notification() -> None:
    assert method_for("tools/call", "notification", "client", "legacy") is None
    assert method_for("notifications/cancelled", "request", "client", "legacy") is None


def test_names_are_written_as_the_wire_writes_them() -> None:
    assert all(re.fullmatch(r"[a-z]+(/[a-zA-Z_]+)*", name) for name in METHODS)


@pytest.mark.parametrize(
    ("name", "params", "target"),
    [
        ("tools/call", {"name": "write"}, "write"),
        ("tools/call", {"name": ["write"]}, None),
        ("tools/call", {}, None),
        ("resources/read", {"uri": "file:///a"}, "file:///a"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}, "p"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "a://{b}"}}, "a://{b}"),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}, None),
        ("roots/list", {}, "roots/list"),
    ],
)
def test_a_message_says_what_it_is_about_or_is_about_nothing(
    name: str, params: dict[str, object], target: str | None
) -> None:
    assert target_of(name, METHODS[name], params) == target
