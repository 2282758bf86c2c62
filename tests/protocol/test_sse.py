"""Events of a stream, to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProtocolError
from broker.protocol.sse import COMMENT, Event, EventDecoder, write

LINES = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)


@given(st.lists(LINES, max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_events_arrive_as_they_were_written_however_the_bytes_are_cut(texts: list[str], cuts: list[int]) -> None:
    data = b"".join(write(text, id=f"1-{n}", name="message") + COMMENT for n, text in enumerate(texts))
    decoder, events, last = EventDecoder("server"), [], 0
    for cut in sorted(cuts):
        events += decoder.feed(data[last:cut])
        last = max(last, min(cut, len(data)))
    events += decoder.feed(data[last:])
    assert events == [Event(text, id=f"1-{n}") for n, text in enumerate(texts)]


@given(st.lists(st.integers(0, 60), max_size=6))
def test_the_three_ends_of_a_line_are_one(cuts: list[int]) -> None:
    data = b"\xef\xbb\xbfdata: a\r\ndata: b\r\n\r\nevent: x\rdata:c\r\rid: 7\nretry: 20\n\n"
    decoder, events, last = EventDecoder("server"), [], 0
    for cut in sorted(cuts):
        events += decoder.feed(data[last:cut])
        last = max(last, min(cut, len(data)))
    events += decoder.feed(data[last:])
    assert events == [Event("a\nb"), Event("c", name="x"), Event("", id="7", retry=20)]


def test_an_event_that_never_ends_is_a_fault_and_no_buffer() -> None:
    decoder = EventDecoder("server", max_event=100)
    decoder.feed(b"data: " + b"a" * 60 + b"\n")
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        decoder.feed(b"data: " + b"a" * 60)


def test_an_event_that_is_not_text_is_a_fault() -> None:
    with pytest.raises(ProtocolError, match="not UTF-8"):
        EventDecoder("server").feed(b"data: \xff\n")
