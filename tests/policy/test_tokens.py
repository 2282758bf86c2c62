"""One yes, one dispatch, of exactly what was asked, within two minutes."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Call, ClientName, Decision, ServerName, SessionId, Verdict
from broker.policy.tokens import LASTS, MAX_TOKENS, Tokens

CALL: Final = Call(ClientName("desk"), ServerName("mail"), SessionId("s"), "client", "tools/call", "send", {}, "d" * 64)
ASKED: Final = Decision(Verdict.ASK, "R3", "because", ("sources: files",))
OTHERS: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"session": SessionId("t")}, {}), ({"client": ClientName("other")}, {}), ({"server": ServerName("files")}, {}),
    ({"origin": "server"}, {}), ({"method": "prompts/get"}, {}), ({"target": "delete"}, {}),
    ({"digest": "e" * 64}, {}), ({"extra": {"_meta": {"x": 1}}}, {}),
    ({}, {"rule": "R4"}), ({}, {"evidence": ("sources: files, time",)}),
]  # fmt: skip


def book() -> tuple[Tokens, list[float]]:
    now = [1000.0]
    return Tokens(b"key", lambda: now[0]), now


@pytest.mark.claim("C88")
def test_a_yes_lets_its_call_go_once() -> None:
    tokens, _ = book()
    name = tokens.mint(CALL, ASKED)
    assert tokens.answers(CALL, ASKED) == name and tokens.answers(CALL, ASKED) == name
    assert tokens.spend(CALL, ASKED) == name
    assert tokens.spend(CALL, ASKED) == "" and tokens.answers(CALL, ASKED) == ""


@pytest.mark.claim("C88")
@pytest.mark.parametrize(("other", "reason"), OTHERS)
def test_a_yes_is_for_exactly_what_was_asked(other: dict[str, Any], reason: dict[str, Any]) -> None:
    tokens, _ = book()
    tokens.mint(CALL, ASKED)
    assert tokens.spend(replace(CALL, **other), replace(ASKED, **reason)) == ""
    assert tokens.spend(CALL, ASKED) != ""


@pytest.mark.claim("C88")
def test_a_yes_is_over_after_two_minutes() -> None:
    tokens, now = book()
    tokens.mint(CALL, ASKED)
    now[0] += LASTS
    assert LASTS <= 120 and tokens.spend(CALL, ASKED) == ""
    tokens.mint(replace(CALL, target="x"), ASKED)
    assert len(tokens) == 1, "what is over is not kept"


def test_the_words_of_a_reason_do_not_matter_what_it_rests_on_does() -> None:
    tokens, _ = book()
    tokens.mint(CALL, ASKED)
    assert tokens.spend(CALL, replace(ASKED, reason="in other words")) != ""


def test_a_token_that_was_put_into_the_book_without_the_key_lets_nothing_go() -> None:
    tokens, _ = book()
    forged = Tokens(b"another key", lambda: 1000.0)
    forged.mint(CALL, ASKED)
    tokens._tokens.update(forged._tokens)
    assert tokens.spend(CALL, ASKED) == ""


def test_a_session_that_is_over_leaves_no_yes_and_the_book_has_a_bound() -> None:
    tokens, _ = book()
    tokens.mint(CALL, ASKED)
    tokens.end_session(SessionId("s"))
    assert tokens.spend(CALL, ASKED) == ""
    for number in range(MAX_TOKENS + 3):
        tokens.mint(replace(CALL, target=str(number)), ASKED)
    assert len(tokens) == MAX_TOKENS


steps = st.lists(st.tuples(st.sampled_from(("mint", "spend", "wait")), st.integers(0, 2)), max_size=40)


@given(steps)
def test_there_are_never_more_dispatches_than_yeses_and_none_without_one_in_time(taken: list[tuple[str, int]]) -> None:
    tokens, now = book()
    given_at: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for act, which in taken:
        call = replace(CALL, target=str(which))
        if act == "mint":
            tokens.mint(call, ASKED)
            given_at[which].append(now[0])
        elif act == "wait":
            now[0] += 50.0 * which
        else:
            fresh = [when for when in given_at[which] if now[0] < when + LASTS]
            assert bool(tokens.spend(call, ASKED)) == bool(fresh)
            if fresh:
                given_at[which].remove(fresh[0])
