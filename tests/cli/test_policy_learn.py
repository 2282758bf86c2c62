"""`policy learn`: what was let through becomes a policy on paper, and the policy in force only after a yes."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from broker.api import schema
from tests.cli.test_main import Desk, bulkhead, running

TEXT: Final = """\
version = 1
name = "learned"
description = "learned from 2 calls, beside the rules of balanced"

# seen 2 times, receipts 4, 9; narrowed by path
[[rule]]
name = "learned-1-files-read"
effect = "allow"
reason = "seen at work"
"""
RULE: Final = schema.LearnedRule(
    name="learned-1-files-read", client="cursor", server="files", method="tools/call", target="read",
    evidence="seen 2 times, receipts 4, 9; narrowed by path",
)  # fmt: skip
FOUND: Final = schema.PolicyLearned(name="learned", text=TEXT, base="balanced", seen=2, rules=[RULE])


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
    desk.answers = {"policy.learn": FOUND, "policy.use": schema.Nothing()}


def test_what_was_seen_becomes_a_narrow_policy_that_nobody_has_agreed_to(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("policy", "learn") == 0
    shown = capsys.readouterr()
    assert "# seen 2 times, receipts 4, 9; narrowed by path" in shown.out
    assert "policy.use" not in desk.methods() and "not used" in shown.err
    assert shown.out.strip() == TEXT.strip()


def test_a_yes_puts_exactly_the_shown_policy_in_force(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "y")
    assert bulkhead("policy", "learn", "--since", "7d") == 0
    (asked,) = [params for method, params in desk.asked if method == "policy.learn"]
    assert isinstance(asked, schema.PolicyLearn) and asked.since is not None
    (used,) = [params for method, params in desk.asked if method == "policy.use"]
    assert isinstance(used, schema.PolicyUse) and used.text.strip() == capsys.readouterr().out.strip()


def test_what_is_learned_is_one_json_document_and_nothing_seen_is_said(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("policy", "learn", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [rule["target"] for rule in said["rules"]] == ["read"] and said["left_out"] == []
    desk.answers["policy.learn"] = FOUND.model_copy(update={"rules": [], "text": ""})
    assert bulkhead("policy", "learn") == 1
    assert "no call was let through" in capsys.readouterr().err
