"""What all links of a home share: every owner of state, built once by the daemon.

A link gets its neighbours from here, as objects; no room looks for another one.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from broker.alarms.vitals import Vitals
from broker.audit.log import AuditLog
from broker.autonomy import AutonomyBook
from broker.blocked import BlockedBook
from broker.config import Bounds, Waits
from broker.consent import ConsentDesk
from broker.endpoints.proxy_book import ProxyBook
from broker.flow.store import LabelBook, LedgerStore
from broker.lessons import Lessons
from broker.manners.book import MannersBook, NoDocuments
from broker.model import Fact, Grants, NamedArtifact, Proof, ServerName
from broker.policy.around import Rates
from broker.policy.store import GrantBook, PolicyStore
from broker.policy.tokens import Tokens
from broker.policy.wall_book import WallBook
from broker.protocol.catalog import Catalog, Change
from broker.protocol.methods import METHODS
from broker.provisions import Provisions
from broker.refusals import Refusals
from broker.registry import Registry
from broker.sandbox.egress.leaving import Bodies
from broker.sandbox.process import Instance
from broker.telemetry.watching import Watching
from broker.trust.advisories import Advisories
from broker.trust.store import Store
from broker.vault.vault import Vault

Spawn: TypeAlias = Callable[
    [NamedArtifact, Grants, Mapping[str, str], Callable[[Fact], None], str, Proof, Bodies, str], Awaitable[Instance]
]
"""The last are whose state it gets, where each session has its own, what proves it, what judges what it sends by
itself, and which client signs in."""


@dataclass(frozen=True, slots=True)
class House:
    """Built once; nothing in it is ever replaced."""

    registry: Registry
    audit: AuditLog
    consent: ConsentDesk
    policy: PolicyStore
    grants: GrantBook
    walls: WallBook
    tokens: Tokens
    ledgers: LedgerStore
    labels: LabelBook
    store: Store
    advisories: Advisories
    spawn: Spawn
    waits: Waits
    drifted: Callable[[ServerName, tuple[Change, ...], Catalog], None]
    changed: Callable[[], None]
    owner: int
    lessons: Lessons
    vault: Vault
    provisions: Provisions
    key: bytes = field(repr=False)
    joined: set[str] = field(default_factory=set)
    """Ways between servers that a person agreed to since the daemon started."""
    blocked: BlockedBook = field(default_factory=BlockedBook)
    autonomy: AutonomyBook = field(default_factory=AutonomyBook)
    bounds: Bounds = field(default_factory=Bounds)
    manners: MannersBook = field(default_factory=lambda: MannersBook(NoDocuments()))
    proxies: ProxyBook = field(default_factory=ProxyBook)
    watching: Watching | None = None
    rates: Rates = field(default_factory=Rates)
    vitals: Vitals = field(default_factory=Vitals)
    refusals: Refusals = field(default_factory=lambda: Refusals(time.monotonic, is_method=METHODS.__contains__))
