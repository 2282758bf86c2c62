"""The one door for text from outside: laws for any text, and the cases an attacker would try first."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from ui.present import BLOCK, MAX_MARKS, REPLACEMENT, columns, left, untrusted, untrusted_block

texts = st.text(
    st.characters() | st.sampled_from("\x1b\u202e\u200b\u2066\ufe0f\u3164\u2800\n\r\t[]\u0301"), max_size=400
)


def is_calm(text: str) -> bool:
    return all(character.isprintable() for character in text)


@given(texts, st.integers(1, 300))
@pytest.mark.claim("C52")
def test_whatever_is_shown_is_printable_unstyled_on_one_line_and_bounded(text: str, limit: int) -> None:
    shown = untrusted(text, limit)
    assert is_calm(shown.plain)
    assert shown.spans == []
    assert len(shown.plain) <= limit + 2  # the sign that it was cut, and a carrier for a leading accent


@given(texts, st.integers(1, 300), st.integers(1, 20))
def test_a_block_keeps_line_breaks_and_nothing_else_that_is_not_printable(text: str, limit: int, lines: int) -> None:
    shown = untrusted_block(text, limit, lines)
    assert all(is_calm(line) for line in shown.plain.split("\n"))
    assert shown.spans == []
    assert shown.plain.count("\n") <= lines
    assert len(shown.plain) <= limit + 100


@given(st.text("abc [red]/@.=(){}'\"\\", max_size=100))
def test_harmless_text_is_shown_as_it_is_markup_signs_included(text: str) -> None:
    assert untrusted(text).plain == text


@given(st.lists(texts, min_size=3, max_size=3), st.integers(40, 120))
def test_a_row_is_exactly_as_wide_as_its_place_whatever_is_in_it(cells: list[str], width: int) -> None:
    row = columns([untrusted(cell) for cell in cells], (10, 12), width)
    assert row.cell_length == width


@pytest.mark.parametrize(
    "hidden",
    ["\x1b[31m", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad", "\U000e0041", "\u3164",
     "\u115f", "\u2800", "\ufe0f", "\U000e0100", "\u034f", "\ud800", "\ue000", "\u2028", "\u00a0"],
)  # fmt: skip
def test_what_cannot_be_seen_becomes_a_sign_that_can(hidden: str) -> None:
    shown = untrusted(f"a{hidden}b").plain
    assert hidden[0] not in shown
    assert shown.startswith(f"a{REPLACEMENT}")


def test_a_line_break_in_one_line_is_a_visible_sign() -> None:
    assert untrusted("one\r\ntwo\nthree").plain == "one↵two↵three"


def test_stacked_accents_are_cut_to_what_scripts_need() -> None:
    shown = untrusted("e" + "\u0301" * 200 + "!", 500).plain
    assert sum(unicodedata.combining(character) > 0 for character in shown) == MAX_MARKS
    assert shown.endswith("!")


def test_an_accent_at_the_start_cannot_sit_on_our_own_letter() -> None:
    assert untrusted("\u0301x").plain == " \u0301x"


def test_a_block_that_is_cut_says_so_and_how_long_it_was() -> None:
    shown = untrusted_block("x" * (BLOCK + 1)).plain
    assert shown.endswith(f"the whole text has {BLOCK + 1} characters")


def test_content_made_of_a_plain_string_is_never_read_as_markup() -> None:
    assert Content("[bold]x[/bold]").plain == "[bold]x[/bold]"


@pytest.mark.parametrize(
    ("seconds", "said"), [(103, "1:43"), (59.2, "1:00"), (1, "0:01"), (0, "0:00"), (-5, "0:00"), (3700, "1:01:40")]
)
def test_time_left_reads_as_a_clock(seconds: float, said: str) -> None:
    assert left(1000.0 + seconds, 1000.0) == said
