"""One link: what a client and a server may do to each other here, and what happens when they need more.

The link is where the rooms meet: the conversation asks, and what stands here answers with its judge, its launches, the
ledger and the record.
"""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, TypeAlias

from broker.edges import Edges, Ending, Running
from broker.errors import ConfigError, PolicyError
from broker.house import House
from broker.judge import Judge
from broker.launch import Launch
from broker.model import ClientName, Fact, LinkId, Origin, SessionId
from broker.pin import Pin
from broker.protocol.bridge import Bridge
from broker.protocol.catalog import Catalog, Change
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Read
from broker.protocol.events import AdmissionDelayed, Admitted, DriftAccepted, Due, OffersChanged, Overdue, Tick
from broker.registry import Registry, Server
from broker.relay import Relay
from broker.resting import Unused, stopped_after
from broker.stories import Stories
from broker.trust import pins
from broker.trust.garbage import trees_of

LinkState: TypeAlias = Literal["waiting for a yes", "refused", "ready", "starting", "running", "drift", "ended"]

STATE_BYTES: Final = 32  # of randomness in what a bridged call that waits for input is known by


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
        workspace: str = "",
    ) -> None:
        self.id = id
        self.client = client
        self.session = session
        self.server = server
        self.opened = time.time()
        self.admitted = admitted
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._counted, self._used = 0, asyncio.get_running_loop().time()
        self._house = house
        self._stories = Stories(id)
        self._watched = house.watching.link(client, server.name, session) if house.watching is not None else None
        self._vitals = house.vitals.link(client, server.name)
        self._pin = pin
        self._pin_digest = pins.pin_digest(pin)
        self.judge = Judge(house, client, session, server, pin, self._record_durably, workspace)
        self._launching = Launch(
            house, pin, self._record, self._record_durably, self.end, client, session, self.judge.let_in
        )
        self._drift = self._refused = False
        conversation = Conversation(client, server.name, session, catalog, self.judge.judge, admitted, self.judge)
        self._conversation = Bridge(
            conversation, server.name, catalog, partial(secrets.token_urlsafe, STATE_BYTES), _now
        )
        edges = Edges(
            record=self._take_down,
            commit=house.audit.flush,
            record_durably=self._record_durably,
            ask=self.judge.ask,
            gave_up=self.judge.gave_up,
            read=self._read,
            launch=self._launch,
            drifted=self._drifted,
            changed=house.changed,
            **({"outgoing": self._watched.outgoing} if self._watched is not None and self._watched.traced else {}),
        )
        self._relay = Relay(self._conversation, descriptors, edges, house.waits, server.grants.limits.message)

    # --- what the owner does ---

    async def run(self) -> None:
        """Carry the link to its end, which is recorded whatever it is."""
        ending = Ending("bulkhead is stopping")
        try:
            ending = await self._relay.run()
        finally:
            self._launching.close()
            self.ended.set_result("" if ending.blame == "client" else ending.reason)
            self._record(Fact("link-closed", "broker", body={"reason": ending.reason, "blame": ending.blame}))

    def end(self, reason: str) -> None:
        self._relay.end(reason)

    def tick(self, now: float) -> None:
        self._relay.tick(now)
        if self._conversation.resting:
            self._relay.feed(Tick())
        if self._relay.calls != self._counted or self._relay.needed:
            self._counted, self._used = self._relay.calls, now
        for turn, seconds in self.judge.courtesy.overdue():
            self._relay.feed(Overdue(turn, seconds))
        for turn in self.judge.courtesy.due():
            self._relay.feed(Due(turn))

    def unused(self, now: float) -> Unused | None:
        """How long nobody used its server, if one runs that may be stopped for that."""
        after = stopped_after(self.server.grants.limits.idle, self.judge.labels.stateless)
        if not after or not self.pid or self._relay.needed:
            return None
        return Unused(self.id, now - self._used, after, self._house.vitals.memory.of(self.pid))

    def rest(self, reason: str) -> None:
        """Stop the server until it is needed again."""
        self._relay.restart_server(reason)

    def admit(self, allowed: bool, reason: str) -> None:
        """Somebody answered whether this client may use this server."""
        self.admitted, self._refused = allowed, not allowed
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
        self.judge.server_changed(server)
        self._launching.server_changed(server)

    def provisions_changed(self, reason: str) -> None:
        """Something the server was given at its start is not what it was."""
        self._relay.restart_server(reason)

    def walls_changed(self) -> None:
        """What this client or session is limited to is not what it was."""
        beyond = self._house.walls.current.beyond(self.client, self.session, self.server.name)
        if beyond is not None:
            self.end(beyond.reason)
        else:
            self._relay.feed(OffersChanged())

    def record_opening(self, fact: Fact) -> None:
        self._record(fact)

    @property
    def state(self) -> LinkState:
        if self.ended.done():
            return "ended"
        if not self.admitted:
            return "refused" if self._refused else "waiting for a yes"
        if self._drift:
            return "drift"
        if self._conversation.starting:
            return "starting"
        return "running" if self.pid else "ready"

    @property
    def calls(self) -> int:
        return self._relay.calls

    @property
    def queued(self) -> int:
        """Bytes for either side that it has not taken yet."""
        return self._relay.queued

    @property
    def trees(self) -> frozenset[str]:
        """What this link keeps in the store."""
        return trees_of(self._pin.artifact)

    @property
    def tier(self) -> str:
        return self._launching.instance.tier if self._launching.instance is not None else ""

    @property
    def limits(self) -> str:
        """Who keeps the limits of its server."""
        return self._launching.instance.kept_by if self._launching.instance is not None else ""

    @property
    def pid(self) -> int:
        instance = self._launching.instance
        return instance.pid if instance is not None and instance.alive else 0

    @property
    def origin(self) -> Origin:
        """Whose receipts these are."""
        return Origin(self.client, self.server.name, self.session, self.id, self._pin_digest, self.tier)

    # --- the world ---

    async def _launch(self) -> Running:
        return await self._launching.start(self.server)

    def _read(self, read: Read) -> None:
        labels = self.judge.labels_for(read.method, read.target)
        scope = self.judge.scope(read.method, read.target, read.arguments)
        if (crossed := self.judge.crossing(scope)) is not None:  # nobody asked for it, or it was asked for before
            raise PolicyError(f"refused by Bulkhead ({crossed.rule}): {crossed.reason}")
        self._house.ledgers.note(self.session, self.server.name, read.method, read.target, labels, read.text, scope)
        self._house.changed()

    def _drifted(self, changes: tuple[Change, ...], live: Catalog) -> None:
        self._drift = True
        self._house.drifted(self.server.name, changes, live)
        self._house.vitals.alarms.sound(
            "drift", self.server.name, f"{self.server.name} advertises other things than you agreed to"
        )
        self._house.changed()

    def _record(self, fact: Fact, turn: int = 0) -> None:
        self._take_down(fact, turn)
        self._house.audit.flush()

    def _take_down(self, fact: Fact, turn: int = 0) -> None:
        """A receipt that the next flush of the log writes."""
        origin = self._origin_of(fact, turn)
        if not self._house.refusals.counts(origin, fact):
            self._house.audit.take_down(origin, fact)
        if self._watched is not None:
            self._watched.heard(fact, origin.stories)
        self._vitals.heard(fact, turn)
        self._house.blocked.note(self.server.name, fact)

    async def _record_durably(self, fact: Fact, turn: int = 0) -> None:
        origin = self._origin_of(fact, turn)
        if not self._house.refusals.counts(origin, fact):
            await self._house.audit.append_durable(origin, fact)
        if self._watched is not None:
            self._watched.heard(fact, origin.stories)
        self._vitals.heard(fact, turn)

    def _origin_of(self, fact: Fact, turn: int) -> Origin:
        """Whose receipt it is, which requests it belongs to, and what is known of an answer: the labels of its call."""
        answers = fact.kind == "result" and fact.method and (fact.side == "server" or "kept" in (fact.body or ()))
        labels = "".join(sorted(self.judge.labels_for(fact.method, fact.target).flags)) if answers else ""
        stories = self._stories.of(fact, turn)
        self.judge.courtesy.heard(fact, turn)
        return Origin(
            self.client, self.server.name, self.session, self.id, self._pin_digest, self.tier, stories, labels
        )


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


def _now() -> str:
    """The time as a task says it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
