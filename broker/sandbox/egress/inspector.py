"""Requests of a server whose connections are looked into: judged one by one, given their secrets, searched on return.

The program inside speaks TLS with us, and we with the host, whose certificate the system must vouch for.  Nothing is
dialled for a request that no rule covers, and nothing goes out that was not written anew from what was judged.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from broker.sandbox.addresses import normal
from broker.sandbox.egress.authority import Authority
from broker.sandbox.egress.credentials import Credentials
from broker.sandbox.egress.exchange import SWITCHING, Exchange
from broker.sandbox.egress.head import Head, HeadError, chunk_length, origin_form
from broker.sandbox.egress.leaving import Bodies, Outgoing, check_leaving
from broker.sandbox.egress.mask import Mask
from broker.sandbox.egress.opening import HTTP, Opening
from broker.sandbox.egress.receipts import Asked, Denied
from broker.sandbox.egress.sealed import Sealed
from broker.sandbox.egress.way import Line, Unreachable, Way
from broker.sandbox.egress.wire import FIRST_WORDS, IDLE, Stream, carry, carry_request, read_head, refuse
from broker.sandbox.hosts import HostRule
from broker.sandbox.inspection import Inspected, Request

MAX_JUDGED: Final = 4 << 20  # of a body that is judged whole; as much as one message of a client may be
BODY_LIMIT: Final = 120.0


class Inspector:
    """Looks into the connections of one sandbox."""

    def __init__(
        self,
        inspected: Inspected,
        authority: Authority,
        trust: Callable[[], ssl.SSLContext],
        bodies: Bodies | None = None,
    ) -> None:
        """`trust` makes the way to check hosts; `bodies` judges what requests carry."""
        self._inspected = inspected
        self._credentials = Credentials(inspected)
        self._authority = authority
        self._make_trust = trust
        self._trust: ssl.SSLContext | None = None
        self._bodies = bodies

    async def serve(
        self, way: Way, client: Stream, asked: Asked, rule: HostRule, addresses: tuple[str, ...], opening: Opening
    ) -> None:
        """One request to a named host, to its end.  What is refused is recorded and said here."""
        stream: Stream = client
        secure = opening.head is None
        try:
            if secure:
                stream = await self._open_up(client, asked.host, opening.raw)
            head = opening.head or await read_head(stream)
            request = _request(head, asked)
            asked = replace(asked, request=request.kind, path=request.path)
            await self._exchange(way, stream, asked, rule, addresses, head, request, secure)
            if secure:
                await stream.close()
        except HeadError as cause:
            await _say(way, stream, asked, Denied(f"this cannot be carried: {cause}"), "400 Bad Request")
        except Denied as denied:
            await _say(way, stream, asked, denied, "403 Forbidden")
        except Unreachable as cause:
            await refuse(stream, "502 Bad Gateway", str(cause))
            await stream.close()

    async def _open_up(self, client: Stream, host: str, begun: bytes) -> Sealed:
        sealed = Sealed(client, self._authority.context(host), begun=begun)
        try:
            await sealed.handshake()
        except ssl.SSLError as cause:
            client.abort()
            raise Denied(
                "the program does not take the certificate of this sandbox: it reads none of the variables that name it"
            ) from cause
        return sealed

    async def _exchange(
        self,
        way: Way,
        client: Stream,
        asked: Asked,
        rule: HostRule,
        addresses: tuple[str, ...],
        head: Head,
        request: Request,
        secure: bool,
    ) -> None:
        if not self._inspected.allows(request):
            raise Denied("no rule of the inspection covers this request")
        body = b""
        if self._bodies is not None:
            body, head = await _whole_body(head, client)
            url = f"{'https' if secure else 'http'}://{request.host}:{request.port}{request.target}"
            await check_leaving(self._bodies, Outgoing(request.host, request.method, url, body))
        head, put = self._credentials.settle(head, request, secure=secure)
        async with way.line(asked, rule, addresses) as line:
            outside = await self._vouched_for(line, request.host) if secure else line.stream
            way.receipts.requested(asked, put)
            written = head.forwarded(_host_field(request, secure), head.target)
            if request.upgrade:
                written = written.replace(b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
            line.carried.send(len(written) + len(body))
            await outside.send(written + body)
            mask = Mask(self._credentials.values)
            exchange = Exchange(
                client, outside, line.carried, request.method, mask, bool(self._credentials.values), request.upgrade
            )

            async def answer(limit: asyncio.Timeout) -> None:
                found = await exchange.head(limit)
                for location in found.values("location"):
                    self._credentials.led(request, location, secure=secure)
                if found.status == SWITCHING:
                    await carry(client, outside, line.carried, lambda limit: exchange.body(found, limit))
                else:
                    await exchange.body(found, limit)

            if request.upgrade:
                async with asyncio.timeout(IDLE) as limit:
                    await answer(limit)
                return
            sent = replace(head, fields=()) if self._bodies is not None else head  # a judged body has gone already
            await carry_request(sent, client, outside, line.carried, answer)

    async def _vouched_for(self, line: Line, host: str) -> Sealed:
        """TLS with the host itself.

        Raises:
            Denied: nobody the system trusts says that it is that host.
            Unreachable: it speaks no TLS.
        """
        if self._trust is None:
            self._trust = await asyncio.to_thread(self._make_trust)  # reads some hundred certificates
        sealed = Sealed(line.stream, self._trust, host=host)
        try:
            await sealed.handshake()
        except ssl.SSLCertVerificationError as cause:
            raise Denied(f"the certificate of {host} is not one that this machine trusts") from cause
        except ssl.SSLError as cause:
            raise Unreachable(f"{host} speaks no TLS that could be understood") from cause
        return sealed


def _request(head: Head, asked: Asked) -> Request:
    """What is asked for, of the host that was judged and no other."""
    origin_form(head.target)
    _ = head.length
    host, port = head.host
    try:
        name = normal(host)
    except ValueError as cause:
        raise HeadError("its host is no host") from cause
    default = HTTP if asked.port == HTTP else 443
    if name != asked.host or (port or default) != asked.port:
        raise Denied(f"a request inside a connection for {asked.host} names another host")
    upgrades = {value.lower() for value in head.values("upgrade")}
    upgrade = b"websocket" in upgrades and head.method == "GET"
    if upgrades and not upgrade and upgrades != {b"h2c"}:  # a server may leave an offer of HTTP/2 unheard, and so do we
        raise HeadError("it asks for a protocol that cannot be looked into")
    return Request(name, asked.port, head.method, head.target, upgrade)


def _host_field(request: Request, secure: bool) -> str:
    return request.host if request.port == (443 if secure else HTTP) else f"{request.host}:{request.port}"


async def _whole_body(head: Head, client: Stream) -> tuple[bytes, Head]:
    """The body, and a head that says its length."""
    read = client.reader
    fields = tuple((name, value) for name, value in head.fields
                   if name not in ("content-length", "transfer-encoding", "expect", "trailer"))  # fmt: skip
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_LIMIT):
            if head.values("expect"):
                await client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = head.length
            if left is None:
                while length := chunk_length(await read.readuntil(b"\r\n")):
                    if sum(map(len, parts)) + length > MAX_JUDGED:
                        raise HeadError(f"its body is longer than the {MAX_JUDGED} bytes that can be judged")
                    parts.append(await read.readexactly(length))
                    if await read.readexactly(2) != b"\r\n":
                        raise HeadError("its body is not in chunks")
                while await read.readuntil(b"\r\n") != b"\r\n":
                    pass
            elif left > MAX_JUDGED:
                raise HeadError(f"its body is longer than the {MAX_JUDGED} bytes that can be judged")
            else:
                parts.append(await read.readexactly(left))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as cause:
        raise HeadError("its body was cut short") from cause
    body = b"".join(parts)
    if body or head.values("content-length"):
        fields = (*fields, ("content-length", b"%d" % len(body)))
    return body, replace(head, fields=fields)


async def _say(way: Way, stream: Stream, asked: Asked, denied: Denied, status: str) -> None:
    way.receipts.denied(asked, denied)
    try:
        async with asyncio.timeout(FIRST_WORDS):
            await refuse(stream, status, denied.reason, way.receipts.remedy(denied.grant))
            await stream.close()
    except OSError:
        stream.abort()
