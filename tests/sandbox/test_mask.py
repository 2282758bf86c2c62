"""A secret that comes back is starred out, in every spelling and wherever the bytes were cut."""

import base64
import itertools
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.egress.mask import Mask

SECRET = 'gh/p_AbC+123"x='
SPELLINGS = [
    SECRET,
    quote(SECRET, safe=""),
    json.dumps(SECRET)[1:-1],
    SECRET.encode().hex(),
    *(base64.b64encode(b"user:"[:skip] + SECRET.encode() + b"after").decode() for skip in range(4)),
    base64.urlsafe_b64encode(SECRET.encode()).decode(),
]


def passed(mask: Mask, parts: list[bytes]) -> bytes:
    return b"".join([*map(mask.feed, parts), mask.finish()])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_secret_is_starred_out(spelling: str) -> None:
    out = passed(Mask([SECRET]), [f"before {spelling} after".encode()])
    assert out.startswith(b"before ") and out.endswith(b" after") and len(out) == len(f"before {spelling} after")
    assert out.count(b"*") >= len(SECRET)


@pytest.mark.claim("C27")
@given(
    st.lists(st.sampled_from([SECRET, SECRET[:5], SECRET[3:], "abab", "ababac12", "xy", *SPELLINGS]), max_size=12),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_the_way_bytes_are_cut_never_changes_what_is_starred_out(words: list[str], cuts: list[int]) -> None:
    data = "".join(words).encode()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    parts = [data[a:b] for a, b in itertools.pairwise(places)]
    out = passed(Mask([SECRET, "ababac12"]), parts)
    assert out == Mask([SECRET, "ababac12"]).whole(data)
    assert SECRET.encode() not in out and b"ababac12" not in out and len(out) == len(data)


def test_what_cannot_begin_a_secret_is_passed_on_at_once() -> None:
    mask = Mask(["secret-value"])
    assert mask.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert mask.feed(b"data: sec") == b"data: " and mask.finish() == b"sec"
