"""Whatever a server, a client or a file calls itself: on no page of any place is it markup, invisible or unbounded."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from broker.api import schema
from tests.ui import scenes
from ui import figures, listings, policy_page, server_page, session_list
from ui.known import Known, receipt_line
from ui.present import BLOCK
from ui.screens import clients, doctor
from ui.shell import Printed

NASTY = st.text(st.characters() | st.sampled_from("\x1b\u202e\u200b\n\r\t[]\u0301"), max_size=60) | st.just(
    scenes.HOSTILE
)
OURS = {"bold", "dim", "underline", "bold reverse", ""}
"""Styles that our own code gives; none may come out of a text."""


def pages(word: str) -> Iterator[Content]:
    """Everything the newer places make of words that are not ours."""
    rule = schema.RuleView(name=word, effect="ask", about=word, when=[word], reason=word)
    policy = schema.PolicyView(name=word, text=word, description=word, holds=False, rules=[rule], shipped=[])
    ruled = schema.Ruled(verdict="deny", rule=word, reason=word)
    call = schema.ReplayedCall(receipt=1, server=word, tool=word, then=word, now=ruled, other=ruled)
    voice = schema.Voice(rule=word, effect="ask", reason=word, fits=False, unmet=[word])
    learned = schema.LearnedRule(name=word, client=word, server=word, method=word, target=word, evidence=word)
    yield policy_page.rule_row(rule).draw(80)
    yield policy_page.rule_words(rule)
    yield policy_page.head(policy, word)
    yield policy_page.use_words(policy, word)
    yield policy_page.explained(schema.Explained(about=word, ruled=ruled, masks=[word], voices=[voice]), word)
    yield policy_page.compared(schema.Replayed(now=word, other=word, calls=[call]), 80)
    yield policy_page.learned(
        schema.PolicyLearned(name=word, text=word, base="balanced", seen=1, rules=[learned], left_out=[word])
    )
    alert = schema.AlertView(number=1, rule="drift", server=word, client=word, text=word, at=0.0, last=0.0)
    yield figures.alert_row(alert, None).draw(80)
    yield figures.alert_words(alert, None)
    application = schema.ApplicationView(client=word, label=word, path=word, problem=word, past=[word])
    yield clients.row(application).draw(80)
    read = schema.ReadView(id=word, server=word, what=word, labels=["P"], times=2, last=0.0, digest="")
    grant = schema.GrantView(
        id="g", kind="call", client=word, server=word, target=word, lifetime="session", session="s"
    )
    session = schema.SessionView(id="s", client=word, workspace=word, root_pid=1, root_executable=word, started=0.0,
                                 readings=[read])  # fmt: skip
    known = Known(sessions=(session,), grants=(grant,))
    yield from (row.draw(80) for row in session_list.session_rows(known, None))
    token = schema.TokenView(client=word, server="filesystem", issuer=word, state="signed in", expires=1.0)
    secret = schema.SecretView(name=word, kept=True, servers=["filesystem"])
    yield server_page.people_facts(scenes.FILESYSTEM, [token], [secret], None)
    yield listings.ReceiptRow(receipt_line(1, scenes.receipt(1, target=word, rule=word))).draw(80)
    found = doctor.read(Printed(0, json.dumps([{"what": word, "state": "bad", "said": word, "fix": word}])).text)
    yield from (doctor.row(at, one).draw(80) for at, one in enumerate(found))


@pytest.mark.claim("C52")
@given(NASTY)
def test_no_page_lets_a_word_act_hide_or_leave_its_box(word: str) -> None:
    for page in pages(word):
        assert all(line.isprintable() for line in page.plain.split("\n"))
        assert len(page.plain) <= 3 * BLOCK
        assert {str(span.style) for span in page.spans} <= OURS
        assert "@click" not in "".join(str(span.style) for span in page.spans)


@given(st.lists(st.floats(0, 1e12), max_size=40), st.integers(-5, 60))
def test_bars_are_as_many_as_there_are_values_or_room_for(values: list[float], width: int) -> None:
    drawn = figures.bars(values, width)
    assert len(drawn) == max(0, min(width, len(values)))
    assert all(
        (bar == " ") == (value == 0) for bar, value in zip(drawn, values[-width:] if width > 0 else [], strict=True)
    )


@pytest.mark.parametrize("width", [1, 20, 78, 118])
def test_figures_fit_into_their_width(width: int) -> None:
    assert all(len(line) <= width for line in figures.figure_rows(scenes.VITALS, width).plain.split("\n"))
