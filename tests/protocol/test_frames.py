import json
import time
import tracemalloc
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProtocolError
from broker.model import JsonObject
from broker.protocol.frames import MAX_FRAME, Frame, FrameDecoder, _read_strictly, encode

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(texts.filter(lambda key: key != "id"), values, max_size=5)


def decode(data: bytes, **options: Any) -> list[Frame]:
    return FrameDecoder("client", **options).feed(data)


def fault(data: bytes, **options: Any) -> JsonObject:
    """The reply to the one line in `data`, which must be no message."""
    frames = decode(data + b"\n", **options)
    assert len(frames) == 1
    assert frames[0].message is None
    assert frames[0].fault is not None
    assert isinstance(frames[0].fault.error, ProtocolError)
    assert frames[0].fault.error.who == "client"
    return frames[0].fault.reply


@given(messages)
def test_what_was_encoded_is_decoded_as_it_was(message: JsonObject) -> None:
    (frame,) = decode(encode(message))
    assert frame.message == message
    assert repr(frame.message) == repr(message)  # 1, 1.0 and True are equal in Python and not on the wire
    assert frame.size == len(encode(message)) - 1


SPELLINGS: list[Any] = [
    encode,
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, separators=(",", ":")).encode(),
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
    lambda value: encode(value).replace(b"0", b"00", 1),
    lambda value: encode(value)[:-2] + b',"a":1,"a":1}',
    lambda value: encode(value).replace(b"/", b"\\/"),
]
"""Ways in which others write a message, some of them wrong."""


@given(messages, st.sampled_from(SPELLINGS))
def test_a_line_is_passed_on_as_it_came_only_where_it_is_what_we_write_and_says_what_the_strict_reading_says(
    message: JsonObject, spell: Any
) -> None:
    line = spell(message).rstrip(b"\n")
    for frame in decode(line + b"\n"):
        if frame.line:
            assert frame.line == line + b"\n"
            assert frame.message is not None
            assert repr(_read_strictly(line)) == repr(frame.message)
            assert orjson.dumps(frame.message) == line


def test_the_usual_line_is_passed_on_as_it_came() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"caf\xc3\xa9\\n"}],"n":1.5}}\n'
    assert [frame.line for frame in decode(line)] == [line]


@pytest.mark.parametrize(
    "line",
    [b'{"a":1,"b":1,"a":1}', b'{"a":18446744073709551616}', b'{"a":1e2}', b'{"a":-0}', b'{"a": 1}', b'{"a":"\\u0041"}'],
)
def test_a_line_that_we_would_write_in_another_way_is_not_passed_on_as_it_came(line: bytes) -> None:
    assert [frame.line for frame in decode(line + b"\n")] == [b""]


@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_the_way_bytes_are_cut_never_changes_the_messages(sent: list[JsonObject], cuts: list[int]) -> None:
    data = b"".join(map(encode, sent))
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    decoder = FrameDecoder("server")
    got = [frame for start, end in pairwise(edges) for frame in decoder.feed(data[start:end])]
    assert [frame.message for frame in got] == sent


@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"\n", b"{", b'{"a":1}', b'"', b"\\u", b"\\ud800", b"["])))
def test_whatever_bytes_come_the_decoder_answers_with_frames_and_keeps_little(pieces: list[bytes]) -> None:
    decoder = FrameDecoder("server", max_frame=64, max_depth=4)
    for piece in pieces:
        for frame in decoder.feed(piece):
            assert (frame.message is None) != (frame.fault is None)
            if frame.fault is not None:
                assert frame.fault.error.who == "server"
                assert encode(frame.fault.reply).count(b"\n") == 1
        assert len(decoder._line) <= 64


@given(st.binary(max_size=300) | st.integers(0, 300).map(lambda size: b"x" * size), st.lists(st.integers(0, 300)))
def test_cutting_never_changes_faults_either(data: bytes, cuts: list[int]) -> None:
    whole = FrameDecoder("client", max_frame=50)
    expected = [(frame.message, str(frame.fault and frame.fault.error)) for frame in whole.feed(data + b"\n")]
    cut = FrameDecoder("client", max_frame=50)
    edges = [0, *sorted(edge for edge in cuts if edge < len(data)), len(data)]
    got = [f for start, end in pairwise(edges) for f in cut.feed(data[start:end])] + cut.feed(b"\n")
    assert [(frame.message, str(frame.fault and frame.fault.error)) for frame in got] == expected


@pytest.mark.parametrize(
    "line",
    [
        b'{"method":"tools/list","method":"tools/call"}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1} {"b":2}',
        b"{'a':1}",
        b'{"a":1',
        b'{"a":01}',
        b'{"a":"\t"}',
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_text_that_two_parsers_could_read_in_two_ways_is_refused(line: bytes) -> None:
    assert fault(line)["error"]["code"] == -32700


def test_a_duplicate_key_is_named_as_what_is_wrong() -> None:
    reply = fault(b'{"id":1,"id":2}')
    assert reply["id"] is None
    assert "client sent a line that is no message: an object has a key twice" in reply["error"]["message"]


@pytest.mark.parametrize("line", [b"1", b'"text"', b"null", b"true"])
def test_json_that_is_not_an_object_is_refused(line: bytes) -> None:
    assert fault(line)["error"]["code"] == -32600


def test_a_batch_is_refused_and_the_error_says_to_send_one_message_a_line() -> None:
    reply = fault(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]')
    assert reply["error"]["code"] == -32600
    assert "batch" in reply["error"]["message"]


@pytest.mark.parametrize("identifier", [b"null", b"1.0", b"true", b"false", b"[]", b"{}"])
@pytest.mark.claim("C50")
def test_an_id_that_is_neither_text_nor_a_whole_number_is_refused_and_names_its_sender(identifier: bytes) -> None:
    reply = fault(b'{"jsonrpc":"2.0","id":' + identifier + b',"method":"ping"}')
    assert reply["error"]["code"] == -32600
    assert reply["error"]["message"] == "client sent an id that is neither text nor a whole number"
    assert reply["id"] is None


def test_an_error_about_something_unreadable_may_have_no_id() -> None:
    message = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "what"}}
    assert decode(encode(message))[0].message == message


def test_big_numbers_and_pairs_of_surrogates_survive() -> None:
    (frame,) = decode(b'{"a":123456789012345678901234567890,"b":"\\ud83d\\ude00"}\n')
    assert frame.message == {"a": 123456789012345678901234567890, "b": "😀"}
    assert encode(frame.message or {}) == '{"a":123456789012345678901234567890,"b":"😀"}\n'.encode()


def test_encoding_never_writes_what_a_strict_reader_refuses() -> None:
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError, match=r"JSON compliant|surrogates"):
            encode({"a": value})


def test_empty_lines_are_nothing_and_carriage_returns_are_space() -> None:
    assert [frame.message for frame in decode(b'\n  \r\n{"a":1}\r\n\n')] == [{"a": 1}]


def test_a_message_as_deep_as_allowed_passes_and_one_level_more_does_not() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert decode(nested(10) + b"\n", max_depth=10)[0].fault is None
    assert "nested deeper than 10" in fault(nested(11), max_depth=10)["error"]["message"]


def test_brackets_inside_text_are_not_depth() -> None:
    message = {"a": '[[[[[["{{{{\\' * 50, "b": [[1]]}
    assert decode(encode(message), max_depth=4)[0].message == message


@pytest.mark.parametrize("bomb", [b"[" * 200_000, b'{"a":' * 200_000, b'"' + b'\\"' * 200_000 + b"[" * 200])
def test_deep_or_open_ended_text_is_refused_quickly(bomb: bytes) -> None:
    begun = time.perf_counter()
    fault(bomb)
    assert time.perf_counter() - begun < 2.0


def test_after_an_oversized_line_the_next_message_counts_again() -> None:
    decoder = FrameDecoder("client", max_frame=100)
    first = decoder.feed(b'{"a":"' + b"x" * 100)
    assert [frame.fault is not None for frame in first] == [True]
    assert decoder.feed(b"x" * 80) == []
    assert [frame.message for frame in decoder.feed(b'"}\n{"b":1}\n')] == [{"b": 1}]


def test_a_line_of_exactly_the_bound_passes() -> None:
    message = {"a": "x" * (100 - len('{"a":""}'))}
    assert decode(encode(message), max_frame=100)[0].message == message
    assert decode(encode({"a": message["a"] + "x"}), max_frame=100)[0].fault is not None


def test_a_flood_without_a_line_end_is_a_new_fault_every_frame_and_is_not_kept() -> None:
    decoder = FrameDecoder("server", max_frame=1 << 20)
    chunk = b"x" * 65536
    tracemalloc.start()
    faults = sum(len(decoder.feed(chunk)) for _ in range(16 * 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 18 <= faults <= 20
    assert peak < 4 << 20


def test_a_line_sent_in_tiny_pieces_takes_no_more_memory_than_it_says() -> None:
    decoder = FrameDecoder("server", max_frame=1 << 20)
    tracemalloc.start()
    for _ in range(300_000):
        decoder.feed(b"xyz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20


def test_a_large_line_in_small_pieces_costs_linear_work() -> None:
    line = encode({"a": "x" * (MAX_FRAME - 100)})

    def seconds(data: bytes) -> float:
        decoder = FrameDecoder("server")
        begun = time.perf_counter()
        for start in range(0, len(data), 1024):
            decoder.feed(data[start : start + 1024])
        return time.perf_counter() - begun

    assert seconds(line) < 2.0  # quadratic joining of 4,096 pieces of 1 KiB needs 8 GiB of copying


def test_the_reply_to_a_bad_line_is_itself_a_line() -> None:
    assert json.loads(encode(fault(b"{")))["jsonrpc"] == "2.0"
