"""Before a launch: does it join a server that reads what is private with one that can send it out?

Such a way needs no message, so no rule about messages sees it.  It is a question before the server starts; a yes holds
while the daemon runs, and where the policy is the strictest one the launch is refused without a question.
"""

import asyncio
from collections.abc import Awaitable, Callable

from broker.errors import SandboxError
from broker.house import House
from broker.model import ClientName, Fact, SessionId
from broker.policy.store import STRICTEST
from broker.registry import Server
from broker.sandbox.channels import Seat, joinings


async def agree_to_joins(
    house: House,
    client: ClientName,
    session: SessionId,
    server: Server,
    record_durably: Callable[[Fact], Awaitable[None]],
) -> tuple[str, ...]:
    """Every way that starting `server` opens, all of them agreed to; a policy that holds nothing only names them.

    Raises:
        SandboxError: nobody agreed to one of them.
    """
    others = [Seat(other.name, other.grants) for other in house.registry.servers() if other.enabled]
    found = joinings(Seat(server.name, server.grants), others)
    for way in found:
        if wall := house.walls.current.apart(way.channels[0].source, way.channels[-1].sink):
            hint = f"give {server.name} a folder or service of its own, or: bulkhead wall remove {wall}"
            raise SandboxError(f"{server.name} was not started (R2): the wall {wall} stands, and {way}", hint=hint)
    ways = tuple(str(way) for way in found)
    new = tuple(way for way in ways if way not in house.joined)
    if not new or not house.policy.current.holds:
        return ways
    hint = f"give {server.name} a folder or service of its own, or answer the question: bulkhead pending"
    if house.policy.current.name == STRICTEST:
        raise SandboxError(
            f"{server.name} was not started, and the policy {STRICTEST} never joins: {new[0]}", hint=hint
        )
    ticket = house.consent.ask(
        kind="launch",
        client=client,
        server=server.name,
        session=session,
        what=f"start {server.name} beside the servers it is joined to",
        why=f"channel: {new[0]}",
        digest_of={"joins": list(new)},
        evidence=new,
        wait_seconds=house.waits.question,
    )
    house.changed()
    try:
        answer = await ticket.answer()
    except asyncio.CancelledError:
        ticket.withdraw()
        raise
    body = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed, "joins": list(new)}
    await record_durably(Fact("answer", "person", "launch", server.name, body=body, durable=True))
    if not answer.allowed:
        raise SandboxError(f"{server.name} was not started: {new[0]}", hint=hint)
    house.joined.update(new)
    return ways
