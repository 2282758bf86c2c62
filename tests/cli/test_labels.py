"""`labels`: a page a person can read, and one key to accept exactly what was on it."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from broker.api import schema
from tests.cli.test_main import Desk, bulkhead, running

WORST: Final = schema.ToolLabels(name="search", labels=["P", "U", "E", "M"], level="H", reason="nobody vouched for it")
GUESS: Final = schema.ToolLabels(name="search", labels=["U"], level="L", reason="its name says so", scope=["repo"])
VIEW: Final = schema.LabelsView(
    name="notes", basis="worst", source="", publisher="npm notes", catalog="c" * 64,
    tools=[schema.ProposedLabels(now=WORST, proposed=GUESS, because=[("U", "others may write 'page'")])],
)  # fmt: skip
DONE: Final = VIEW.model_copy(update={"basis": "accepted", "tools": [VIEW.tools[0].model_copy(update={"now": GUESS})]})


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
    desk.answers = {"labels": VIEW, "labels.accept": DONE, "labels.take-back": VIEW}


def accepted(desk: Desk) -> list[schema.Words]:
    return [params for method, params in desk.asked if method == "labels.accept"]


def test_the_proposal_is_shown_with_its_evidence_and_accepted_by_one_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("labels", "notes") == 0
    shown = capsys.readouterr().out
    assert "nobody vouches for it, so every call counts as the worst case" in shown
    assert "answers what strangers may have written (U): search" in shown
    assert "search U/L by repo: U: others may write 'page'" in shown
    assert "later: bulkhead labels notes --accept" in shown and accepted(desk) == []
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "y")
    assert bulkhead("labels", "notes") == 0
    assert accepted(desk) == [schema.LabelsAccept(name="notes", catalog="c" * 64, tools=[GUESS])]


def test_one_tool_is_changed_on_the_line_and_the_rest_is_accepted_as_proposed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("labels", "notes", "--set", "search=pue/h", "--accept") == 0
    wanted = GUESS.model_copy(update={"labels": ["P", "U", "E"], "level": "H", "reason": "a person said so"})
    assert accepted(desk) == [schema.LabelsAccept(name="notes", catalog="c" * 64, tools=[wanted])]
    assert "accepted for 1 tools of notes" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["search", "search=PU", "search=PX/L", "search=P/M", "=P/L"])
def test_a_label_that_cannot_be_read_is_refused_before_a_daemon_is_asked(
    desk: Desk, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert bulkhead("labels", "notes", "--set", text, "--accept") == 2
    assert "--set TOOL=LABELS/CLASS" in capsys.readouterr().err and desk.asked == []


def test_a_tool_that_is_not_there_is_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert bulkhead("labels", "notes", "--set", "erase=M/H", "--accept") == 1
    assert "notes has no tool 'erase'" in capsys.readouterr().err and accepted(desk) == []


def test_what_was_accepted_is_not_offered_again_and_can_be_taken_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "y")
    desk.answers["labels"] = DONE
    assert bulkhead("labels", "notes") == 0
    assert "you accepted its labels" in capsys.readouterr().out and accepted(desk) == []
    assert bulkhead("labels", "notes", "--take-back") == 0
    assert "taken back: nobody vouches for it" in capsys.readouterr().out


def test_labels_are_one_json_document(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert bulkhead("labels", "notes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == VIEW.model_dump(mode="json")


def test_what_a_person_says_of_a_tool_while_adding_its_server_is_accepted_and_nothing_else_is(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    other = schema.ProposedLabels(now=WORST.model_copy(update={"name": "erase"}), proposed=GUESS, because=[])
    desk.answers |= {
        "server.prepare": schema.Proposal(id="p", name="notes", digest="d" * 64, lines=[], paths=[]),
        "server.agree": schema.Agreed(server=schema.ServerView(name="notes", enabled=True, state="pinned", argv=[])),
        "labels": VIEW.model_copy(update={"tools": [*VIEW.tools, other]}),
    }
    line = ("add", "notes", "--yes", "--label", "search=PU/L", "--scope", "repo", "--", "/bin/true")
    assert bulkhead(*line) == 0
    said = schema.ToolLabels(name="search", labels=["P", "U"], level="L", reason="a person said so", scope=["repo"])
    kept = other.now.model_copy(update={"scope": ["repo"]})
    assert accepted(desk) == [schema.LabelsAccept(name="notes", catalog="c" * 64, tools=[said, kept])]
    capsys.readouterr()
    assert bulkhead("add", "notes", "--yes", "--label", "gone=P/L", "--", "/bin/true") == 1
    assert "notes is pinned, and has no tool 'gone'" in capsys.readouterr().err
    desk.asked.clear()
    assert bulkhead("add", "notes", "--label", "search", "--", "/bin/true") == 2
    assert "--label TOOL=LABELS/CLASS" in capsys.readouterr().err and desk.asked == []
