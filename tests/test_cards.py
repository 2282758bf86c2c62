"""A question says where a call goes and what it changes, bounded, whatever the call says."""

from hypothesis import given
from hypothesis import strategies as st

from broker.cards import MAX_DIFF, MAX_EDIT, MAX_LINE, MAX_PLACES, MAX_VALUE, destinations, edits

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("to", "oldText", "newText", "x")), inner)
    ),
)


def test_it_names_where_a_call_goes() -> None:
    said = {"to": ["bo@x.example", "al@x.example"], "text": "hello", "options": {"channel_id": 7, "urgent": True}}
    assert destinations(said) == ("goes to: to = bo@x.example; to = al@x.example; channel_id = 7",)
    assert destinations({"attachments": [{"path": "/w/plan"}]}) == ("goes to: path = /w/plan",)
    assert destinations({"text": "to nobody", "to": "", "path": None}) == ()
    (long,) = destinations({"to": [f"{number}@x" for number in range(20)]})
    assert long.endswith("; and 12 more") and long.count(" = ") == MAX_PLACES


def test_it_shows_an_edit_as_what_goes_and_what_comes() -> None:
    said = {"path": "/w/a.py", "edits": [{"oldText": "one\ntwo\nthree", "newText": "one\n2\nthree"}]}
    assert edits(said) == "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three"
    assert edits({"old_string": "a", "new_string": ""}) == "@@ -1 +0,0 @@\n-a"
    assert edits({"old_string": "a", "text": "b"}) == ""


def test_a_long_edit_is_cut_and_a_huge_one_is_only_counted() -> None:
    some = "\n".join(map(str, range(100)))
    assert edits({"old": "", "new": some}).endswith("more lines)")
    assert "too long to compare" in edits({"old": "x\n" * (MAX_EDIT + 1), "new": "y"})


@given(st.dictionaries(st.text(max_size=6) | st.sampled_from(("to", "oldText", "newText")), values, max_size=6))
def test_whatever_a_call_says_its_card_is_short(arguments: dict[str, object]) -> None:
    assert all(len(line) < 20 + MAX_PLACES * 8 * (MAX_VALUE + 20) for line in destinations(arguments))
    assert all(len(line) <= MAX_LINE for line in edits(arguments).split("\n"))
    assert len(edits(arguments).split("\n")) <= MAX_DIFF + 1
