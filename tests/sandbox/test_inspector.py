"""Connections that are looked into, on loopback: a real TLS client, the way out between, a real TLS server."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from broker.model import Fact, Injection, Inspection, Limits, ServerName
from broker.sandbox.egress.authority import Authority
from broker.sandbox.egress.inspector import Inspector
from broker.sandbox.egress.leaving import Outgoing
from broker.sandbox.egress.service import Egress
from broker.sandbox.egress.way import Outside, Way
from broker.sandbox.egress.wire import BUFFER, Stream
from broker.sandbox.hosts import HostRules
from broker.sandbox.inspection import Inspected, placeholder

TOY = ServerName("toy")
VALUE = "s3cret-value-1234"
TOKEN = Injection("TOKEN", "Authorization", "api.far.test", ("GET", "POST"), "/v1/*")
HELD = f"Authorization: Bearer {placeholder('TOKEN')}\r\n"
HOSTS = HostRules.of(["api.far.test", "other.far.test", "bare.far.test:8443"])
LIMIT = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


Say = Callable[[str, dict[str, str], bytes, Stream], Awaitable[bytes]]


async def echo(line: str, fields: dict[str, str], body: bytes, _stream: Stream) -> bytes:
    said = json.dumps({"line": line, "fields": fields, "body": body.decode()}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said


class Bench:
    """One inspected sandbox's doors, and the hosts behind them, which all say what `say` says."""

    def __init__(self, inspector: Inspector, authority: Authority) -> None:
        self.facts: list[Fact] = []
        self.dialled: list[tuple[str, int]] = []
        self.say: Say = echo
        self.places: dict[int, int] = {}
        outside = Outside(self._resolve, self._dial, lambda _: False)
        self.way = Way(TOY, HOSTS, outside, self.facts.append, limits=Limits(), inspector=inspector)
        self.egress = Egress(self.way, authority.certificate)
        self.trust = ssl.create_default_context(cadata=authority.certificate.decode())
        self.proxy = self.captured = 0

    async def ask(self, text: str, *, host: str = "api.far.test", port: int = 443, sni: str = "") -> bytes:
        """One request through the tunnel; everything that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy, limit=1 << 20)
        async with asyncio.timeout(LIMIT):
            writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(self.trust, server_hostname=sni or host)
            writer.write(text.encode())
            return await reader.read(-1)

    async def plain(self, text: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy)
        async with asyncio.timeout(LIMIT):
            writer.write(text.encode())
            return await reader.read(-1)

    async def _resolve(self, _name: str) -> tuple[str, ...]:
        return ("93.184.216.34",)

    async def _dial(self, address: str, port: int) -> Stream:
        self.dialled.append((address, port))
        return Stream(*await asyncio.open_connection("127.0.0.1", self.places[port], limit=BUFFER))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            body = b""
            if fields.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(fields.get("content-length", "0")))
            stream = Stream(reader, writer)
            writer.write(await self.say(head[0], fields, body, stream))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def opened(
    *rules: str,
    secrets: tuple[Injection, ...] = (TOKEN,),
    bodies: Callable[[Outgoing], Awaitable[str]] | None = None,
    trusted: bool = True,
) -> AsyncIterator[Bench]:
    far, authority = Authority(), Authority()
    inspected = Inspected.of(TOY, Inspection(rules, secrets), HOSTS, {"TOKEN": VALUE})

    def trust() -> ssl.SSLContext:
        return ssl.create_default_context(cadata=(far if trusted else authority).certificate.decode())

    bench = Bench(Inspector(inspected, authority, trust, bodies), authority)
    context = far.context("api.far.test")
    others = {name: far.context(name) for name in ("other.far.test", "bare.far.test")}

    def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if name in others:
            tls.context = others[name]

    context.sni_callback = choose
    servers = [await asyncio.start_server(bench.answer, "127.0.0.1", 0, ssl=tls) for tls in (context, None)]
    secure, plain = (server.sockets[0].getsockname()[1] for server in servers)
    bench.places = {443: secure, 8443: secure, 80: plain}
    listener = socket.create_server(("127.0.0.1", 0))
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))
    bench.proxy = listener.getsockname()[1]
    for one in (listener, names):
        one.setblocking(False)
    await bench.egress.open([listener, names])
    try:
        yield bench
    finally:
        bench.egress.close()
        await bench.egress.wait_closed()
        for server in servers:
            server.close()


def body_of(answer: bytes) -> dict[str, object]:
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(found, dict)
    return found


def reasons(bench: Bench) -> list[str]:
    return [fact.decision.reason for fact in bench.facts if fact.decision and fact.decision.verdict.value == "deny"]


async def test_each_request_is_recorded_with_its_path_and_without_its_query() -> None:
    async with opened() as bench:
        said = body_of(
            await bench.ask("POST /v1/a?q=private HTTP/1.1\r\nHost: api.far.test\r\nContent-Length: 2\r\n\r\nhi")
        )
        assert said["line"] == "POST /v1/a?q=private HTTP/1.1" and said["body"] == "hi"
    told = [(fact.method, fact.target) for fact in bench.facts]
    assert told == [
        ("connect", "POST api.far.test:443/v1/a"),
        ("request", "POST api.far.test:443/v1/a"),
        ("close", "POST api.far.test:443/v1/a"),
    ]


@pytest.mark.claim("C26")
async def test_the_host_gets_the_value_and_the_server_never_sees_it_again() -> None:
    async with opened() as bench:
        got: list[str] = []

        async def tell(_line: str, fields: dict[str, str], _body: bytes, _stream: Stream) -> bytes:
            got.append(fields["authorization"])
            said = f"you said {fields['authorization']}".encode()
            return b"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n%s" % (VALUE.encode(), len(said), said)

        bench.say = tell
        answer = await bench.ask(f"GET /v1/a HTTP/1.1\r\nHost: api.far.test\r\n{HELD}\r\n")
        assert got == [f"Bearer {VALUE}"]
        assert VALUE.encode() not in answer and b"X-Echo: *****************" not in answer
        assert b"x-echo: " + b"*" * len(VALUE) in answer and answer.endswith(b"you said Bearer " + b"*" * len(VALUE))
    (request,) = [fact for fact in bench.facts if fact.method == "request"]
    assert request.body == {"via": "proxy", "secrets": ["TOKEN"]}
    assert VALUE not in repr(bench.facts)


@pytest.mark.claim("C27")
async def test_a_value_that_comes_back_in_pieces_is_found_all_the_same() -> None:
    async with opened() as bench:

        async def drip(_line: str, _fields: dict[str, str], _body: bytes, stream: Stream) -> bytes:
            await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for letter in f"it is {VALUE}.".encode():
                await stream.send(b"1\r\n%c\r\n" % letter)
            return b"0\r\n\r\n"

        bench.say = drip
        answer = await bench.ask("GET /v1/a HTTP/1.1\r\nHost: api.far.test\r\n\r\n")
        chunks = answer.partition(b"\r\n\r\n")[2].split(b"\r\n")
        assert b"".join(chunks[1::2]) == b"it is " + b"*" * len(VALUE) + b"."


async def test_a_packed_answer_is_not_carried_where_a_secret_could_be_in_it() -> None:
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"

    async def pack(_line: str, fields: dict[str, str], _body: bytes, _stream: Stream) -> bytes:
        assert fields["accept-encoding"] == "identity"
        return packed

    async with opened() as bench:
        bench.say = pack
        answer = await bench.ask("GET / HTTP/1.1\r\nHost: api.far.test\r\nAccept-Encoding: gzip\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ") and b"abc" not in answer


@pytest.mark.claim("C28")
@pytest.mark.parametrize(
    ("request_line", "host"),
    [("POST /v1/a", "api.far.test"), ("GET /v2/a", "api.far.test"), ("GET /v1/../v2", "api.far.test"),
     ("GET /v1/a", "other.far.test")],
)  # fmt: skip
async def test_what_no_rule_covers_is_refused_before_anything_is_dialled(request_line: str, host: str) -> None:
    async with opened("GET api.far.test/v1/*") as bench:
        answer = await bench.ask(f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n", host=host)
        assert answer.startswith(b"HTTP/1.1 403 ") and b"no rule of the inspection covers this request" in answer
        assert bench.dialled == []
        assert body_of(await bench.ask("GET /v1/a HTTP/1.1\r\nHost: api.far.test\r\n\r\n"))["line"]
    assert reasons(bench) == ["no rule of the inspection covers this request"]


async def test_a_request_for_another_host_inside_is_refused() -> None:
    async with opened() as bench:
        answer = await bench.ask("GET / HTTP/1.1\r\nHost: other.far.test\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ") and bench.dialled == []
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await bench.ask("GET / HTTP/1.1\r\nHost: api.far.test\r\n\r\n", sni="other.far.test")
        assert bench.dialled == []


async def test_a_host_that_the_system_does_not_vouch_for_gets_nothing() -> None:
    async with opened(trusted=False) as bench:
        answer = await bench.ask(f"GET /v1/a HTTP/1.1\r\nHost: api.far.test\r\n{HELD}\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ") and b"not one that this machine trusts" in answer
        assert [fact.method for fact in bench.facts] == ["connect", "close", "request"]
        assert bench.facts[1].body is not None and bench.facts[1].body["bytes_out"] == 0


async def test_plain_http_gets_rules_and_no_secret() -> None:
    async with opened("api.far.test/v1/*") as bench:
        said = body_of(await bench.plain(f"GET http://api.far.test/v1/a HTTP/1.1\r\nHost: x\r\n{HELD}\r\n"))
        assert said["line"] == "GET /v1/a HTTP/1.1" and VALUE not in json.dumps(said)
        assert b" 403 " in await bench.plain("GET http://api.far.test/v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 403 " in await bench.plain("GET http://bare.far.test:8443/v1 HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_other_ports_take_only_tls_that_is_looked_into_too() -> None:
    async with opened("bare.far.test:8443/ok") as bench:
        ask = "GET {} HTTP/1.1\r\nHost: bare.far.test:8443\r\n\r\n"
        assert body_of(await bench.ask(ask.format("/ok"), host="bare.far.test", port=8443))["line"]
        assert b" 403 " in await bench.ask(ask.format("/no"), host="bare.far.test", port=8443)


async def test_what_a_request_carries_is_judged_whole_before_it_leaves() -> None:
    seen: list[Outgoing] = []

    async def judge(out: Outgoing) -> str:
        seen.append(out)
        return "it holds what another server said" if b"private" in out.body else ""

    async with opened(bodies=judge) as bench:
        head = "POST /v1/a?b HTTP/1.1\r\nHost: api.far.test\r\n"
        said = body_of(await bench.ask(f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
        assert said["body"] == "hello"
        answer = await bench.ask(f"{head}Content-Length: 7\r\n\r\nprivate")
        assert b" 403 " in answer and len(bench.dialled) == 1
        answer = await bench.ask(f"{head}Content-Length: 9000000\r\n\r\n")
        assert b" 400 " in answer and len(bench.dialled) == 1
    assert [(out.url, out.body) for out in seen] == [
        ("https://api.far.test:443/v1/a?b", b"hello"),
        ("https://api.far.test:443/v1/a?b", b"private"),
    ]


UPGRADE = "GET /live HTTP/1.1\r\nHost: api.far.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


async def test_a_websocket_opens_only_under_a_rule_that_says_so_and_is_searched_too() -> None:
    async def switch(_line: str, fields: dict[str, str], _body: bytes, stream: Stream) -> bytes:
        assert fields["upgrade"] == "websocket" and "sec-websocket-extensions" not in fields
        await stream.send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        return b"got " + await stream.reader.readexactly(4) + b" " + VALUE.encode()

    async with opened() as bench:
        bench.say = switch
        assert b" 403 " in await bench.ask(f"{UPGRADE}\r\n") and bench.dialled == []
    async with opened("WEBSOCKET api.far.test/live") as bench:
        bench.say = switch
        answer = await bench.ask(f"{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\nping")
        assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"got ping " + b"*" * len(VALUE))


@pytest.mark.parametrize(
    "nonsense",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"HTTP/1.1 101 Go\r\n\r\nraw",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"hello\r\n\r\n",
     b"HTTP/1.1 200 OK\nX: y\r\n\r\n"],
)  # fmt: skip
async def test_an_answer_that_could_be_read_in_two_ways_is_not_carried(nonsense: bytes) -> None:
    async def say(_line: str, _fields: dict[str, str], _body: bytes, _stream: Stream) -> bytes:
        return nonsense

    async with opened() as bench:
        bench.say = say
        assert (await bench.ask("GET / HTTP/1.1\r\nHost: api.far.test\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


def test_the_certificates_of_a_sandbox_pass_strict_readers_and_are_good_for_one_host(tmp_path: Path) -> None:
    authority = Authority()
    strict = ssl.create_default_context(cadata=authority.certificate.decode())
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    assert _agree(strict, authority.context("api.far.test"), "api.far.test") == "TLSv1.3"
    for wrong in ("other.far.test", "far.test"):
        with pytest.raises(ssl.SSLCertVerificationError):
            _agree(strict, authority.context("api.far.test"), wrong)
    with pytest.raises(ssl.SSLCertVerificationError):
        _agree(strict, Authority().context("api.far.test"), "api.far.test")


def _agree(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> str | None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for side in (ours, theirs):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return ours.version()
