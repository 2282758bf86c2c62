"""What a person is shown of a catalog: the view of the most able client, and every difference by name."""

from dataclasses import replace

import pytest

from broker.api.views import change_line, question_view, widest
from broker.model import ClientName, Question, QuestionId, ServerName, SessionId
from broker.protocol.catalog import Catalog, Change, View, ViewKey
from tests.protocol.stage import LEGACY, MODERN

REFUSED = View("modern", refusal={"code": -32601, "message": "no"})


@pytest.mark.parametrize(
    ("views", "shown"),
    [
        ({"legacy/full": LEGACY, "modern/full": MODERN}, MODERN),
        ({"legacy/full": LEGACY, "modern/full": REFUSED, "modern/empty": MODERN}, LEGACY),
        ({"legacy/empty": LEGACY, "modern/full": REFUSED}, LEGACY),
        ({"modern/full": REFUSED}, View("legacy")),
        ({}, View("legacy")),
    ],
)
def test_the_view_of_the_most_able_client_is_shown(views: dict[ViewKey, View], shown: View) -> None:
    assert widest(Catalog(views)) == shown


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change("added", "tool", "erase"), "tool erase added"),
        (Change("changed", "tool", "read", ("description", "inputSchema")),
         "tool read changed (description, inputSchema)"),
        (Change("missing", "prompt", "summary"), "prompt summary missing"),
    ],
)  # fmt: skip
def test_a_change_reads_as_a_line(change: Change, line: str) -> None:
    assert change_line(change) == line


def test_a_question_is_shown_with_everything_its_digest_is_about() -> None:
    question = Question(
        QuestionId("q1"), "call", ClientName("desk"), ServerName("notes"), SessionId("s"), "what", "why", "d" * 64, 1.0,
        2.0, ("one", "two"), "detail",
    )  # fmt: skip
    view = question_view(question)
    assert view.evidence == ["one", "two"]
    assert {name: getattr(view, name) for name in ("id", "kind", "what", "why", "digest", "detail")} == {
        "id": "q1", "kind": "call", "what": "what", "why": "why", "digest": "d" * 64, "detail": "detail",
    }  # fmt: skip
    assert question_view(replace(question, evidence=())).evidence == []
