"""R8: what a server sends out by itself, without a message, is asked about where it carries private text of another.

A request waits for the answer, and none in time is a no.  What a person already let into a tool of this server may
leave by it; the strictest policy asks nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from broker.flow.egress import RULE, sources_of
from broker.flow.egress import egress as judged
from broker.house import House
from broker.model import ClientName, Fact, ServerName, SessionId, Verdict
from broker.policy.store import STRICTEST
from broker.sandbox.egress.leaving import Outgoing

MAX_KNOWN: Final = 1024  # yeses of one link that last


class Outflow:
    """One link's judge of it: call it before something leaves; it answers why it must not, or nothing."""

    def __init__(
        self,
        house: House,
        client: ClientName,
        session: SessionId,
        server: ServerName,
        let_in: Callable[[], frozenset[int]],
        record_durably: Callable[[Fact], Awaitable[None]],
    ) -> None:
        """`let_in`: the marks of what a person let into this server's tools."""
        self._house = house
        self._client = client
        self._session = session
        self._server = server
        self._let_in = let_in
        self._record_durably = record_durably
        self._known: dict[tuple[str, frozenset[str]], None] = {}

    async def __call__(self, outgoing: Outgoing) -> str:
        policy = self._house.policy.current
        if not policy.holds:
            return ""
        provenance = self._house.ledgers.provenance(self._session)
        matches = sources_of(self._server, outgoing.url, outgoing.body, provenance, self._let_in())
        decision = judged(self._server, outgoing.host, outgoing.method, matches)
        origins = frozenset(f"{match.origin.server} {match.origin.number}" for match in matches)
        if decision.verdict is Verdict.ALLOW or (outgoing.host, origins) in self._known:
            return ""
        if policy.name == STRICTEST:
            return f"{RULE}: {decision.reason}, and the policy {STRICTEST} lets nothing of it out"
        ticket = self._house.consent.ask(
            kind="egress",
            client=self._client,
            server=self._server,
            session=self._session,
            what=f"let {self._server} send {outgoing.method[:16]} to {outgoing.host[:253]}",
            why=f"{RULE}: {decision.reason}",
            digest_of={"host": outgoing.host, "method": outgoing.method, "url": outgoing.url, "from": sorted(origins)},
            evidence=decision.evidence,
            detail=self._house.audit.redactor.text(outgoing.url[:4096]),
            wait_seconds=self._house.waits.question,
        )
        self._house.changed()
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        body = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed, "for": answer.lifetime,
                "host": outgoing.host, "evidence": list(decision.evidence)}  # fmt: skip
        await self._record_durably(Fact("answer", "person", "egress", self._server, body=body, durable=True))
        self._house.changed()
        if not answer.allowed:
            said = "nobody answered in time" if answer.by == "deadline" else f"denied by {answer.by}"
            return f"{RULE}: {decision.reason}; {said}"
        if answer.lifetime != "once":
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[outgoing.host, origins] = None
        return ""
