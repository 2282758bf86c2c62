"""Masks: what a rule names is blotted out, in text, in JSON within text, and in structure; nothing else is touched."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Call, ClientName, ServerName, SessionId
from broker.policy.evaluate import Policy
from broker.policy.masks import BLOT, Mask, Masker
from tests.policy.test_around import policy

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("mask", "value", "expected"),
    [
        (Mask(kinds=("mail",)), "write to ann@corp.example, now", f"write to {BLOT}, now"),
        (Mask(kinds=("card",)), "card 4111 1111 1111 1111.", f"card {BLOT}."),
        (Mask(kinds=("iban",)), "DE89 3704 0044 0532 0130 00", BLOT),
        (Mask(kinds=("ip",)), "at 10.0.0.7:80, version 1.2.3", f"at {BLOT}:80, version 1.2.3"),
        (Mask(kinds=("phone",)), "call +49 30 1234567 soon", f"call {BLOT} soon"),
        (Mask(words=("Project X",)), "about project x and projects", f"about {BLOT} and projects"),
        (Mask(fields=("salary",)), {"Salary": 10, "name": "ann"}, {"Salary": BLOT, "name": "ann"}),
        (Mask(fields=("salary",)), '{"salary": 10, "n": 1}', '{"salary": "[masked]", "n": 1}'),
        (Mask(kinds=("card",)), [4111111111111111, True, None, 1.5], [BLOT, True, None, 1.5]),
        (Mask(fields=("salary",)), '{"salary": 10', '{"salary": 10'),
    ],
)
def test_what_is_named_is_blotted_out(mask: Mask, value: Any, expected: Any) -> None:
    before = json.dumps(value)
    assert Masker([mask]).applied(value)[0] == expected
    assert json.dumps(value) == before  # what was recorded and read is the server's own answer


@given(JSON)
def test_where_nothing_is_found_nothing_is_changed(value: Any) -> None:
    masked, places = Masker([Mask(words=("\x00never\x00",), kinds=("iban",), fields=("\x00",))]).applied(value)
    assert (masked, places) == (value, 0)


@given(JSON, st.text("xyz0129@.", min_size=2, max_size=5))
def test_a_word_that_is_masked_stands_in_no_value_any_more(value: Any, word: str) -> None:
    masked, _ = Masker([Mask(words=(word,))]).applied({"a": value, "b": f"x{word}y"})

    def texts(one: Any) -> list[str]:
        if isinstance(one, dict):
            return [text for item in one.values() for text in texts(item)]
        if isinstance(one, list):
            return [text for item in one for text in texts(item)]
        return [one] if isinstance(one, str) else []

    assert not any(word in text.replace(BLOT, "\x00") for text in texts(masked))


def test_something_too_deep_to_look_at_is_blotted_out() -> None:
    value: Any = "ann@corp.example"
    for _ in range(100):
        value = [value]
    assert "ann" not in json.dumps(Masker([Mask(kinds=("mail",))]).applied(value)[0])


def test_a_mask_says_nothing_about_whether_a_call_may_happen_and_follows_a_task() -> None:
    mine: Policy = policy('name = "hide"\neffect = "mask"\ntool = "read"\nmask = { kinds = ["mail"] }')

    def call(method: str, target: str) -> Call:
        return Call(ClientName("c"), ServerName("s"), SessionId("x"), "client", method, target, {}, "")

    assert mine.masker(call("tools/call", "write")) is None
    assert mine.masker(call("tools/call", "read")) is not None
    assert mine.masker(call("tasks/result", "task-1")) is not None  # nobody knows of which tool it is
