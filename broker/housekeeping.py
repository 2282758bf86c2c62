"""Everything a running daemon consists of, in the order in which it comes up and goes down.

Up: keys, documents, policy, audit, sandbox tier, then the sockets.  Down: no new callers, links, questions, audit.
"""

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from broker import __version__
from broker.agreed import Agreed
from broker.alarms.book import Alarms
from broker.alarms.rules import AlertRules
from broker.alarms.vitals import Vitals
from broker.api.door import Door
from broker.api.http_door import HttpDoor
from broker.api.premises import Premises
from broker.api.presence import Presence
from broker.api.server import Handlers
from broker.api.sockets import listen
from broker.api.wire import FrontDesk
from broker.applications import Applications
from broker.audit.index import Index
from broker.audit.keys import AuditKeys
from broker.audit.log import AuditLog
from broker.audit.older import set_aside
from broker.audit.redact import Redactor
from broker.audit.retention import Retention
from broker.audit.words import secret_words
from broker.auth.grants import Grants as SignInGrants
from broker.clients.found import config_paths
from broker.clients.watch import ClientWatch
from broker.config import Paths, Waits
from broker.consent import ConsentDesk
from broker.drift import DriftBook
from broker.endpoints.proxy_book import ProxyBook
from broker.fleet import Fleet
from broker.flow.store import LabelBook, LedgerStore, shipped_labels
from broker.guest_book import GuestBook
from broker.house import House
from broker.installing import Box
from broker.lessons import Lessons
from broker.manners.book import MannersBook
from broker.model import Fact, Grants, Origin, VerifiedArtifact
from broker.news import News
from broker.notices import desktop, notify
from broker.pinning import Pinner
from broker.policy.store import DEFAULT, STRICTEST, GrantBook, PolicyStore
from broker.policy.tokens import Tokens
from broker.policy.wall_book import WallBook
from broker.provisions import Provisions
from broker.registry import Registry
from broker.remotes import Remotes
from broker.rollback import HeadFile
from broker.root_book import RootBook
from broker.rounds import issuer_words, pass_on, rounds
from broker.sandbox.delegation import find_groups
from broker.sandbox.egress.outside import real_outside
from broker.sandbox.launcher import Launcher
from broker.sandbox.process import Instance
from broker.sandbox.state import StateRooms
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import probe
from broker.sessions import Sessions
from broker.sign_ins import SignIns
from broker.starting import Starter
from broker.telemetry.numbers import resident
from broker.telemetry.scrape import Readings, Scrape
from broker.telemetry.setting import setting
from broker.telemetry.shipping import Shipping, collector
from broker.telemetry.watching import Watching
from broker.trust.advisories import Advisories
from broker.trust.store import Store
from broker.upkeep import Sources, Upkeep
from broker.vault.keychain import IntegrityKey, integrity_key, remember, remembered
from broker.vault.vault import Vault, passphrase_given

LOCAL_CLIENT = "local"  # what `bulkhead connect NAME` is without `--client`
LEDGER_SECONDS = 30 * 86400.0  # a run of a client that said nothing for so long is over
HEAD = "agreed.head"
REMEMBER_SECONDS = 5.0  # how long the keychain may be behind the file; it is slow, and the file is the first to know
_log = logging.getLogger(__name__)


async def keep_house(
    paths: Paths, presence: Presence, supervisor: Supervisor, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Run until `stop` is set.

    Raises:
        BulkheadError: something needed for safe work is missing; nothing was let in.
    """
    started = time.monotonic()
    key = await asyncio.to_thread(integrity_key, paths.state, paths.home)
    floor = await asyncio.to_thread(remembered, key, paths.home)
    vault = Vault(paths.state / "vault", paths.home)
    await asyncio.to_thread(vault.open, passphrase_given(os.environ))
    agreed = Agreed(paths.config, paths.state / "agreed", key.key, HeadFile(paths.state / HEAD, key.key, floor))
    registry = Registry(agreed, paths.config)
    redactor = Redactor()
    for name, value in registry.secrets().items():
        redactor.add(name, value)
    for server in registry.servers():
        for value in secret_words(server.argv):
            redactor.add(f"{server.name}/argument", value)
    provisions = Provisions(registry, vault, redactor)
    provisions.tell_redactor()
    policy = PolicyStore(agreed, default=STRICTEST if agreed.problem else DEFAULT)
    grants = GrantBook(agreed, time.time, lambda: secrets.token_hex(6))
    older = set_aside(paths.audit, key.key, paths.audit_witness)
    audit = AuditLog.open(paths.audit, AuditKeys(key.key), time.time, redactor, witness=paths.audit_witness)
    if older is not None and not audit.seq:
        audit.append(Origin(), older.fact)
        _log.warning("the receipts of before are of an older format; they stand in %s and still verify", older.folder)
    index = Index(paths.audit)
    consent = ConsentDesk(time.time, lambda: secrets.token_hex(4))
    store = Store(paths.store)
    advisories = Advisories(paths.advisories)
    waits = Waits()
    guests = GuestBook(paths.config)
    groups = await asyncio.to_thread(find_groups, (os.getpid(), supervisor.pid))
    launcher = Launcher(supervisor, await asyncio.to_thread(probe), waits, real_outside(guests.ports), groups)
    tier = await launcher.settle()
    lessons = Lessons(Path.home(), lambda: _protected(paths))
    drifts = DriftBook(registry)
    news = News()
    alarms = Alarms(AlertRules(agreed), news.tell)
    proxies = ProxyBook(agreed)
    sign_ins = SignIns(
        consent, audit.append_durable, redactor.add, news.tell, lambda: SignInGrants(vault.book), wait=waits.question,
        proxies=proxies,
        moved=lambda server, host: alarms.sound("issuer", server, issuer_words(server, host)),
    )  # fmt: skip
    if vault.standing.is_open:
        for name, value in SignInGrants(vault.book).secrets().items():
            redactor.add(name, value)
    starter = Starter(
        launcher, StateRooms(paths.server_state), Path.home(), lambda: _protected(paths), lessons,
        Remotes(sign_ins.attached, proxies),
    )  # fmt: skip

    async def spawn_to_pin(artifact: VerifiedArtifact, wanted: Grants, env: Mapping[str, str], client: str) -> Instance:
        origin = Origin(server=artifact.server, tier=tier.name)
        for value in secret_words(artifact.argv):
            redactor.add(f"{artifact.server}/argument", value)

        def record(fact: Fact) -> None:
            audit.append(origin, fact)

        body = {"argv": list(artifact.argv), "tree": artifact.tree, "hosts": list(wanted.hosts),
                "read": [str(path) for path in wanted.read], "write": [str(path) for path in wanted.write],
                "variables": sorted(env)}  # fmt: skip
        launch = Fact("launch", "broker", "pin", artifact.server, digest=artifact.tree, body=body, durable=True)
        await audit.append_durable(origin, launch)

        async def checked() -> VerifiedArtifact:
            return artifact

        return await starter.start(artifact, replace(wanted, listen=()), env, record, "", checked, client=client)

    gauges: dict[str, Callable[[], float]] = {
        "links": lambda: len(list(sessions.links())),
        "questions_open": lambda: len(consent.open()),
        "receipts": lambda: audit.seq,
        "receipts_not_on_disk": lambda: audit.seq - audit.synced_seq,
        "bytes_not_sent": lambda: sum(link.queued for link in sessions.links()),
        "memory_bytes": resident,
    }
    target = collector(os.environ)
    shipping = Shipping(target, paths.audit, paths.audit_shipped, lambda: audit.synced_seq) if target else None
    if shipping is not None:
        gauges["receipts_not_shipped"] = lambda: audit.seq - shipping.seq
    watching = Watching(setting(os.environ), gauges, __version__)
    readings = Readings(watching.numbers.prometheus, lambda: audit.failure)
    scrape = Scrape(watching.setting.port, readings)
    house = House(
        registry=registry,
        audit=audit,
        consent=consent,
        policy=policy,
        grants=grants,
        tokens=Tokens(secrets.token_bytes(32), time.time),
        walls=WallBook(agreed, lambda: secrets.token_hex(3)),
        ledgers=LedgerStore(paths.state / "ledgers", key.key, time.time),
        labels=LabelBook(shipped_labels()),
        store=store,
        advisories=advisories,
        spawn=starter.start,
        waits=waits,
        drifted=drifts.note,
        changed=news.tell,
        owner=os.getuid(),
        lessons=lessons,
        vault=vault,
        provisions=provisions,
        key=key.key,
        manners=MannersBook(agreed),
        proxies=proxies,
        watching=watching,
        vitals=Vitals(alarms),
    )
    await asyncio.to_thread(house.ledgers.prune, time.time() - LEDGER_SECONDS)
    sessions = Sessions(house, Applications(paths.state / "applications"))
    http = HttpDoor(guests, house, sessions)
    roots = RootBook(agreed, paths.data / "roots")
    fleet = Fleet(agreed, paths.data / "fleet", policy, audit, news.tell, dict(os.environ))
    upkeep = Upkeep(house, Sources(agreed), lambda name: list(sessions.links(name)), roots)
    registry.clients.put(LOCAL_CLIENT, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    redactor.add(f"client/{LOCAL_CLIENT}", registry.secrets()[f"client/{LOCAL_CLIENT}"])
    applications = ClientWatch(Path.home(), sys.platform, os.environ, paths.state / "imports")
    handlers = Handlers(
        Premises(
            house=house,
            sessions=sessions,
            pinner=Pinner(
                registry,
                store,
                advisories,
                spawn_to_pin,
                provisions,
                tools=lambda server: Box(server, launcher, audit.append),
                roots=roots.current,
            ),
            upkeep=upkeep,
            fleet=fleet,
            drifts=drifts,
            agreed=agreed,
            index=index,
            paths=paths,
            tier=tier,
            limits=groups.note,
            keychain=key.where,
            presence=presence,
            supervisor=supervisor.pid,
            started=started,
            stop=stop.set,
            news=news,
            http=http,
            sign_ins=sign_ins,
            clients=applications,
        )
    )
    door, desk = Door(sessions.open_link), FrontDesk(handlers.table(), handlers.gate, readings.answer)
    if not vault.standing.is_open:
        _log.warning("the vault stays closed: %s", vault.standing.problem)
    if agreed.problem:
        _log.warning("nothing counts as agreed: %s", agreed.problem)
        audit.append(Origin(), Fact("violation", "broker", "agreed", body={"problem": agreed.problem}))
    audit.append(Origin(tier=tier.name), Fact("daemon", "broker", "start", body={
        "version": __version__, "python": sys.version.split()[0], "keychain": key.where, "presence": presence,
        "tier": tier.reason, "limits": groups.note, "policy": policy.current.name,
    }))  # fmt: skip
    retention = Retention(agreed, paths.audit, audit, index.forget)
    works = (audit.run_sync(), sessions.tick(), _watch(consent, news), upkeep.run(), retention.run(), fleet.run(),
             _remember(agreed, key, paths.home), notify(consent, lambda: news.attended, show := desktop()),
             rounds(house.vitals, sessions, applications), pass_on(alarms, lambda: news.attended, show))  # fmt: skip
    background = [asyncio.create_task(work) for work in works]
    if shipping is not None:
        background.append(asyncio.create_task(shipping.run()))
    try:
        await desk.open(listen(paths.control_socket))
        door.open(listen(paths.connect_socket))
        http.hold()
        if watching.setting.port:
            await scrape.open()
        ready()
        _log.info("ready: tier %s, keychain %s, policy %s", tier.name, key.where, policy.current.name)
        await _until_stopped(stop, background)
    finally:
        _log.info("stopping")
        for path in (paths.connect_socket, paths.control_socket):
            path.unlink(missing_ok=True)
        upkeep.close()
        consent.close()
        await sessions.close()
        await http.close()
        await scrape.close()
        await starter.close()
        await sign_ins.close()
        await asyncio.to_thread(groups.close)
        await door.close()
        await desk.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if not audit.failure:
            audit.append(Origin(), Fact("daemon", "broker", "stop"))
        audit.close()
        await asyncio.to_thread(watching.close)
        index.close()
        vault.close()
        _log.info("stopped")


async def _remember(agreed: Agreed, key: IntegrityKey, home: Path) -> None:
    """Tell the keychain how far the agreed documents have come, so that an older set of files does not pass for it."""
    told = 0
    while key.where != "file":
        if agreed.seq > told:
            seq = agreed.seq
            if await asyncio.to_thread(remember, key, home, seq):
                told = seq
        await asyncio.sleep(REMEMBER_SECONDS)


async def _watch(consent: ConsentDesk, news: News) -> None:
    while True:
        with consent.subscribe() as watcher:
            async for _ in watcher:
                news.tell()
        if not watcher.dropped:
            return
        news.tell()  # more happened in one breath than it could hold: that is news, too


async def _until_stopped(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """Wait for the word to stop; a background task that fails ends the daemon, closed, with its reason."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiting, background[0], background[1]}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done:
        if task is not waiting:
            task.result()


def _protected(paths: Paths) -> list[Path]:
    """What no server may ever be granted: our own folders and every client's configuration."""
    ours = [paths.home, paths.config, paths.data, paths.state, paths.runtime]
    return ours + config_paths(Path.home(), sys.platform, {})
