"""The one way out of a sandbox: rule, lookup, address, receipt, and only then a connection.

The address that is dialled is the one that was checked; no name is resolved twice for one connection.  An address that
the server dials itself is taken only if it learnt it here, for a name that a rule covers at that port.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final, Protocol

from broker.errors import SandboxError
from broker.model import Fact, Limits, ServerName
from broker.sandbox.addresses import LOOPBACK, OWN_NETWORKS, is_public, lies_in, never, normal
from broker.sandbox.egress.authority import system_trust
from broker.sandbox.egress.leaving import Bodies, Outgoing, check_leaving
from broker.sandbox.egress.receipts import Asked, Denied, Receipts, not_granted
from broker.sandbox.egress.wire import Budget, Carried, Stream
from broker.sandbox.hosts import LAN, HostRule, HostRules, narrowest, parse_rule
from broker.sandbox.inspection import NAMED
from broker.sandbox.limits import refusal

LOOKUPS_AT_ONCE: Final = 4
LOOKUP_LIMIT: Final = 10.0  # seconds; the C library's own patience with two servers
KNOWN_ADDRESSES: Final = 4096
REMEMBERED: Final = 30.0  # seconds; as long as an answer to the server lives
MAX_REMEMBERED: Final = 1024
USED_ADDRESSES: Final = 8
CHOSEN: Final = ("suffix", "public")  # rules under which the server itself chooses the name, and can say much by it


@dataclass(frozen=True, slots=True)
class Outside:
    """The network as the daemon reaches it.

    `resolve` gives the IPv4 addresses of a name (a final dot: look nowhere but in the public tree) and raises OSError;
    `dial` raises OSError, in bounded time.  `is_own` says whether an address is this machine's.  `trust` makes the way
    to check a host's certificate where connections are looked into.
    """

    resolve: Callable[[str], Awaitable[tuple[str, ...]]]
    dial: Callable[[str, int], Awaitable[Stream]]
    is_own: Callable[[str], bool]
    own_ports: Container[int] = frozenset()
    trust: Callable[[], ssl.SSLContext] = system_trust


class Inspects(Protocol):
    """Looks into connections: serves one request to a host that was judged, in the place of a line to it."""

    async def serve(
        self, way: "Way", client: Stream, asked: Asked, rule: HostRule, addresses: tuple[str, ...], opening: Any, /
    ) -> None: ...


class Unreachable(Exception):
    """It is allowed, and the network does not lead there.  `str` says so."""


@dataclass(slots=True)
class Line:
    """An open connection to the outside."""

    stream: Stream
    carried: Carried


class Way:
    """What all doors of one sandbox share."""

    def __init__(
        self,
        server: ServerName,
        rules: HostRules,
        outside: Outside,
        record: Callable[[Fact], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        tool: bool = False,
        limits: Limits | None = None,
        inspector: Inspects | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        """`tool`: it is no server but gets packages, so nobody grants it hosts.  `bodies` judges what leaves."""
        self._bodies = bodies
        self.rules = rules
        self.inspector = inspector
        self.limits = limits or Limits()
        self.server = server
        self._budget = Budget(self.limits.bytes_out, self._spent)
        self.receipts = Receipts(server, record, clock, tool=tool)
        self._outside = outside
        self._clock = clock
        self._told: dict[str, dict[str, None]] = {}  # address -> the names it was given out for
        self._found: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._looking = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    # --- may it be reached ---

    def judge(self, host: str, port: int) -> tuple[str, HostRule]:
        """The host in its one spelling, and the rule that covers it.

        Raises:
            Denied: there is none.
        """
        try:
            name = normal(host)
        except ValueError as cause:
            raise Denied(f"the host cannot be reached: {cause}") from cause
        if name == "localhost":
            name = "127.0.0.1"
        rule = self.rules.rule_for(name, port)
        if rule is None:
            raise not_granted(name, port)
        if self._budget.used >= self._budget.limit:
            raise self._too_much()
        return name, rule

    def looks_into(self, name: str, port: int) -> bool:
        """Whether connections to this host are inspected: where there is no name, no certificate could be checked."""
        rule = self.rules.rule_for(name, port)
        return self.inspector is not None and rule is not None and rule.kind in NAMED

    async def addresses(self, name: str, rule: HostRule, port: int) -> tuple[str, ...]:
        """Where `name` may be dialled.

        Raises:
            Denied: nowhere.
            Unreachable: it cannot be looked up.
        """
        if rule.kind == "address":
            return (name,)
        if rule.kind in CHOSEN:
            await check_leaving(self._bodies, Outgoing(name, "a lookup", f"//{name}"))
        found = await self._look_up(name if rule.kind in ("lan", "registry") else f"{name}.")
        refusals = {address: self._refusal(IPv4Address(address), rule, port) for address in found}
        good = tuple(address for address, refusal in refusals.items() if not refusal)
        if not found:
            raise Unreachable(f"{name} has no IPv4 address")
        if not good:
            raise Denied(f"{name} leads to an address that {refusals[found[0]]}", grant=_near(name, rule, port, found))
        return good[:USED_ADDRESSES]

    async def check_plain(self, name: str, method: str, target: str) -> None:
        """A request of plain HTTP, which nobody has to look into.  Raises Denied: it must not leave."""
        await check_leaving(self._bodies, Outgoing(name, method, f"//{name}{target}"))

    def names_told(self, address: str, port: int) -> set[str]:
        """The names that `address` was given out for, and that may be reached at `port`.

        Raises:
            Denied: there is none.
        """
        told = self._told.get(address, {})
        names = {name for name in told if self.rules.rule_for(name, port) is not None}
        if names:
            return names
        if told:
            raise not_granted(next(reversed(told)), port)
        raise Denied(
            f"{address} is no address that the server learnt for a host it was granted",
            grant=narrowest(address, port),
        )

    async def tell(self, name: str) -> tuple[str, ...]:
        """The addresses of a name, for the server to dial; they are remembered as told.

        Raises:
            Denied: no rule covers the name, or all of its addresses are refused.
            Unreachable: it cannot be looked up.
        """
        rules = [rule for rule in self.rules.rules if rule.names(name)]
        if not rules:
            raise Denied(f"no grant covers {name}", grant=narrowest(name, 443))
        refused: Denied | None = None
        good: dict[str, None] = {}
        for rule in rules:
            try:
                good |= dict.fromkeys(await self.addresses(name, rule, rule.ports[0]))
            except Denied as cause:
                refused = cause
        if refused is not None and not good:
            raise refused
        for address in good:
            names = self._told.pop(address, {})
            self._told[address] = {**{n: None for n in names if n != name}, name: None}
            while len(self._told) > KNOWN_ADDRESSES:
                del self._told[next(iter(self._told))]
        return tuple(good)

    # --- reach it ---

    @contextlib.asynccontextmanager
    async def line(self, asked: Asked, rule: HostRule, addresses: tuple[str, ...]) -> AsyncIterator[Line]:
        """A connection to the first of `addresses` that takes one, recorded before and after.

        Raises:
            Denied: one of them may not be dialled.
            Unreachable: none does.
        """
        begun = self._clock()
        for address in addresses:
            if refusal := self._refusal(IPv4Address(address), rule, asked.port):
                raise Denied(f"{address} {refusal}")
            self.receipts.opened(asked, rule, address)
            carried = Carried(self._budget)
            try:
                try:
                    stream = await self._outside.dial(address, asked.port)
                except OSError:  # the next one may answer; the receipt shows how this ended
                    continue
                try:
                    yield Line(stream, carried)
                except BaseException:
                    stream.abort()
                    raise
                await stream.close()
                return
            finally:
                self.receipts.closed(asked, address, carried, self._clock() - begun)
        raise Unreachable(f"{asked.host} does not answer at port {asked.port}")

    def _spent(self) -> None:
        self.receipts.denied(Asked("direct", "any host"), self._too_much())

    def _too_much(self) -> Denied:
        return Denied(refusal(self.server, self.limits, "bytes-out"))

    async def _look_up(self, name: str) -> tuple[str, ...]:
        now = self._clock()
        known = self._found.get(name)
        if known is not None and now - known[0] < REMEMBERED:
            return known[1]
        try:
            async with asyncio.timeout(LOOKUP_LIMIT):
                await self._looking.acquire()
                looking = asyncio.ensure_future(self._outside.resolve(name))
                looking.add_done_callback(self._looked)  # not before: a thread that is given up on is still busy
                found = await asyncio.shield(looking)
        except OSError as cause:
            raise Unreachable(f"{name.removesuffix('.')} cannot be found by name") from cause
        self._found.pop(name, None)
        while len(self._found) >= MAX_REMEMBERED:
            del self._found[next(iter(self._found))]
        self._found[name] = (now, found)
        return found

    def _looked(self, done: "asyncio.Future[tuple[str, ...]]") -> None:
        self._looking.release()
        if not done.cancelled():
            done.exception()  # whoever still waits gets it too

    def _refusal(self, address: IPv4Address, rule: HostRule, port: int) -> str:
        """What speaks against dialling `address` under `rule`; empty if nothing does."""
        if reason := never(address, port):
            return reason
        own = lies_in(address, (LOOPBACK,)) or self._outside.is_own(str(address))
        if own and port in self._outside.own_ports:
            return "is Bulkhead's own at that port"
        if rule.kind == "address":
            return "" if str(address) == rule.host else "was not granted"
        if rule.kind == "registry":  # whoever configured the tool may keep packages on this very machine
            return ""
        if own:
            return "is this machine's"
        if is_public(address) or (rule.kind == "lan" and lies_in(address, OWN_NETWORKS)):
            return ""
        return "is not of the public network"


def _near(name: str, rule: HostRule, port: int, found: tuple[str, ...]) -> HostRule | None:
    """The grant for a name that leads into the user's own network."""
    near = any(lies_in(IPv4Address(address), OWN_NETWORKS) for address in found)
    try:
        return parse_rule(f"{LAN}{name}:{port}") if near and rule.kind != "lan" else None
    except SandboxError:
        return None
