"""One HTTP request: read strictly, written anew, and never two of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.egress.head import HeadError, absolute, authority, chunk_length, origin_form, parse_head

tokens = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
values = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
fields = st.lists(st.tuples(tokens, values), max_size=8)


def raw(*lines: str, first: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join((first, *lines, "", "")).encode("latin-1")


@given(fields)
def test_what_is_forwarded_is_read_back_as_the_same_request(given_fields: list[tuple[str, str]]) -> None:
    try:
        head = parse_head(raw(*(f"{name}: {value}" for name, value in given_fields)))
        written = head.forwarded("a.test", "/path")
    except HeadError:
        return
    again = parse_head(written)
    assert (again.method, again.target, again.host) == ("GET", "/path", ("a.test", None))
    assert again.values("connection") == [b"close"]
    assert again.length == head.length
    kept = {"host", "connection", "content-length", "transfer-encoding"}
    assert [field for field in again.fields if field[0] not in kept] == [
        field for field in head.fields if field[0] in dict(again.fields) and field[0] not in kept
    ]


def test_a_hops_own_fields_are_not_carried_on() -> None:
    head = parse_head(
        raw("Host: a.test", "Connection: keep-alive, X-Secret", "X-Secret: 1", "Keep-Alive: 5", "Upgrade: h2c",
            "Proxy-Authorization: x", "TE: trailers", "X-Kept: 2")
    )  # fmt: skip
    assert head.forwarded("b.test:81", "/") == (
        b"GET / HTTP/1.1\r\nHost: b.test:81\r\nx-kept: 2\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        raw(first="GET /"),
        raw(first="GET / HTTP/2.0"),
        raw(first="PRI * HTTP/2.0"),
        raw(first="GET  / HTTP/1.1"),
        raw(first="get / HTTP/1.1"),
        raw(first="GET /\tx HTTP/1.1"),
        raw("no colon"),
        raw("Name : value"),
        raw(": value"),
        raw("A: b", " folded"),
        raw("A: b\nHost: other"),
        raw("A: b\rHost: other"),
        raw("A: \0"),
        raw(*(f"A{number}: b" for number in range(101))),
        b"GET / HTTP/1.1\n\n",
        raw("A: " + "b" * 40_000),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(HeadError):
        parse_head(data)


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 4"),
        ("Content-Length: 4, 4",),
        ("Content-Length: +4",),
        ("Content-Length: -4",),
        ("Content-Length: 0x4",),
        ("Content-Length: ",),
        ("Content-Length: " + "9" * 20,),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: ",),
    ],
)
def test_a_body_with_two_lengths_or_none_that_is_clear_is_refused(lines: tuple[str, ...]) -> None:
    head = parse_head(raw(*lines))
    with pytest.raises(HeadError):
        _ = head.length
    with pytest.raises(HeadError):
        head.forwarded("a.test", "/")


@pytest.mark.parametrize("lines", [(), ("Host: a", "Host: a"), ("Host: ",), ("Host: a b",), ("Host: u@a",),
                                   ("Host: [::1]",), ("Host: a:0",), ("Host: a:99999",), ("Host: a/b",)])  # fmt: skip
def test_a_request_names_exactly_one_host(lines: tuple[str, ...]) -> None:
    with pytest.raises(HeadError):
        _ = parse_head(raw(*lines)).host


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("http://a.test", ("a.test", 80, "/")),
        ("HTTP://A.test:81/b?c=http://d", ("A.test", 81, "/b?c=http://d")),
        ("http://a.test?x", ("a.test", 80, "/?x")),
    ],
)
def test_a_target_in_absolute_form_is_taken_apart(target: str, found: tuple[str, int, str]) -> None:
    assert absolute(target) == found


@pytest.mark.parametrize("target", ["/", "*", "https://a.test/", "http://", "http:///x", "http://u@a.test/",
                                    "http://a.test:x/", "http://[::1]/",
                                    "http://a.test\\@b.test/", "http://a.test/#b"])  # fmt: skip
def test_a_target_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(HeadError):
        absolute(target)


def test_a_path_is_a_path() -> None:
    assert origin_form("/a?b") == "/a?b"
    for target in ("http://b.test/", "*", "a", "/#b"):
        with pytest.raises(HeadError):
            origin_form(target)


@given(st.text(max_size=30))
def test_a_host_is_what_stands_there_or_nothing(text: str) -> None:
    try:
        host, port = authority(text)
    except HeadError:
        return
    assert text == host + (f":{port}" if port is not None else "")


@pytest.mark.parametrize(("line", "length"), [(b"5\r\n", 5), (b"aB ;x=y\r\n", 171), (b"0\r\n", 0)])
def test_the_length_of_a_chunk_is_read(line: bytes, length: int) -> None:
    assert chunk_length(line) == length


@pytest.mark.parametrize("line", [b"\r\n", b"-1\r\n", b"0x5\r\n", b"5\n", b" 5\r\n", b"5\rx\r\n", b"123456789\r\n",
                                  b"5;" + b"x" * 300 + b"\r\n"])  # fmt: skip
def test_a_chunk_without_a_clear_length_is_refused(line: bytes) -> None:
    with pytest.raises(HeadError):
        chunk_length(line)
