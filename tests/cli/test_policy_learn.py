"""`policy learn`: what was let through becomes a policy on paper, and the policy in force only after a yes."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from broker.api import schema
from broker.model import Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import evaluate
from broker.policy.store import shipped
from tests.cli.test_main import Desk, bulkhead, running


def receipt(seq: int, request: int, path: str) -> dict[str, Any]:
    return {"seq": seq, "kind": "decision", "verdict": "allow", "side": "client", "client": "cursor", "server": "files",
            "session": "s", "link": "l", "request": request, "method": "tools/call", "target": "read",
            "body": {"name": "read", "arguments": {"path": path}}}  # fmt: skip


SEEN: Final = [receipt(4, 1, "/home/me/a.md"), receipt(6, 1, "/home/me/a.md"), receipt(9, 2, "/home/me/b.md")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("h")
        patch.setenv("BULKHEAD_HOME", str(home))
        with running(home.resolve()) as found:
            yield found


@pytest.fixture(autouse=True)
def fresh(desk: Desk) -> None:
    desk.asked.clear()
    observe = schema.PolicyUse(name="observe", text=shipped("observe").decode())
    desk.answers = {"policy.now": observe, "policy.use": schema.Nothing()}
    desk.answering = {"audit.open": pages}


def pages(params: schema.Words) -> schema.Words:
    assert isinstance(params, schema.Search)
    return schema.Receipts(receipts=[entry for entry in SEEN if entry["seq"] > params.after])


def call(path: str, tool: str = "read") -> Call:
    return Call(
        ClientName("cursor"), ServerName("files"), SessionId("s"), "client", "tools/call", tool, {"path": path}, ""
    )


def test_what_was_seen_becomes_a_narrow_policy_that_nobody_has_agreed_to(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("policy", "learn") == 0
    shown = capsys.readouterr()
    assert "# seen 2 times, receipts 4, 9; narrowed by path" in shown.out
    assert "policy.use" not in desk.methods() and "not used" in shown.err
    learned = parse_policy(shown.out.encode(), "learned.toml")
    assert learned.holds  # although the policy in force holds nothing
    assert evaluate(learned, call("/home/me/c.md")).verdict is Verdict.ALLOW
    assert evaluate(learned, call("/etc/passwd")).verdict is Verdict.DENY
    assert evaluate(learned, call("/home/me/c.md", "write")).verdict is Verdict.DENY


def test_a_yes_puts_exactly_the_shown_policy_in_force(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "y")
    assert bulkhead("policy", "learn", "--since", "7d") == 0
    (used,) = [params for method, params in desk.asked if method == "policy.use"]
    assert isinstance(used, schema.PolicyUse) and used.text.strip() == capsys.readouterr().out.strip()


def test_what_is_learned_is_one_json_document_and_nothing_seen_is_said(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("policy", "learn", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [rule["target"] for rule in said["rules"]] == ["read"] and said["left_out"] == []
    desk.answering = {"audit.open": lambda _: schema.Receipts(receipts=[])}
    assert bulkhead("policy", "learn") == 1
    assert "no call was let through" in capsys.readouterr().err
