"""The host a TLS connection is for: what OpenSSL writes is read, and what could be read in two ways is refused."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.egress.hello import HelloError, hello_length, record_length, server_name

hosts = st.from_regex(r"[a-z][a-z0-9]{0,20}(\.[a-z][a-z0-9]{0,20}){1,3}", fullmatch=True)


def written_by_openssl(host: str | None) -> bytes:
    """The handshake message of a real client."""
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_hostname=host).do_handshake()
    raw = sent.read()
    assert record_length(raw[:5]) == len(raw) - 5
    return raw[5:]


def vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width) + data


def hello(*extensions: tuple[int, bytes], rest: bytes = b"") -> bytes:
    listed = b"".join(kind.to_bytes(2) + vector(2, content) for kind, content in extensions)
    body = b"\3\3" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0") + vector(2, listed) + rest
    return b"\1" + vector(3, body)


def named(*entries: tuple[int, bytes]) -> tuple[int, bytes]:
    return 0, vector(2, b"".join(bytes([kind]) + vector(2, name) for kind, name in entries))


@given(hosts)
def test_the_host_that_openssl_names_is_read(host: str) -> None:
    assert server_name(written_by_openssl(host)) == host


def test_a_client_that_names_no_host_is_seen_to() -> None:
    assert server_name(written_by_openssl(None)) is None
    assert server_name(hello((10, b"\0\0"))) is None


@pytest.mark.parametrize(
    "message",
    [
        hello(named((0, b"a.test")), named((0, b"b.test"))),
        hello(named((0, b"a.test"), (0, b"b.test"))),
        hello(named((1, b"a.test"))),
        hello(named((0, b""))),
        hello(named((0, "ä.test".encode()))),
        hello((0, vector(2, b"\0" + vector(2, b"a.test")) + b"more")),
        hello(named((0, b"a.test")), rest=b"more"),
        hello(named((0, b"a.test"))) + b"more",
        b"\2" + hello(named((0, b"a.test")))[1:],
        b"\1" + (1 << 20).to_bytes(3) + bytes(64),
    ],
)
def test_a_message_that_could_be_read_in_two_ways_is_refused(message: bytes) -> None:
    with pytest.raises(HelloError):
        server_name(message)


@given(hosts, st.data())
def test_no_cut_message_names_a_host(host: str, data: st.DataObject) -> None:
    whole = hello((10, b"\0\2\0\x1d"), named((0, host.encode())))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(HelloError):
        server_name(whole[:cut])


@given(st.binary(max_size=300), st.booleans())
def test_nothing_but_a_host_none_or_a_refusal_comes_of_any_bytes(data: bytes, framed: bool) -> None:
    message = b"\1" + vector(3, data) if framed else data
    try:
        name = server_name(message)
    except HelloError:
        return
    assert name is None or name.encode("ascii") in data


@pytest.mark.parametrize("header", [b"GET /", b"\x16\x03\x01\x00\x00", b"\x16\x02\x01\x00\x10", b"\x17\x03\x03\x00\x10",
                                    b"\x16\x03\x01\xff\xff", b"\x16\x03"])  # fmt: skip
def test_a_header_that_is_not_of_a_handshake_is_refused(header: bytes) -> None:
    with pytest.raises(HelloError):
        record_length(header)


def test_the_length_of_a_message_is_known_from_its_first_four_bytes() -> None:
    message = written_by_openssl("a.test")
    assert hello_length(b"") == 4
    assert hello_length(message[:4]) == len(message)
