"""The proxy of one sandbox: HTTP `CONNECT`, plain HTTP in absolute form, and SOCKS 5, all on one port.

Which sandbox asks is said by the socket it asks on, so there is no password that could be borrowed.  One connection
carries one request or one tunnel.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Final, TypeVar

from broker.sandbox.egress.capture import to_address
from broker.sandbox.egress.head import Head, HeadError, absolute, authority
from broker.sandbox.egress.opening import HTTP, Opening, go_on, read_opening, send_request
from broker.sandbox.egress.receipts import Asked, Denied
from broker.sandbox.egress.way import Unreachable, Way
from broker.sandbox.egress.wire import FIRST_WORDS, Stream, read_head, refuse

T = TypeVar("T")

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
SOCKS: Final = 5
NO_PASSWORD, NONE_OF_THEM = 0, 0xFF
CONNECT: Final = 1
BY_ADDRESS, BY_NAME = 1, 3
GRANTED, NOT_ALLOWED, NOT_REACHED, NOT_A_COMMAND, NOT_A_KIND = 0, 2, 4, 7, 8


async def serve_proxy(way: Way, client: Stream) -> None:
    """One connection to the proxy, to its end."""
    async with asyncio.timeout(FIRST_WORDS):
        first = await client.reader.readexactly(1)
    if first[0] == SOCKS:
        await _serve_socks(way, client)
    else:
        await _serve_http(way, client, first)


async def _serve_http(way: Way, client: Stream, first: bytes) -> None:
    asked = Asked("proxy", "?")
    try:
        head = await read_head(client, first)
        if head.method == "CONNECT":
            host, port = authority(head.target)
            asked = Asked("proxy", host, port or 443)
            await _tunnel(way, client, asked, ESTABLISHED)
            return
        host, port, path = absolute(head.target)
        _ = head.length  # refused before anything is dialled
        asked = Asked("proxy", host, port)
        name, rule = way.judge(host, port)
        asked = Asked("proxy", name, port)
        addresses = await way.addresses(name, rule, port)
        if way.inspector is not None and way.looks_into(name, port):
            if port != HTTP:
                raise Denied(f"connections are looked into, and without TLS that is done at port {HTTP} only")
            opening = Opening(head=_of_its_own(head, name, path), host=name)
            await way.inspector.serve(way, client, asked, rule, addresses, opening)
            return
        await way.check_plain(name, head.method, path)
        async with way.line(asked, rule, addresses) as line:
            await send_request(client, line, head, name if port == 80 else f"{name}:{port}", path)
    except HeadError as cause:
        way.receipts.denied(asked, Denied(f"the request to the proxy cannot be carried: {cause}"))
        await refuse(client, "400 Bad Request", str(cause))
    except Denied as denied:
        way.receipts.denied(asked, denied)
        await refuse(client, "403 Forbidden", denied.reason, way.receipts.remedy(denied.grant))
    except Unreachable as cause:
        await refuse(client, "502 Bad Gateway", str(cause))


async def _tunnel(way: Way, client: Stream, asked: Asked, established: bytes) -> None:
    """A connection to a host by its name.

    Raises:
        Denied, Unreachable: before `established` was said; after it, the connection is dropped.
    """
    name, rule = way.judge(asked.host, asked.port)
    asked = Asked(asked.via, name, asked.port)
    addresses = await way.addresses(name, rule, asked.port)
    if way.inspector is not None and way.looks_into(name, asked.port):
        await client.send(established)
        reading = read_opening(client, asked.port, {name}, way.rules, inspected=True)
        await way.inspector.serve(way, client, asked, rule, addresses, await _after_yes(reading, way, asked))
        return
    async with way.line(asked, rule, addresses) as line:
        await client.send(established)
        opening = Opening()
        if rule.kind != "address":
            opening = await _after_yes(read_opening(client, asked.port, {name}, way.rules), way, asked)
        if opening.head is not None:
            checking = way.check_plain(name, opening.head.method, opening.head.target)
            await _after_yes(checking, way, asked)
        await go_on(client, line, opening)


def _of_its_own(head: Head, host: str, path: str) -> Head:
    """A request to a proxy as the host itself would be sent it."""
    fields = (("host", host.encode("ascii")), *(field for field in head.fields if field[0] != "host"))
    return replace(head, target=path, fields=fields)


async def _after_yes(work: Coroutine[Any, Any, T], way: Way, asked: Asked) -> T:
    """The client was told that it is connected: a refusal now can only drop the connection."""
    try:
        return await work
    except Denied as denied:
        way.receipts.denied(asked, denied)
        raise ConnectionAbortedError("the first words were refused") from denied
    except Unreachable as cause:
        raise ConnectionAbortedError(str(cause)) from cause


async def _serve_socks(way: Way, client: Stream) -> None:
    """RFC 1928, as far as programs use it: no password, one connection out."""
    async with asyncio.timeout(FIRST_WORDS):
        offered = await _counted(client)
        if NO_PASSWORD not in offered:
            await client.send(bytes((SOCKS, NONE_OF_THEM)))
            return
        await client.send(bytes((SOCKS, NO_PASSWORD)))
        version, command, _, kind = await client.reader.readexactly(4)
        if version != SOCKS or kind not in (BY_ADDRESS, BY_NAME):
            await client.send(_reply(NOT_A_KIND))
            return
        if kind == BY_NAME:
            host = (await _counted(client)).decode("latin-1")
        else:
            host = str(IPv4Address(await client.reader.readexactly(4)))
        port = int.from_bytes(await client.reader.readexactly(2))
    if command != CONNECT or not port:
        await client.send(_reply(NOT_A_COMMAND))
        return
    asked = Asked("socks", host, port)
    try:
        if kind == BY_ADDRESS:
            if way.rules.rule_for(host, port) is None:
                way.names_told(host, port)
            await client.send(_reply(GRANTED))
            await _after_yes(to_address(way, client, asked), way, asked)
        else:
            await _tunnel(way, client, asked, _reply(GRANTED))
    except Denied as denied:
        way.receipts.denied(asked, denied)
        await client.send(_reply(NOT_ALLOWED))
    except Unreachable:
        await client.send(_reply(NOT_REACHED))


async def _counted(client: Stream) -> bytes:
    return await client.reader.readexactly((await client.reader.readexactly(1))[0])


def _reply(code: int) -> bytes:
    return bytes((SOCKS, code, 0, BY_ADDRESS, 0, 0, 0, 0, 0, 0))
