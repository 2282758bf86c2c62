"""What a connection says first, whichever door it came in by, and how it goes on once that was judged.

At port 443 it is TLS that names a host, at port 80 one HTTP request that names it: the host that was asked for, and no
other.  What other ports carry is not looked at; they reach the one address that was checked for them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from broker.sandbox.addresses import normal
from broker.sandbox.egress.head import Head, HeadError, origin_form
from broker.sandbox.egress.hello import HelloError
from broker.sandbox.egress.receipts import Denied
from broker.sandbox.egress.way import Line
from broker.sandbox.egress.wire import Stream, carry, carry_request, read_head, read_hello
from broker.sandbox.hosts import HostRules, narrowest

HTTP, TLS = 80, 443


@dataclass(frozen=True, slots=True)
class Opening:
    """The first words: `raw` as they came, or a request's `head`; and the host they name, if they name one."""

    raw: bytes = b""
    head: Head | None = None
    host: str | None = None


async def read_opening(
    client: Stream, port: int, allowed: Collection[str], rules: HostRules, *, inspected: bool = False
) -> Opening:
    """Read what names the host at this port and see that it is one of `allowed`.

    Where connections are `inspected`, every port but that of plain HTTP takes TLS only.

    Raises:
        Denied: it is another one, or the words cannot be read in exactly one way.
    """
    if port == TLS or (inspected and port != HTTP):
        opening = await _hello(client, port)
    elif port == HTTP:
        opening = await _request(client)
    else:
        return Opening()
    if opening.host not in allowed:
        grant = None
        if opening.host is not None and rules.rule_for(opening.host, port) is None:
            grant = narrowest(opening.host, port)
        named = opening.host or "no host"
        raise Denied(f"a connection for {' or '.join(sorted(allowed)[:3])} names {named} inside", grant=grant)
    return opening


async def go_on(client: Stream, line: Line, opening: Opening) -> None:
    """Send what was judged, and carry the rest."""
    if opening.head is None:
        if opening.raw:
            line.carried.send(len(opening.raw))
            await line.stream.send(opening.raw)
        await carry(client, line.stream, line.carried)
        return
    assert opening.host is not None
    await send_request(client, line, opening.head, opening.host, origin_form(opening.head.target))


async def send_request(client: Stream, line: Line, head: Head, host: str, target: str) -> None:
    """Exactly one request, and its answer."""
    written = head.forwarded(host, target)
    line.carried.send(len(written))
    await line.stream.send(written)
    await carry_request(head, client, line.stream, line.carried)


async def _hello(client: Stream, port: int) -> Opening:
    try:
        raw, name = await read_hello(client)
        return Opening(raw=raw, host=normal(name) if name is not None else None)
    except HelloError as cause:
        raise Denied(f"port {port} takes only TLS that names its host: {cause}") from cause
    except ValueError as cause:
        raise Denied("the host that the TLS inside names is no host") from cause


async def _request(client: Stream) -> Opening:
    try:
        head = await read_head(client)
        origin_form(head.target)
        host, port = head.host
        _ = head.length
        if port not in (None, HTTP):
            raise HeadError("its host has another port")
    except HeadError as cause:
        raise Denied(f"port {HTTP} takes only plain HTTP requests: {cause}") from cause
    try:
        return Opening(head=head, host=normal(host))
    except ValueError as cause:
        raise Denied("the host that the request inside names is no host") from cause
