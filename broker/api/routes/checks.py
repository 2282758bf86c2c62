"""The store and the world at the desk: verify, advisories, what servers consist of, what the store can drop."""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from broker import __version__
from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.errors import BulkheadError, DeskError
from broker.files import sha256_hex
from broker.model import Origin
from broker.pin import Pin
from broker.trust.advisories import OLD_DAYS
from broker.trust.garbage import trees_of
from broker.trust.newer import newer_version
from broker.trust.proofs import proof
from broker.trust.sbom import cyclonedx
from broker.trust.spoken import about_evidence, age_sentence

_DAY: Final = 86400.0


class Checks:
    """Whether what was agreed to is still what is there, and still what one would want."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.VERIFY.method: self._verify,
            schema.ROOTS_REFRESH.method: self._roots,
            schema.ADVISORIES.method: self._advisories,
            schema.ADVISORIES_REFRESH.method: self._refresh,
            schema.ADVISORIES_USE.method: self._use,
            schema.STORE_GC.method: self._collect,
        }

    async def _verify(self, caller: Caller, params: schema.Verify) -> schema.Checks:
        registry = self._at.house.registry
        checks, pins = [], []
        for name in params.names or [server.name for server in registry.servers()]:
            try:
                pin = registry.pin(name)
                if pin is None:
                    raise DeskError(f"{name} is not pinned", hint="bulkhead servers", code="unknown")
            except BulkheadError as problem:
                checks.append(schema.Check(name=name, problem=str(problem)))
                continue
            pins.append(pin)
            checks.append(await self._check(caller, pin, params))
        holdings = await self._holdings()
        roots = age_sentence(self._roots_days())
        return schema.Checks(checks=checks, advisories=holdings, roots=roots, sbom=_sbom(pins) if params.sbom else "")

    async def _check(self, caller: Caller, pin: Pin, params: schema.Verify) -> schema.Check:
        house = self._at.house
        caller.progress(f"hashing {pin.server}")
        try:
            await house.store.verified(pin, whole=True)
            hits = await asyncio.to_thread(house.advisories.check, pin.artifact)
            if pin.artifact.basis and pin.artifact.basis.evidence:
                await asyncio.to_thread(proof, house.store.root, pin.artifact.basis.evidence)
        except BulkheadError as problem:
            return schema.Check(name=pin.server, problem=str(problem))
        newer, note = ("", "") if params.offline else await self._newer(caller, pin, params.environment)
        return schema.Check(
            name=pin.server,
            malware=[str(hit) for hit in hits if hit.malware],
            vulnerabilities=[str(hit) for hit in hits if not hit.malware],
            newer=newer,
            note=note,
            evidence=about_evidence(pin.artifact),
            roots_days=self._roots_days(),
        )

    async def _newer(self, caller: Caller, pin: Pin, environment: Mapping[str, str]) -> tuple[str, str]:
        """The version a floating line means today, or why that could not be asked."""
        if not pin.launch.floating:
            return "", ""
        caller.progress(f"asking whether {pin.artifact.name} has a newer version")
        store = self._at.house.store
        try:
            run = self._at.pinner.run_for(pin.server)
            return await newer_version(pin.launch, pin.artifact, store=store, environment=environment, run=run), ""
        except BulkheadError as problem:
            return "", f"whether there is a newer version could not be asked: {problem}"

    def _roots_days(self) -> int:
        return self._at.upkeep.roots.current().basis(time.time()).age_days

    async def _roots(self, caller: Caller, params: schema.RootsRefresh) -> schema.RootsRefreshed:
        caller.progress("fetching the root of trust")
        await self._at.did("policy", "roots.refresh", params.source, Origin(), {})
        found = await self._at.upkeep.roots.refresh(params.source, params.environment)
        sentence = age_sentence(self._roots_days())
        return schema.RootsRefreshed(sentence=sentence, sha256=sha256_hex(found.root.encode()))

    # --- advisories ---

    async def _advisories(self, _caller: Caller, _params: schema.Nothing) -> schema.AdvisoryStatus:
        held = await asyncio.to_thread(self._at.house.advisories.holdings)
        sources = list(self._at.upkeep.sources.all())
        if held is None:
            return schema.AdvisoryStatus(sentence=await self._holdings(), sources=sources)
        return schema.AdvisoryStatus(
            sentence=await self._holdings(),
            records=held.records,
            malware=held.malware,
            fetched=held.fetched,
            newest=held.newest,
            sources=sources,
        )

    async def _refresh(self, caller: Caller, params: schema.AdvisoryRefresh) -> schema.AdvisoryRefreshed:
        sources = [params.source] if params.source else list(self._at.upkeep.sources.all())
        if not sources:
            hint = "bulkhead advisories refresh --from FILE|URL"
            raise DeskError("no source of advisories is configured", hint=hint, code="unknown")
        taken = unreadable = 0
        for source in sources:
            caller.progress(f"reading advisories from {source}")
            done = await self._at.upkeep.refresh(source, params.environment)
            taken, unreadable = taken + done.taken, unreadable + done.unreadable
        await self._at.did("policy", "advisories.refresh", ", ".join(sources), Origin(), {"taken": taken})
        return schema.AdvisoryRefreshed(taken=taken, unreadable=unreadable, sentence=await self._holdings())

    async def _use(self, _caller: Caller, params: schema.AdvisoryUse) -> schema.Nothing:
        self._at.upkeep.sources.use(params.sources)
        await self._at.did("policy", "advisories.use", ", ".join(params.sources), Origin())
        return schema.Nothing()

    async def _holdings(self) -> str:
        """What is known and since when, in one sentence."""
        house = self._at.house
        try:
            held = await asyncio.to_thread(house.advisories.holdings)
        except BulkheadError as problem:
            return str(problem)
        if held is None:
            return "no advisories are on this machine, so nothing is known about malware or vulnerabilities"
        fetched = datetime.fromtimestamp(held.fetched, UTC)
        age = (datetime.now(UTC) - fetched).total_seconds() / _DAY
        old = f", {int(age)} days ago: refresh them" if age > OLD_DAYS else ""
        return (
            f"{held.records} advisories, {held.malware} of them on malware, "
            f"fetched {fetched.date().isoformat()}{old}, the newest of {held.newest[:10]}"
        )

    # --- the store ---

    async def _collect(self, _caller: Caller, params: schema.StoreGc) -> schema.Collected:
        house = self._at.house
        pins = filter(None, (house.registry.pin(server.name) for server in house.registry.servers()))
        keep = frozenset(tree for pin in pins for tree in trees_of(pin.artifact))
        keep |= self._at.pinner.trees | self._at.sessions.trees()
        found = await asyncio.to_thread(house.store.collect, keep, dry_run=params.dry_run)
        if found.trees and not params.dry_run:
            await self._at.did("daemon", "store.gc", "", Origin(), {"trees": list(found.trees)})
        return schema.Collected(trees=list(found.trees), byte_count=found.byte_count, spared=found.spared)


def _sbom(pins: list[Pin]) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps(cyclonedx(pins, serial=str(uuid.uuid4()), timestamp=now, version=__version__), indent=1)
