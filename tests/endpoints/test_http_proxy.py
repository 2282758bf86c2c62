"""A proxy that a person named: which hosts go through it, what it learns, and what is said when it says no."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.auth.places import Near, place_of
from broker.auth.problems import AuthError, Kind
from broker.auth.wire import Wire
from broker.endpoints import http_proxy
from broker.endpoints.http_proxy import Ways
from broker.endpoints.http_reach import Reach, Unreachable, asked, origin_of
from broker.endpoints.proxy_book import ProxyBook, parse_proxy
from broker.errors import PolicyError
from tests.auth.test_wire import GOOD, WITHIN, answering, certificate

HOST = "api.example"


class Documents:
    """One document, as it was agreed to."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def load(self, _name: str) -> bytes | None:
        return self.text.encode() or None


def document(port: int, *hosts: str) -> str:
    return f'version = 1\nurl = "http://127.0.0.1:{port}"\nhosts = {list(hosts)}\n'


@asynccontextmanager
async def proxy(target: int, answer: str = "200 Connection established") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A proxy that leads everybody to one port of this machine, and what it was told in the clear."""
    heads: list[bytes] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            opens = answer.startswith("2")
            length = "" if opens else "content-length: 0\r\n"
            writer.write(f"HTTP/1.1 {answer}\r\n{length}\r\n".encode())
            if opens:
                inner, outer = await asyncio.open_connection("127.0.0.1", target)
                await asyncio.gather(pipe(reader, outer), pipe(inner, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


def get(book: ProxyBook, url: str) -> "asyncio.Future[object]":
    return asyncio.ensure_future(Wire(Ways(book).dial).get(place_of(url, Near.THIS_MACHINE, "issuer")))


@pytest.mark.claim("C99")
async def test_a_host_that_was_named_is_asked_through_the_proxy_which_learns_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = certificate(tmp_path, HOST)
    known = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    monkeypatch.setattr(http_proxy, "trusted", lambda: known)
    async with asyncio.timeout(WITHIN), answering(GOOD, context) as (port, sent), proxy(port) as (at, heads):
        book = ProxyBook(Documents(document(at, f"*.{HOST}", HOST)))
        said = await Wire(Ways(book).dial).get(place_of(f"https://{HOST}/token?code=CODE-SECRET", Near.PUBLIC, "token"))
        assert said.value == {"a": 1} and b"GET /token?code=CODE-SECRET" in sent[0]
        (head,) = heads
        assert head.startswith(b"CONNECT api.example:443 HTTP/1.1\r\n") and b"SECRET" not in head


@pytest.mark.claim("C99")
async def test_whoever_holds_the_proxy_cannot_stand_in_for_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = certificate(tmp_path, "other.example")
    known = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    monkeypatch.setattr(http_proxy, "trusted", lambda: known)
    async with asyncio.timeout(WITHIN), answering(GOOD, context) as (port, sent), proxy(port) as (at, _):
        with pytest.raises(AuthError, match="no way through the proxy"):
            await get(ProxyBook(Documents(document(at, HOST))), f"https://{HOST}/token")
        assert not sent


@pytest.mark.claim("C99")
async def test_what_was_not_named_goes_directly_and_to_judged_addresses_alone() -> None:
    async with asyncio.timeout(WITHIN), answering(GOOD) as (port, sent), proxy(port) as (at, heads):
        book = ProxyBook(Documents(document(at, HOST)))
        await get(book, f"http://127.0.0.1:{port}/token")
        assert len(sent) == 1 and not heads
        assert book.current.serves("https", HOST, 443) and not book.current.serves("https", f"x.{HOST}", 443)
        assert not book.current.serves("https", HOST, 8443) and not book.current.serves("http", HOST, 443)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("407 CALL-ME", "answered 407"),
        ("403 CALL-ME", "answered 403"),
        ("502 CALL-ME", "answered 502"),
    ],
)
async def test_a_proxy_that_says_no_is_named_with_its_status_and_keeps_every_sign_in(answer: str, said: str) -> None:
    async with asyncio.timeout(WITHIN), proxy(1, answer) as (at, _):
        book = ProxyBook(Documents(document(at, HOST)))
        with pytest.raises(AuthError, match=said) as refused:
            await get(book, f"https://{HOST}/token")
        assert refused.value.kind is Kind.LATER and f"127.0.0.1:{at}" in str(refused.value)
        assert "CALL-ME" not in f"{refused.value} {refused.value.hint}" and "bulkhead review" in refused.value.hint
        reach = Reach(Ways(book).dial)
        with pytest.raises(Unreachable, match=f"{HOST} could not be asked.*{said}"):
            async with asked(reach.client(origin_of(f"https://{HOST}/")), "GET", f"https://{HOST}/", {}):
                pass
        await reach.close()


async def test_a_proxy_that_is_not_there_is_named_and_one_that_was_agreed_to_later_serves_the_next_request() -> None:
    async with asyncio.timeout(WITHIN), proxy(1, "403 no") as (at, heads):
        documents = Documents(document(1, HOST))
        book = ProxyBook(documents)
        with pytest.raises(AuthError, match=r"no way through the proxy http://127\.0\.0\.1:1: ConnectError"):
            await get(book, f"https://{HOST}/token")
        documents.text = document(at, HOST)
        book.reload()
        with pytest.raises(AuthError, match="answered 403"):
            await get(book, f"https://{HOST}/token")
        documents.text = "nonsense"
        with pytest.raises(PolicyError, match="is not TOML"):
            book.reload()
        assert book.current.url == f"http://127.0.0.1:{at}" and len(heads) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'version' is not acceptable"),
        ("version = 1\nurl = 7\nhosts = ['a.example']", "'url' is not acceptable"),
        ("version = 1\nurl = 'http://p.example:1'\nhosts = []", "'hosts' is not acceptable"),
        ("version = 1\nurl = 'http://p.example:1'\nhosts = ['a.example']\nmore = 1", "'more' is not acceptable"),
        ("version = 1\nurl = 'http://p.example:1'\nhosts = ['*']", "cannot be granted as a host"),
        ("version = 1\nurl = 'http://p.example:1'\nhosts = ['169.254.169.254:80']", "hands out credentials"),
        ("version = 1\nurl = 'http://me:SECRET@p.example:1'\nhosts = ['a.example']", "wants a password"),
        ("version = 1\nurl = 'http://p.example'\nhosts = ['a.example']", "address is not one"),
        ("version = 1\nurl = 'socks5://p.example:1'\nhosts = ['a.example']", "address is not one"),
        ("version = 1\nurl = 'http://p.example:99999'\nhosts = ['a.example']", "address is not one"),
        ("version = 1\nurl = 'http://169.254.169.254:80'\nhosts = ['a.example']", "hands out credentials"),
        ("\x00", "is not TOML"),
    ],
)
def test_what_names_no_proxy_or_no_host_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said) as refused:
        parse_proxy(text.encode(), "proxy.toml")
    assert "SECRET" not in str(refused.value) and refused.value.hint
