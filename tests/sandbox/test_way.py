"""The doors of a sandbox's network, opened here on loopback: what is recorded, bounded, and closed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import AuditError
from broker.model import Fact, Limits, ServerName, Verdict
from broker.sandbox.addresses import is_public
from broker.sandbox.egress import wire
from broker.sandbox.egress.leaving import Outgoing
from broker.sandbox.egress.receipts import Asked, Denied, Receipts
from broker.sandbox.egress.service import Egress
from broker.sandbox.egress.way import Outside, Unreachable, Way
from broker.sandbox.egress.wire import BUFFER, Stream
from broker.sandbox.hosts import HostRules, parse_rule

TOY = ServerName("toy")
PUBLIC = "93.184.216.34"
LIMIT = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Elsewhere:
    """One host far away, that echoes; and a table of names."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): tuple(found.split()) for name, found in names.items()}
        self.dialled: list[tuple[str, int]] = []
        self.facts: list[Fact] = []
        self.recorded_when_dialled: list[list[str]] = []
        self.port = 0
        self.own: set[str] = set()
        self.full = False
        self.limits = Limits()
        self.asked: list[Outgoing] = []
        self.held = ""

    @property
    def outside(self) -> Outside:
        return Outside(self._resolve, self._dial, self.own.__contains__, frozenset({8600}))

    def record(self, fact: Fact) -> None:
        if self.full:
            raise AuditError("the disk is full")
        self.facts.append(fact)

    def way(self, *hosts: str) -> Way:
        return Way(TOY, HostRules.of(hosts), self.outside, self.record, limits=self.limits, bodies=self._judge)

    async def _judge(self, outgoing: Outgoing) -> str:
        self.asked.append(outgoing)
        return self.held

    async def _resolve(self, name: str) -> tuple[str, ...]:
        return self.names[name.removesuffix(".")]

    async def _dial(self, address: str, port: int) -> Stream:
        self.dialled.append((address, port))
        self.recorded_when_dialled.append([fact.method for fact in self.facts])
        return Stream(*await asyncio.open_connection("127.0.0.1", self.port, limit=BUFFER))


class Doors:
    """An egress on three loopback sockets: proxy, port 8443 as if captured, names."""

    def __init__(self, egress: Egress, sockets: list[socket.socket]) -> None:
        self.egress = egress
        self.proxy, self.captured, self.names = (one.getsockname()[1] for one in sockets)

    async def tunnel(self, target: str = "far.test:8443") -> tuple[bytes, Stream]:
        stream = Stream(*await asyncio.open_connection("127.0.0.1", self.proxy))
        await stream.send(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(LIMIT):
            try:
                return await stream.reader.readuntil(b"\r\n\r\n"), stream
            except asyncio.IncompleteReadError as cut:
                return cut.partial, stream


@contextlib.asynccontextmanager
async def opened(elsewhere: Elsewhere, *hosts: str) -> AsyncIterator[Doors]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        writer.close()

    far = await asyncio.start_server(echo, "127.0.0.1", 0)
    elsewhere.port = far.sockets[0].getsockname()[1]
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))
    sockets = [*listeners, names]
    for one in sockets:
        one.setblocking(False)
    egress = Egress(elsewhere.way(*hosts))
    await egress.open(sockets)
    try:
        yield Doors(egress, sockets)
    finally:
        egress.close()
        await egress.wait_closed()
        far.close()


async def gone(stream: Stream) -> bool:
    """Whether the other side drops the connection."""
    async with asyncio.timeout(LIMIT):
        try:
            return await stream.reader.read(1) == b""
        except OSError:
            return True


async def test_what_cannot_be_recorded_is_not_dialled_and_closes_every_door() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test:8443") as doors:
        answered, standing = await doors.tunnel()
        assert b" 200 " in answered
        before = list(elsewhere.dialled)
        elsewhere.full = True
        answered, refused = await doors.tunnel()
        assert answered == b"" and elsewhere.dialled == before
        assert await gone(standing) and await gone(refused)
        with pytest.raises(ConnectionRefusedError):
            await doors.tunnel()


async def test_a_connection_is_recorded_before_it_is_dialled_and_with_its_bytes_at_its_end() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test:8443") as doors:
        _, stream = await doors.tunnel()
        assert elsewhere.recorded_when_dialled == [["connect"]] and elsewhere.dialled == [(PUBLIC, 8443)]
        await stream.send(b"x" * 5000)
        assert await stream.reader.readexactly(5000) == b"x" * 5000
        stream.end()
        assert await gone(stream)
    (opening, closing) = elsewhere.facts
    assert opening.decision is not None and opening.decision.verdict is Verdict.ALLOW
    assert (opening.target, opening.decision.rule) == ("far.test:8443", "host:far.test:8443")
    assert closing.body is not None
    assert (closing.body["address"], closing.body["bytes_out"], closing.body["bytes_in"]) == (PUBLIC, 5000, 5000)


async def test_what_plain_http_asks_for_is_judged_before_it_is_dialled() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test:80") as doors:
        for elsewhere.held in ("it holds what another server said", ""):
            stream = Stream(*await asyncio.open_connection("127.0.0.1", doors.proxy))
            await stream.send(b"GET http://far.test/a?b HTTP/1.1\r\nHost: far.test\r\n\r\n")
            async with asyncio.timeout(LIMIT):
                first = await stream.reader.readuntil(b"\r\n")
            assert (b" 403 " in first) == bool(elsewhere.held)
            assert bool(elsewhere.dialled) != bool(elsewhere.held)
            stream.abort()
    assert elsewhere.asked == [Outgoing("far.test", "GET", "//far.test/a?b")] * 2


async def test_a_name_that_the_server_may_choose_is_judged_before_it_is_looked_up() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    elsewhere.held = "it holds what another server said"
    way = elsewhere.way("*.far.test:443", "far.test:443")
    with pytest.raises(Denied, match="what another server said"):
        await way.tell("secret.far.test")
    assert await way.tell("far.test") == (PUBLIC,)
    assert [outgoing.host for outgoing in elsewhere.asked] == ["secret.far.test"]


async def test_closing_drops_what_is_open_and_writes_its_receipt() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test:8443") as doors:
        _, stream = await doors.tunnel()
        doors.egress.close()
        async with asyncio.timeout(LIMIT):
            await doors.egress.wait_closed()
        assert [fact.method for fact in elsewhere.facts] == ["connect", "close"]
        assert await gone(stream)


async def test_more_connections_than_allowed_are_dropped_and_told() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    elsewhere.limits = Limits(connections=3)
    async with opened(elsewhere, "far.test:8443") as doors:
        streams = [(await doors.tunnel())[1] for _ in range(3)]
        answered, one_more = await doors.tunnel()
        assert answered == b"" and await gone(one_more)
        told = [fact.decision.reason for fact in elsewhere.facts if fact.decision and fact.method != "close"]
        assert told[-1] == (
            "it is at its limit of 3 (connections at once); if it needs more: bulkhead limits toy --connections 6"
        )
        for stream in streams:
            stream.abort()


async def test_what_would_go_out_beyond_the_limit_never_does_and_the_way_out_is_shut_then() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    elsewhere.limits = Limits(bytes_out=3000)
    async with opened(elsewhere, "far.test:8443") as doors:
        _, stream = await doors.tunnel()
        await stream.send(b"x" * 2000)
        assert await stream.reader.readexactly(2000) == b"x" * 2000
        await stream.send(b"y" * 1001)
        assert await gone(stream)
        answered, _ = await doors.tunnel()
        assert answered.startswith(b"HTTP/1.1 403 ")
    closed = [fact.body["bytes_out"] for fact in elsewhere.facts if fact.method == "close" and fact.body]
    told = {fact.decision.reason for fact in elsewhere.facts if fact.decision and fact.method == "connect"}
    limit = "it is at its limit of 3000 (what a link sends out in all)"
    assert closed == [2000] and f"{limit}; if it needs more: bulkhead limits toy --bytes-out 6000" in told


async def test_whoever_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FIRST_WORDS", 0.05)
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test") as doors:
        stream = Stream(*await asyncio.open_connection("127.0.0.1", doors.proxy))
        await stream.send(b"CONNECT far.te")
        async with asyncio.timeout(LIMIT):
            assert (await stream.reader.read(100)).startswith(b"HTTP/1.1 400 ")
        answered, silent = await doors.tunnel("far.test:443")
        assert b" 200 " in answered
        assert await gone(silent)


async def test_whoever_asks_again_on_one_connection_is_made_to_open_another() -> None:
    elsewhere = Elsewhere(far_test=PUBLIC)
    async with opened(elsewhere, "far.test") as doors:  # the host there keeps its end open, whatever it was told
        stream = Stream(*await asyncio.open_connection("127.0.0.1", doors.proxy))
        await stream.send(b"GET http://far.test/ HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(LIMIT):
            assert b"Connection: close" in await stream.reader.readuntil(b"\r\n\r\n")
        await stream.send(b"GET http://far.test/again HTTP/1.1\r\n\r\n")
        assert await gone(stream)
    assert len(elsewhere.dialled) == 1


async def test_a_refusal_says_what_would_allow_it() -> None:
    async with opened(Elsewhere(), "far.test") as doors:
        answered, stream = await doors.tunnel("near.test:443")
        body = await stream.reader.read(1000)
        assert answered.startswith(b"HTTP/1.1 403 Forbidden")
        assert body == (
            b"Bulkhead: no grant covers near.test at port 443\nto allow it: bulkhead grant toy --host near.test\n"
        )


@given(st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), min_size=1, max_size=6), st.sampled_from([80, 2375, 8443]))
def test_no_name_from_outside_leads_near_the_user(found: list[IPv4Address], port: int) -> None:
    elsewhere = Elsewhere(far_test=" ".join(map(str, found)))
    elsewhere.own = {str(found[0])}
    way = elsewhere.way("far.test:80", "far.test:2375", "far.test:8443")

    async def ask() -> tuple[str, ...]:
        name, rule = way.judge("far.test", port)
        try:
            return await way.addresses(name, rule, port)
        except Denied:
            return ()

    assert asyncio.run(ask()) == tuple(
        str(one) for one in dict.fromkeys(found) if is_public(one) and str(one) not in elsewhere.own
    )


@pytest.mark.parametrize(
    ("hosts", "host", "port", "reason"),
    [
        (["127.0.0.1:8600"], "127.0.0.1", 8600, "Bulkhead's own"),
        (["nas:8600"], "10.0.0.9", 8600, "Bulkhead's own"),
        (["lan:far.test:443"], "127.0.0.1", 443, "this machine's"),
        (["lan:far.test:443"], "169.254.169.254", 443, "hands out credentials"),
        (["lan:far.test:2375"], "10.0.0.7", 2375, "container engine"),
        (["far.test:443"], "10.0.0.7", 443, "not of the public network"),
    ],
)
async def test_an_address_is_looked_at_again_before_it_is_dialled(
    hosts: list[str], host: str, port: int, reason: str
) -> None:
    elsewhere = Elsewhere()
    elsewhere.own = {"127.0.0.1", "10.0.0.9"}
    with pytest.raises(Denied, match=reason):
        async with elsewhere.way().line(Asked("direct", host, port), parse_rule(hosts[0]), (host,)):
            pass
    assert elsewhere.dialled == [] and elsewhere.facts == []


async def test_an_address_learnt_under_one_rule_does_not_serve_another() -> None:
    elsewhere = Elsewhere(a_far_test="10.0.0.7")
    way = elsewhere.way("lan:a.far.test:5000", "*.far.test")
    assert await way.tell("a.far.test") == ("10.0.0.7",)
    assert way.names_told("10.0.0.7", 443) == {"a.far.test"}
    _, rule = way.judge("a.far.test", 443)
    with pytest.raises(Denied, match="not of the public network"):
        async with way.line(Asked("direct", "a.far.test", 443), rule, ("10.0.0.7",)):
            pass
    assert elsewhere.dialled == []


async def test_a_slow_name_service_keeps_few_lookups_and_no_caller_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.sandbox.egress.way.LOOKUP_LIMIT", 0.05)
    asking: list[str] = []

    async def never(name: str) -> tuple[str, ...]:
        asking.append(name)
        await asyncio.Event().wait()
        return ()

    outside = Outside(never, Elsewhere()._dial, lambda _: False)
    way = Way(TOY, HostRules.of(["*.far.test"]), outside, lambda _: None)
    async with asyncio.timeout(LIMIT):
        results = await asyncio.gather(*(way.tell(f"h{n}.far.test") for n in range(20)), return_exceptions=True)
    assert all(isinstance(result, Unreachable) for result in results)
    assert len(asking) == 4


@pytest.fixture
def clock() -> Callable[[float], float]:
    now = [1000.0]

    def move(seconds: float = 0.0) -> float:
        now[0] += seconds
        return now[0]

    return move


def test_a_denial_that_repeats_itself_is_counted_and_not_written(clock: Callable[[float], float]) -> None:
    facts: list[Fact] = []
    receipts = Receipts(TOY, facts.append, lambda: clock(0.0))
    for _ in range(1000):
        receipts.denied(Asked("names", "far.test"), Denied("no grant covers far.test"))
    assert len(facts) == 1
    clock(61.0)
    receipts.denied(Asked("names", "far.test"), Denied("no grant covers far.test"))
    assert [fact.body for fact in facts] == [{"via": "names"}, {"via": "names", "not_written": 999}]


def test_no_flood_of_different_denials_fills_the_log(clock: Callable[[float], float]) -> None:
    facts: list[Fact] = []
    receipts = Receipts(TOY, facts.append, lambda: clock(0.0))
    for number in range(5000):
        receipts.denied(Asked("names", f"h{number}.test"), Denied("no grant covers it"))
    assert len(facts) == 60
    receipts.finish()
    assert facts[-1].method == "denials" and facts[-1].body == {"not_written": 4940}


def test_a_strangers_words_are_shown_without_what_a_terminal_would_obey() -> None:
    assert str(Asked("proxy", "a\x1b[2Jb\n" + "c" * 400, 443)).startswith("a\ufffd[2Jb\ufffdccc")
    assert len(str(Asked("proxy", "c" * 400, 443))) < 300
