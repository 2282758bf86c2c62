"""Connections of programs that know of no proxy: every address leads to us, and the socket says which was dialled.

An address counts only if it was granted itself, or if the server learnt it from our own name service for a host that
may be reached at this port; which of them is meant, TLS or HTTP say inside, and that same address is dialled.
"""

from broker.sandbox.egress.opening import HTTP, Opening, go_on, read_opening
from broker.sandbox.egress.receipts import Asked, Denied
from broker.sandbox.egress.way import Unreachable, Way
from broker.sandbox.egress.wire import Stream, refuse


async def serve_direct(way: Way, client: Stream) -> None:
    """One connection at a captured port, to its end.  What is not allowed is reset."""
    address, port = client.writer.get_extra_info("sockname")[:2]
    asked = Asked("direct", address, port)
    try:
        await to_address(way, client, asked)
    except Denied as denied:
        way.receipts.denied(asked, denied)
        if port == HTTP:  # the one protocol in which a refusal can be said
            await refuse(client, "403 Forbidden", denied.reason, way.receipts.remedy(denied.grant))
        else:
            client.abort()
    except Unreachable as cause:
        if port == HTTP:
            await refuse(client, "502 Bad Gateway", str(cause))
        else:
            client.abort()


async def to_address(way: Way, client: Stream, asked: Asked) -> None:
    """A connection to an address that the server dialled itself.

    Raises:
        Denied: it may not be reached, or not for what is said first.
        Unreachable: nothing answers there.
    """
    rule = way.rules.rule_for(asked.host, asked.port)
    if rule is not None:
        async with way.line(asked, rule, (asked.host,)) as line:
            await go_on(client, line, Opening())
        return
    names = way.names_told(asked.host, asked.port)
    inspector = way.inspector if any(way.looks_into(name, asked.port) for name in names) else None
    opening = await read_opening(client, asked.port, names, way.rules, inspected=inspector is not None)
    name, rule = way.judge(opening.host or min(names), asked.port)
    named = Asked(asked.via, name, asked.port)
    if inspector is not None:
        await inspector.serve(way, client, named, rule, (asked.host,), opening)
        return
    if opening.head is not None:
        await way.check_plain(name, opening.head.method, opening.head.target)
    async with way.line(named, rule, (asked.host,)) as line:
        await go_on(client, line, opening)
