"""Whether a call of one link may happen: policy and ledger, each answered by its own grants, and then a person.

The stricter of two opinions counts, and a yes that lasts is on the disk before it counts.
"""

import asyncio
from collections.abc import Awaitable, Callable

from broker.flow.labels import UNLABELLED
from broker.flow.ledger import hold
from broker.house import House
from broker.model import Call, ClientName, Decision, Fact, Lifetime, SessionId, Verdict
from broker.pin import Pin
from broker.policy.evaluate import evaluate, strictest
from broker.registry import Server
from broker.sentences import sentence
from broker.trust import pins


class Judge:
    """One link's judge.  `server` is the document that holds now; whoever changes it says so with `server_changed`."""

    def __init__(
        self,
        house: House,
        client: ClientName,
        session: SessionId,
        server: Server,
        pin: Pin,
        record_durably: Callable[[Fact], Awaitable[None]],
    ) -> None:
        self.client = client
        self.session = session
        self.server = server
        labels = house.labels.of(pin.artifact.kind, pin.artifact.name)
        # Whoever read its code knows what it does in a sandbox; out of one nothing holds it to that.
        self.labels = labels.reaching(server.grants.hosts) if server.grants.boxed else UNLABELLED
        self._house = house
        self._pin = pin
        self._record_durably = record_durably

    def server_changed(self, server: Server) -> None:
        """The server's document changed: what it allows from now on."""
        self.server = server
        self.labels = self.labels.reaching(server.grants.hosts)

    @property
    def caveat(self) -> str:
        """What every question about a server that is not verified says too."""
        said = pins.development(self._pin.artifact)
        return f"; {self.server.name} is a {said}" if said else ""

    def lasting(self, lifetime: Lifetime) -> Lifetime:
        """How long a yes lasts here: code that changes from day to day gets no standing one."""
        return "session" if self._pin.launch.dev and lifetime == "always" else lifetime

    def judge(self, call: Call) -> Decision:
        """Policy and ledger, each answered by its own grants, and the stricter of both."""
        if call.method == "tools/call" and call.target in self.server.disabled_tools:
            return Decision(Verdict.DENY, "disabled", "you switched this tool off")
        grants, policy = self._house.grants, self._house.policy.current
        by_policy = grants.settle(call, evaluate(policy, call))
        held = self._held(call) if policy.holds else None
        return _both(by_policy, grants.settle(call, held)) if held is not None else by_policy

    async def ask(self, call: Call, decision: Decision) -> Decision:
        """Put a call to a person and wait; whoever is cancelled meanwhile has withdrawn the question."""
        shown = {"arguments": call.arguments, **call.extra} if call.extra else call.arguments
        ticket = self._house.consent.ask(
            kind="call",
            client=self.client,
            server=self.server.name,
            session=self.session,
            what=sentence(call),
            why=f"{decision.rule}: {decision.reason}{self.caveat}",
            digest_of={"call": call.digest, "rule": decision.rule, "evidence": list(decision.evidence)},
            evidence=decision.evidence,
            detail=self._house.audit.redactor.json(shown),
            wait_seconds=self._house.waits.question,
        )
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        lifetime = self.lasting(answer.lifetime)
        if not answer.allowed:
            said = "nobody answered in time" if answer.by == "deadline" else f"denied by {answer.by}"
            return Decision(Verdict.DENY, decision.rule, f"{decision.reason}; {said}", decision.evidence)
        if lifetime != "once":  # what lasts is on the disk before it counts; the answer itself is the relay's
            body = {"question": ticket.question.id, "for": lifetime, "by": answer.by, "rule": decision.rule}
            fact = Fact("grant", "person", call.method, call.target, digest=call.digest, body=body, durable=True)
            await self._record_durably(fact)
            self._house.grants.add("call", call, decision, lifetime)
            self._house.changed()
        reason = f"allowed by {answer.by}, {lifetime}"
        return Decision(Verdict.ALLOW, f"person:{decision.rule}", reason, decision.evidence)

    def _held(self, call: Call) -> Decision | None:
        """What the ledger has to say: an effect here after a read elsewhere."""
        return hold(call, self.labels.of_call(call), self._house.ledgers.view(self.session))


def _both(by_policy: Decision, held: Decision) -> Decision:
    """The stricter of two decisions; where both ask, one question that shows both reasons."""
    if by_policy.verdict is held.verdict is Verdict.ASK:
        reason = f"{held.reason}; and the policy asks ({by_policy.rule}): {by_policy.reason}"
        return Decision(Verdict.ASK, held.rule, reason, (*held.evidence, *by_policy.evidence))
    return strictest(held, by_policy)
