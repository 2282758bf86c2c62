"""One link: what a client and a server may do to each other here, and what happens when they need more.

The link is where the rooms meet: the conversation asks, and this module answers out of policy, ledger, grants, store
and sandbox.  Each step of a launch takes the type the step before returns, so that none can be left out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from broker.audit.log import AuditLog
from broker.config import Waits
from broker.consent import ConsentDesk
from broker.edges import Edges, Ending, Running
from broker.errors import BulkheadError, ConfigError
from broker.flow.labels import ServerLabels
from broker.flow.ledger import hold
from broker.flow.store import LabelBook, LedgerStore
from broker.model import (
    Call,
    ClientName,
    Decision,
    Fact,
    Grants,
    Lifetime,
    LinkId,
    Origin,
    ServerName,
    SessionId,
    Verdict,
    VerifiedArtifact,
)
from broker.pin import Pin
from broker.policy.evaluate import evaluate, strictest
from broker.policy.store import GrantBook, PolicyStore
from broker.protocol.catalog import Catalog, Change
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Read
from broker.protocol.events import AdmissionDelayed, Admitted, DriftAccepted
from broker.registry import Registry, Server
from broker.relay import Relay
from broker.sandbox.process import Instance
from broker.sentences import sentence
from broker.trust import pins
from broker.trust.advisories import Advisories
from broker.trust.garbage import trees_of
from broker.trust.store import Store

LinkState: TypeAlias = Literal["waiting for a yes", "ready", "starting", "running", "drift", "ended"]
Spawn: TypeAlias = Callable[[VerifiedArtifact, Grants, Mapping[str, str], Callable[[Fact], None]], Awaitable[Instance]]


@dataclass(frozen=True, slots=True)
class House:
    """What all links share.  Built once, by the daemon."""

    registry: Registry
    audit: AuditLog
    consent: ConsentDesk
    policy: PolicyStore
    grants: GrantBook
    ledgers: LedgerStore
    labels: LabelBook
    store: Store
    advisories: Advisories
    spawn: Spawn
    waits: Waits
    drifted: Callable[[ServerName, tuple[Change, ...], Catalog], None]
    changed: Callable[[], None]
    owner: int
    key: bytes = field(repr=False)


class Link:
    """A client's conversation with one server."""

    def __init__(
        self,
        house: House,
        id: LinkId,
        client: ClientName,
        session: SessionId,
        server: Server,
        pin: Pin,
        catalog: Catalog,
        descriptors: tuple[int, int],
        admitted: bool,
    ) -> None:
        self.id = id
        self.client = client
        self.session = session
        self.server = server
        self.opened = time.time()
        self.admitted = admitted
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._house = house
        self._pin = pin
        self._pin_digest = pins.pin_digest(pin)
        labels: ServerLabels = house.labels.of(pin.artifact.kind, pin.artifact.name)
        self._labels = labels.reaching(server.grants.hosts)
        self._instance: Instance | None = None
        self._drift = False
        self._hashing: asyncio.Task[None] | None = None
        self._conversation = Conversation(client, server.name, session, catalog, self.judge, admitted)
        edges = Edges(
            record=self._record,
            record_durably=self._record_durably,
            ask=self._ask,
            read=self._read,
            launch=self._launch,
            drifted=self._drifted,
            changed=house.changed,
        )
        self._relay = Relay(self._conversation, descriptors, edges, house.waits)

    # --- what the owner does ---

    async def run(self) -> None:
        """Carry the link to its end, which is recorded whatever it is."""
        ending = Ending("the daemon stops")
        try:
            ending = await self._relay.run()
        finally:
            if self._hashing is not None:
                self._hashing.cancel()
            self.ended.set_result("" if ending.blame == "client" else ending.reason)
            self._record(Fact("link-closed", "broker", body={"reason": ending.reason, "blame": ending.blame}))

    def end(self, reason: str) -> None:
        self._relay.end(reason)

    def tick(self, now: float) -> None:
        self._relay.tick(now)

    def admit(self, allowed: bool, reason: str) -> None:
        """Somebody answered whether this client may use this server."""
        self.admitted = allowed
        self._relay.feed(Admitted(allowed, reason))

    def admission_delayed(self) -> None:
        """Nobody answered before the client's patience ends."""
        self._relay.feed(AdmissionDelayed())

    def drift_accepted(self, live: Catalog) -> None:
        """A person agreed to `live`."""
        self._drift = False
        self._relay.feed(DriftAccepted(live))

    def server_changed(self, server: Server) -> None:
        """The server's document changed: what it allows from now on."""
        self.server = server
        self._labels = self._labels.reaching(server.grants.hosts)

    def record_opening(self, fact: Fact) -> None:
        self._record(fact)

    @property
    def state(self) -> LinkState:
        if self.ended.done():
            return "ended"
        if not self.admitted:
            return "waiting for a yes"
        if self._drift:
            return "drift"
        if self._conversation.starting:
            return "starting"
        return "running" if self._instance is not None and self._instance.alive else "ready"

    @property
    def calls(self) -> int:
        return self._relay.calls

    @property
    def trees(self) -> frozenset[str]:
        """What this link keeps in the store."""
        return trees_of(self._pin.artifact)

    @property
    def tier(self) -> str:
        return self._instance.tier if self._instance is not None else ""

    @property
    def pid(self) -> int:
        return self._instance.pid if self._instance is not None and self._instance.alive else 0

    @property
    def origin(self) -> Origin:
        """Whose receipts these are."""
        return Origin(self.client, self.server.name, self.session, self.id, self._pin_digest, self.tier)

    @property
    def caveat(self) -> str:
        """What every question about a server that is not verified says too."""
        said = pins.development(self._pin.artifact)
        return f"; {self.server.name} is a {said}" if said else ""

    def lasting(self, lifetime: Lifetime) -> Lifetime:
        """How long a yes lasts here: code that changes from day to day gets no standing one."""
        return "session" if self._pin.launch.dev and lifetime == "always" else lifetime

    # --- may it happen ---

    def judge(self, call: Call) -> Decision:
        """Policy and ledger, each answered by its own grants, and the stricter of both."""
        if call.method == "tools/call" and call.target in self.server.disabled_tools:
            return Decision(Verdict.DENY, "disabled", "you switched this tool off")
        grants, policy = self._house.grants, self._house.policy.current
        by_policy = grants.settle(call, evaluate(policy, call))
        held = self._held(call) if policy.holds else None
        return _both(by_policy, grants.settle(call, held)) if held is not None else by_policy

    def _held(self, call: Call) -> Decision | None:
        """What the ledger has to say: an effect here after a read elsewhere."""
        return hold(call, self._labels.of_call(call), self._house.ledgers.view(self.session))

    async def _ask(self, call: Call, decision: Decision) -> Decision:
        ticket = self._house.consent.ask(
            kind="call",
            client=self.client,
            server=self.server.name,
            session=self.session,
            what=sentence(call),
            why=f"{decision.rule}: {decision.reason}{self.caveat}",
            digest_of={"call": call.digest, "rule": decision.rule, "evidence": list(decision.evidence)},
            evidence=decision.evidence,
            detail=self._house.audit.redactor.json(call.arguments),
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

    # --- the world ---

    async def _launch(self) -> Running:
        """verify -> plan -> spawn.  Recorded, on the disk, before the server's first instruction."""
        self._house.advisories.refuse_malware(self.server.name, self._pin.artifact)
        artifact = await self._house.store.verified(self._pin)
        env = self._house.registry.env(self.server)
        grants = self.server.grants
        fact = Fact(
            "launch",
            "broker",
            target=self.server.name,
            digest=artifact.tree,
            body={
                "argv": list(artifact.argv),
                "tree": artifact.tree,
                "read": [str(path) for path in grants.read],
                "write": [str(path) for path in grants.write],
                "hosts": list(grants.hosts),
                "variables": sorted(env),
                "development": pins.development(self._pin.artifact),
            },
            durable=True,
        )
        await self._record_durably(fact)
        self._instance = instance = await self._house.spawn(artifact, grants, env, self._record)
        started = {"pid": instance.pid, "warnings": list(instance.warnings)}
        try:
            self._record(Fact("launch", "broker", method="started", target=self.server.name, body=started))
        except BulkheadError:
            await instance.stop()  # nobody else knows of it
            raise
        if self._house.store.owes_whole(self._pin):
            self._hashing = asyncio.create_task(self._hash_whole())
        return instance

    async def _hash_whole(self) -> None:
        """What was only looked at before the start is hashed beside it; a difference ends the server."""
        try:
            await self._house.store.verified(self._pin, whole=True)
        except Exception as problem:  # noqa: BLE001 - whatever kept it from being hashed, nobody knows what runs
            reason = str(problem) if isinstance(problem, BulkheadError) else f"{self.server.name} could not be hashed"
            self.end(reason)
            self._record(Fact("violation", "broker", "store", self.server.name, body={"problem": reason}))

    def _read(self, read: Read) -> None:
        labels = self._labels.of(read.method, read.target)
        self._house.ledgers.note(self.session, self.server.name, read.method, read.target, labels, read.text)
        self._house.changed()

    def _drifted(self, changes: tuple[Change, ...], live: Catalog) -> None:
        self._drift = True
        self._house.drifted(self.server.name, changes, live)
        self._house.changed()

    def _record(self, fact: Fact) -> None:
        self._house.audit.append(self.origin, fact)

    async def _record_durably(self, fact: Fact) -> None:
        await self._house.audit.append_durable(self.origin, fact)


def _both(by_policy: Decision, held: Decision) -> Decision:
    """The stricter of two decisions; where both ask, one question that shows both reasons."""
    if by_policy.verdict is held.verdict is Verdict.ASK:
        reason = f"{held.reason}; and the policy asks ({by_policy.rule}): {by_policy.reason}"
        return Decision(Verdict.ASK, held.rule, reason, (*held.evidence, *by_policy.evidence))
    return strictest(held, by_policy)


def server_of(registry: Registry, name: str) -> tuple[Server, Pin, Catalog]:
    """A server that may be linked to.

    Raises:
        ConfigError: it is not registered, switched off, or not pinned.
    """
    server = registry.server(name)
    if not server.enabled:
        raise ConfigError(f"{name} is switched off", hint=f"bulkhead enable {name}")
    pin = registry.pin(name)
    if pin is None:
        raise ConfigError(f"{name} is not pinned", hint=f"bulkhead pin {name} --update")
    return server, pin, registry.catalog(name)
