"""How far a yes for always reaches: its own destinations, and nothing that was not on the card."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Call, ClientName, Decision, JsonObject, ServerName, SessionId, Verdict
from broker.policy.grants import Grant, format_grants, grant_for, parse_grants
from broker.policy.narrowing import MAX_LOOKED, Reach, reach_of

ASKED = Decision(Verdict.ASK, "every-call", "this policy asks for every tool call")
CALL = Call(ClientName("cursor"), ServerName("files"), SessionId("s-1"), "client", "tools/call", "send", {}, "d" * 64)


def granted(arguments: JsonObject) -> Grant:
    """A yes for always, as it is read again after a restart."""
    grant = grant_for("g1", "call", replace(CALL, arguments=arguments), ASKED, "always", 1000.0)
    (read,) = parse_grants(format_grants((grant,)), "grants.toml")
    assert read == grant
    return read


def reaches(first: JsonObject, later: JsonObject) -> bool:
    digest = "d" * 64 if later == first else "e" * 64
    return granted(first).matches(replace(CALL, arguments=later, digest=digest), ASKED)


@pytest.mark.claim("C71")
@pytest.mark.parametrize(
    ("first", "later", "yes"),
    [
        ({"path": "/home/me/notes", "text": "a"}, {"path": "/home/me/notes", "text": "b"}, True),
        ({"path": "/home/me/notes"}, {"path": "/home/me/notes/today.md"}, True),
        ({"path": "/home/me/notes/"}, {"path": "/home/me/notes/today.md"}, True),
        ({"path": "/home/me/notes"}, {"path": "/home/me/notes/../.ssh/id"}, False),
        ({"path": "/home/me/notes"}, {"path": "/home/me/notes-of-others"}, False),
        ({"path": "notes.md"}, {"path": "other.md"}, False),
        ({"url": "https://api.example.com/a"}, {"url": "https://api.example.com/b?c"}, True),
        ({"url": "https://api.example.com/a"}, {"url": "https://api.example.com.evil.example/"}, False),
        ({"owner": "me", "repo": "one", "title": "x"}, {"owner": "me", "repo": "one", "title": "y"}, True),
        ({"owner": "me", "repo": "one"}, {"owner": "me", "repo": "two"}, False),
        ({"to": ["a@b.example"]}, {"to": ["a@b.example"], "subject": "more"}, True),
        ({"to": ["a@b.example"]}, {"to": ["a@b.example", "c@d.example"]}, False),
        ({"to": "a@b.example"}, {"to": "a@b.example", "cc": "c@d.example"}, False),
        ({"text": "a"}, {"text": "b"}, True),
        ({"text": "a"}, {"text": "b", "to": "c@d.example"}, False),
        ({"text": "a"}, {"text": "b", "message": {"to": "c@d.example"}}, False),
        ({"message": {"to": "a@b.example"}}, {"message": {"to": "a@b.example"}}, True),
        ({"message": {"to": "a@b.example"}}, {"message": {"to": "c@d.example"}}, False),
        ({"paths": ["/a", "/b"]}, {"paths": ["/a", "/c"]}, False),
        ({"paths": ["/a", "/b"]}, {"paths": ["/a", "/b"], "head": 3}, True),
        ({"source": "a.md", "destination": "b.md"}, {"source": "c.md", "destination": "b.md"}, False),
        ({"whatever": "/home/me/a"}, {"whatever": "/home/me/b"}, False),
        ({"text": "a"}, {"text": "b", "elsewhere": "https://evil.example/"}, False),
        ({"n" * 300: "/home/me/a"}, {"n" * 300: "/home/me/a", "text": "b"}, False),
        ({"": "/home/me/a"}, {"": "/home/me/a", "text": "b"}, False),
        ({"to": "a\nb"}, {"to": "a\nb", "text": "b"}, False),
        ({"to": "\ud800"}, {"to": "\ud800", "text": "b"}, False),
        ({"channel_id": 7}, {"channel_id": 8}, False),
        ({"path": "x" * 1000}, {"path": "x" * 1000, "text": "b"}, False),
    ],
)
def test_a_lasting_yes_goes_where_the_shown_call_went_and_nowhere_else(
    first: JsonObject, later: JsonObject, yes: bool
) -> None:
    assert reaches(first, later) is yes


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "/a", "/a/b", "https://h.example/x", "me"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["to", "text", "path"]), inner),
    max_leaves=8,
)
arguments = st.dictionaries(st.sampled_from(["to", "cc", "path", "url", "repo", "text", "a.b", "message"]), values)


@given(arguments)
def test_a_lasting_yes_always_covers_the_call_it_was_given_to(first: JsonObject) -> None:
    assert reaches(first, first)


@given(arguments, arguments)
def test_what_is_covered_names_no_destination_that_was_not_shown(first: JsonObject, later: JsonObject) -> None:
    if later != first and reaches(first, later):
        new, shown = reach_of(later), reach_of(first)
        assert not new.exact and not shown.exact
        assert {one.argument for one in new.where} == {one.argument for one in shown.where}


def test_more_than_is_looked_at_is_covered_by_nothing_but_itself() -> None:
    crowd = {"text": [["x"]] * MAX_LOOKED}
    assert reach_of(crowd) == Reach(exact=True)
    assert not reaches({"text": "a"}, crowd)


def test_the_reach_is_said_in_words() -> None:
    said = str(reach_of({"path": "/home/me", "url": "https://api.example.com/a", "repo": "one", "text": "x"}))
    assert said == "where path is /home/me or below it and url is at api.example.com and repo is one"
    assert str(reach_of({"message": {"to": "me"}})) == "for exactly these arguments"
