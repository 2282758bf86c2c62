"""A vulnerability that became known after a yes: a person is asked whether its server keeps running.

A yes is for exactly the advisories that were shown and stands in the pin; a no switches the server off.  Without an
answer what runs goes on, and nothing starts anew: the question comes again with the next start.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from broker.consent import Ticket
from broker.errors import SandboxError
from broker.house import House
from broker.model import Answer, ClientName, Fact, Origin, SessionId
from broker.pin import Pin
from broker.trust.advisories import Hit

ASKER: Final = ClientName("bulkhead")
MAX_ACCEPTED: Final = 1000  # advisories of one pin; a closure with more is better replaced
PERSON: Final = "person"


def unaccepted(pin: Pin, hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The vulnerabilities nobody has said yes to.  Malware is none: no yes lifts it."""
    return tuple(hit for hit in hits if not hit.malware and hit.id not in pin.accepted)


async def keep_running(house: House, pin: Pin, hits: Sequence[Hit], seconds: float) -> Answer:
    """Ask, wait so long for the answer, and do what it says.  Whoever asks the same meanwhile shares the question."""
    ticket = _ask(house, pin, hits, seconds)
    house.changed()
    try:
        async with asyncio.timeout(seconds):
            answer = await ticket.answer()
    except TimeoutError:
        ticket.withdraw()  # others may wait longer
        return Answer(False, by="deadline")
    except asyncio.CancelledError:
        ticket.withdraw()
        raise
    if answer.allowed:
        _accept(house, pin, hits)
    elif answer.by.startswith(PERSON) and _is_pinned(house, pin):
        house.registry.set_enabled(pin.server, "", False)
    body = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed, "ids": [hit.id for hit in hits]}
    fact = Fact("answer", "person", "advisory", pin.server, body=body, durable=True)
    await house.audit.append_durable(Origin(server=pin.server), fact)
    house.changed()
    return answer


async def agree_to_flaws(house: House, pin: Pin) -> None:
    """Before a start: every vulnerability known of the pin is agreed to, or a person is asked now.

    Raises:
        SandboxError: nobody agreed.
        TrustError: there is a database of advisories, and it cannot be read.
    """
    current = house.registry.pin(pin.server) or pin
    hits = unaccepted(current, house.advisories.check(pin.artifact))
    if not hits or not house.policy.current.holds:
        return
    answer = await keep_running(house, pin, hits, house.waits.question)
    if not answer.allowed:
        off = answer.by.startswith(PERSON)
        hint = f"bulkhead enable {pin.server}" if off else "answer the question: bulkhead pending"
        raise SandboxError(
            f"{pin.server} was not started: {hits[0]}",
            hint=f"{hint}, or look for a newer version: bulkhead pin {pin.server} --update",
        )


def _ask(house: House, pin: Pin, hits: Sequence[Hit], seconds: float) -> Ticket:
    more = f", and {len(hits) - 1} more" if len(hits) > 1 else ""
    return house.consent.ask(
        kind="advisory",
        client=ASKER,
        server=pin.server,
        session=SessionId(""),
        what=f"keep running {pin.server} with what became known about its packages (no: switch it off)",
        why=f"{hits[0].package} {hits[0].version}: {hits[0].id}{more}",
        digest_of={"tree": pin.artifact.tree, "ids": [hit.id for hit in hits]},
        evidence=tuple(str(hit) for hit in hits),
        wait_seconds=seconds,
    )


def _is_pinned(house: House, pin: Pin) -> bool:
    """Whether the server still runs what was asked about."""
    current = house.registry.pin(pin.server) if house.registry.has_server(pin.server) else None
    return current is not None and current.artifact == pin.artifact


def _accept(house: House, pin: Pin, hits: Sequence[Hit]) -> None:
    current = house.registry.pin(pin.server)
    if current is None or not _is_pinned(house, pin):
        return
    ids = dict.fromkeys((*current.accepted, *(hit.id for hit in hits)))
    agreed = replace(current, accepted=tuple(ids)[-MAX_ACCEPTED:])
    house.registry.put_pin(agreed, house.registry.catalog(pin.server))
