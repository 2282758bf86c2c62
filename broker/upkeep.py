"""What changes in the world after a yes: every pinned closure is checked again each day, and whenever advisories come.

Only the database on this machine is asked.  Malware ends the links of its server; a vulnerability nobody has agreed to
is put on record and opens a question.
"""

import asyncio
import logging
import os
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import tomli_w

from broker.agreed import Agreed
from broker.errors import BulkheadError, ConfigError
from broker.flaws import keep_running, unaccepted
from broker.house import House
from broker.model import Fact, Origin, ServerName
from broker.pin import Pin
from broker.root_book import RootBook
from broker.trust.advisories import Hit
from broker.trust.advisory_refresh import Refreshed, refresh

DAY: Final = 86400.0
LOOK_SECONDS: Final = 900.0  # how often the clock is looked at; a laptop that slept is late by no more
ASKING: Final = 2 * DAY  # seconds; the next look asks again before it is over
SOURCES: Final = "advisories.toml"
MAX_SOURCES: Final = 8
MAX_RECORDED: Final = 64  # advisories of one server in one receipt
_AGAIN: Final = "name the sources anew with: bulkhead advisories use URL"
_log = logging.getLogger(__name__)


class Sources:
    """Where advisories are fetched from each day: a document a person agreed to.  None unless a person named some."""

    def __init__(self, agreed: Agreed) -> None:
        self._agreed = agreed

    def all(self) -> tuple[str, ...]:
        """The addresses.

        Raises:
            ConfigError: the document cannot be read.
        """
        data = self._agreed.load(SOURCES)
        try:
            named = tomllib.loads(data.decode())["sources"] if data is not None else []
        except (ValueError, KeyError, RecursionError) as cause:
            raise ConfigError(f"{SOURCES} does not say where advisories come from", hint=_AGAIN) from cause
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named) or len(named) > MAX_SOURCES:
            raise ConfigError(f"{SOURCES} does not say where advisories come from", hint=_AGAIN)
        return tuple(named)

    def use(self, sources: Sequence[str]) -> None:
        self._agreed.write(SOURCES, tomli_w.dumps({"sources": list(sources)}).encode())


class Ended(Protocol):
    """A link, as far as it can be ended."""

    def end(self, reason: str) -> None: ...


class Upkeep:
    """The daily look at advisories, and at the root of trust where a person fetched it once."""

    def __init__(self, house: House, sources: Sources, links: Callable[[str], list[Ended]], roots: RootBook) -> None:
        self.sources = sources
        self.roots = roots
        self._house = house
        self._links = links
        self._asking: dict[ServerName, tuple[tuple[Hit, ...], asyncio.Task[None]]] = {}
        self._known: dict[ServerName, tuple[tuple[object, ...], tuple[Hit, ...]]] = {}
        self._told: set[tuple[str, str]] = set()
        self._looked = float("-inf")

    async def run(self) -> None:
        """Look at once, then each day by the wall clock."""
        while True:
            now = time.time()
            if not 0 <= now - self._looked < DAY:
                self._looked = now
                await self._refresh_all()
                await self._refresh_roots()
                await self.check_all()
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self, source: str, environment: Mapping[str, str]) -> Refreshed:
        """Take in what `source` holds, and look at every pin with it.

        Raises:
            TrustError: it cannot be had; the old advisories stay.
        """
        done = await refresh(self._house.advisories, source, environment)
        await self.check_all()
        return done

    async def check_all(self) -> dict[str, tuple[Hit, ...]]:
        """Every pinned closure against the database: ends the links of malware, records and asks about what is new."""
        found: dict[str, tuple[Hit, ...]] = {}
        for server in self._house.registry.servers():
            try:
                pin = self._house.registry.pin(server.name)
                check = self._house.advisories.check
                hits = await asyncio.to_thread(check, pin.artifact) if pin is not None else ()
            except BulkheadError as problem:
                _log.warning("%s could not be checked for advisories: %s", server.name, problem)
                continue
            if pin is not None and server.enabled:
                self._ask(pin, () if hits and hits[0].malware else unaccepted(pin, hits))
            if not hits:
                continue
            found[server.name] = hits
            self._record(server.name, hits)
            if (worst := hits[0]).malware:
                for link in self._links(server.name):
                    link.end(f"{server.name} was stopped: {worst}")
        self._house.changed()
        return found

    def known(self, server: ServerName) -> tuple[Hit, ...]:
        """What the database says of a pin, malware first; nothing where it cannot be read, which `verify` tells."""
        try:
            pin = self._house.registry.pin(server)
            if pin is None:
                return ()
            key = (pin.artifact.name, pin.artifact.version, pin.artifact.tree, self._house.advisories.stamp)
            if self._known.get(server, ((), ()))[0] != key:
                self._known[server] = key, self._house.advisories.check(pin.artifact)
            return self._known[server][1]
        except BulkheadError:
            return ()

    def close(self) -> None:
        """Nobody is asked any more."""
        for _, asking in self._asking.values():
            asking.cancel()

    def _ask(self, pin: Pin, hits: tuple[Hit, ...]) -> None:
        """One question a server; another set of advisories is another question."""
        asked, asking = self._asking.get(pin.server, ((), None))
        if asking is not None and asked == hits and not asking.done():
            return
        if asking is not None:
            asking.cancel()
        self._asking.pop(pin.server, None)
        if hits and self._house.policy.current.holds:
            self._asking[pin.server] = hits, asyncio.create_task(self._asked(pin, hits))

    async def _asked(self, pin: Pin, hits: tuple[Hit, ...]) -> None:
        await keep_running(self._house, pin, hits, ASKING)
        registry = self._house.registry
        if registry.has_server(pin.server) and not registry.server(pin.server).enabled:
            for link in self._links(pin.server):
                link.end(f"{pin.server} was switched off: {hits[0]}")

    def _record(self, server: str, hits: tuple[Hit, ...]) -> None:
        fresh = [hit for hit in hits if (server, hit.id) not in self._told][:MAX_RECORDED]
        self._told |= {(server, hit.id) for hit in fresh}
        if fresh:
            if fresh[0].malware:
                self._house.vitals.alarms.sound(
                    "malware", server, f"what {server} runs is known as malware: {fresh[0].id}"
                )
            body = {"advisories": [str(hit) for hit in fresh], "malware": fresh[0].malware}
            self._house.audit.append(Origin(server=server), Fact("violation", "broker", "advisory", server, body=body))

    async def _refresh_roots(self) -> None:
        """Once a day, from where a person fetched it first."""
        try:
            known = self.roots.fetched()
            if known is not None and known.taken != datetime.now(UTC).date():
                await self.roots.refresh(known.source, os.environ)
        except BulkheadError as problem:
            _log.warning("the root of trust was not refreshed: %s", problem)

    async def _refresh_all(self) -> None:
        try:
            sources = self.sources.all()
        except BulkheadError as problem:
            _log.warning("the sources of advisories cannot be read: %s", problem)
            return
        for source in sources:
            try:
                await refresh(self._house.advisories, source, os.environ)
            except BulkheadError as problem:
                _log.warning("advisories were not refreshed: %s", problem)
