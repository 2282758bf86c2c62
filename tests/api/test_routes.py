"""What the desk shows and does, on a whole house: loosening needs a person and a receipt, tightening needs neither."""

import asyncio
import contextlib
import json
import os
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import pytest
import tomli_w

from broker.api import schema
from broker.api.http_door import HttpDoor
from broker.api.premises import Premises
from broker.api.presence import Presence
from broker.api.server import Handlers
from broker.api.wire import Caller
from broker.audit.index import Index
from broker.auth.grants import Grants
from broker.clients.watch import ClientWatch
from broker.errors import AuditError, BulkheadError, ConfigError, DeskError, PolicyError
from broker.fleet import Fleet
from broker.guest_book import GuestBook
from broker.model import Peer, ServerName
from broker.pinning import Pinner
from broker.policy.store import shipped
from broker.processes import process
from broker.protocol.catalog import Catalog, Change
from broker.root_book import RootBook
from broker.sandbox.tiers import Tier
from broker.sign_ins import SignIns
from broker.upkeep import Sources, Upkeep
from tests.house import ME, Rooms, housed, pin_server
from tests.protocol.stage import CATALOG, INITIALIZE, INITIALIZED, LEGACY, READ, call
from tests.waiting import WITHIN, until

LOOSEN: Final = [route for route in schema.ROUTES.values() if route.access == "loosen"]
OTHERS: Final = [route for route in schema.ROUTES.values() if route.access != "loosen"]
ADDED: Final = (Change("added", "tool", "erase"),)
WILD: Final = Catalog({"legacy/full": replace(LEGACY, tools=(*LEGACY.tools, {**READ, "name": "erase"}))})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Bell:
    """News that come when the test says so."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    def watching(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def wait(self, seconds: float) -> None:
        await self.rung.wait()
        self.rung.clear()


class Ear(Caller):
    """A caller that keeps what it is told."""

    def __init__(self) -> None:
        self.peer = ME
        self.heard: list[schema.Words] = []

    def event(self, words: schema.Words) -> None:
        self.heard.append(words)


@dataclass
class Office:
    """The handlers of a whole house."""

    rooms: Rooms
    handlers: Handlers
    bell: Bell
    stopped: list[bool]

    async def ask(self, route: schema.Route, caller: Caller | None = None, **params: Any) -> Any:
        handler = self.handlers.table()[route.method]
        async with asyncio.timeout(WITHIN):
            return await handler(caller or Ear(), route.params(**params))

    def receipts(self, kind: str) -> list[tuple[str, str]]:
        found = [entry for entry in self.rooms.receipts() if entry["kind"] == kind]
        return [(entry.get("method") or "", entry.get("target") or "") for entry in found]


@asynccontextmanager
async def office(folder: Path, presence: Presence = "unsafe-no-presence", **options: Any) -> AsyncIterator[Office]:
    async with housed(folder, **options) as rooms:
        bell, stopped = Bell(), list[bool]()
        index = Index(rooms.paths.audit)
        premises = Premises(
            house=rooms.house,
            sessions=rooms.sessions,
            pinner=cast(Pinner, None),
            upkeep=Upkeep(
                rooms.house,
                Sources(rooms.agreed),
                lambda name: list(rooms.sessions.links(name)),
                RootBook(rooms.agreed, folder / "roots"),
            ),
            fleet=Fleet(
                rooms.agreed, folder / "fleet", rooms.house.policy, rooms.house.audit, bell.rung.set, dict(os.environ)
            ),
            drifts=rooms.drifts,
            agreed=rooms.agreed,
            index=index,
            paths=rooms.paths,
            tier=Tier("none", "no sandbox was looked for", "run a real daemon"),
            limits="nobody keeps any",
            keychain="file",
            presence=presence,
            supervisor=0,
            started=time.monotonic(),
            stop=lambda: stopped.append(True),
            news=bell,
            http=HttpDoor(GuestBook(rooms.paths.config), rooms.house, rooms.sessions),
            sign_ins=SignIns(
                rooms.house.consent,
                rooms.house.audit.append_durable,
                rooms.house.audit.redactor.add,
                bell.rung.set,
                lambda: Grants(rooms.house.vault.book),
                wait=60.0,
                browse=lambda _url: False,
            ),
            clients=ClientWatch(folder / "nobody", "linux", {}, folder / "imports"),
        )
        try:
            yield Office(rooms, Handlers(premises), bell, stopped)
        finally:
            index.close()


def edit(at: Office, name: str, old: str, new: str) -> None:
    path = at.rooms.paths.config / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def review(at: Office) -> list[schema.ReviewItem]:
    found: schema.Review = await at.ask(schema.REVIEW)
    return found.items


# --- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [pytest.param(route, id=route.method) for route in LOOSEN])
async def test_whatever_loosens_is_refused_to_a_clients_child_and_that_is_on_record(
    tmp_path: Path, route: schema.Route
) -> None:
    async with office(tmp_path, "required") as at:
        peer = replace(ME, root_pid=os.getppid())
        at.rooms.sessions._applications.add({(os.getpid(), _started())})
        with pytest.raises(DeskError, match="only a person may do this") as refused:
            at.handlers.gate(peer, route)
        assert refused.value.code == "presence"
        assert at.receipts("violation") == [("presence", route.method)]


@pytest.mark.parametrize("route", [pytest.param(route, id=route.method) for route in OTHERS])
async def test_looking_and_tightening_need_no_person(tmp_path: Path, route: schema.Route) -> None:
    async with office(tmp_path, "required") as at:
        at.rooms.sessions._applications.add({(os.getpid(), _started())})
        at.handlers.gate(ME, route)
        at.rooms.house.audit._failure = "the disk is full"
        at.handlers.gate(ME, route)


@pytest.mark.parametrize("route", [pytest.param(route, id=route.method) for route in LOOSEN])
@pytest.mark.parametrize("presence", ["required", "unsafe-no-presence", "throw-away home"])
async def test_nothing_is_loosened_while_nothing_can_be_recorded(
    tmp_path: Path, route: schema.Route, presence: Presence
) -> None:
    async with office(tmp_path, presence) as at:
        at.rooms.house.audit._failure = "the disk is full"
        with pytest.raises(DeskError, match="nothing is loosened while nothing can be recorded: the disk is full"):
            at.handlers.gate(ME, route)


@pytest.mark.parametrize("route", [pytest.param(route, id=route.method) for route in schema.ROUTES.values()])
async def test_another_user_gets_nothing_at_all(tmp_path: Path, route: schema.Route) -> None:
    async with office(tmp_path) as at:
        with pytest.raises(DeskError, match="this desk belongs to another user"):
            at.handlers.gate(replace(ME, uid=ME.uid + 1), route)


async def test_a_caller_that_is_gone_is_no_person_in_any_home(tmp_path: Path) -> None:
    gone = Peer(pid=2**22 + 1, uid=os.getuid(), gid=os.getgid())
    homes: tuple[Presence, ...] = ("required", "unsafe-no-presence", "throw-away home")
    for presence in homes:
        async with office(tmp_path / presence.replace(" ", "-"), presence) as at:
            with pytest.raises(DeskError, match="only a person may do this"):
                at.handlers.gate(gone, schema.APPROVE)


def _started() -> int:
    me = process(os.getpid())
    assert me is not None
    return me.started


# --- questions ------------------------------------------------------------------------------------------------------


async def test_a_question_is_shown_whole_and_answered_by_the_digest_that_was_shown(tmp_path: Path) -> None:
    async with office(tmp_path, policy=None) as at:
        _, far = at.rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await until(lambda: at.rooms.house.consent.open())
        (view,) = (await at.ask(schema.PENDING)).questions
        assert (view.kind, view.client, view.server) == ("connection", "desk", "notes")
        assert view.deadline > view.asked
        with pytest.raises(DeskError) as refused:
            await at.ask(schema.APPROVE, id=view.id, digest="0" * 64, allow=True)
        assert refused.value.code == "replaced"
        with pytest.raises(DeskError) as refused:
            await at.ask(schema.APPROVE, id="q999", digest=view.digest, allow=True)
        assert refused.value.code == "unknown"
        with pytest.raises(DeskError, match="this route says yes"):
            await at.ask(schema.APPROVE, id=view.id, digest=view.digest, allow=False)
        assert at.rooms.house.consent.open()
        await at.ask(schema.APPROVE, id=view.id, digest=view.digest, allow=True, lifetime="session")
        assert (await far.hear())["id"] == "open"
        (grant,) = (await at.ask(schema.GRANTS)).grants
        assert (grant.kind, grant.lifetime, grant.client, grant.server) == ("connection", "session", "desk", "notes")
        far.close()


async def test_deny_says_no_whatever_it_is_given(tmp_path: Path) -> None:
    async with office(tmp_path, policy=None) as at:
        _, far = at.rooms.enter()
        await until(lambda: at.rooms.house.consent.open())
        (view,) = (await at.ask(schema.PENDING)).questions
        await at.ask(schema.DENY, id=view.id, digest=view.digest, allow=True, lifetime="always")
        await until(lambda: not at.rooms.sessions.links()[0].admitted)
        assert at.rooms.house.grants.all() == ()
        far.close()


# --- servers --------------------------------------------------------------------------------------------------------


async def test_a_server_is_shown_with_its_pin_its_tools_and_what_drifted(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        at.rooms.drifts.note(ServerName("notes"), ADDED, WILD)
        (view,) = (await at.ask(schema.SERVERS)).servers
        assert (view.name, view.state, view.enabled) == ("notes", "drift", True)
        assert {tool.name: tool.state for tool in view.tools} == {"write": "agreed", "read": "agreed", "erase": "added"}
        assert view.changes == ["tool erase added"]
        assert len(view.tree) == 64


async def test_the_agreed_definitions_of_a_server_are_given_out_whole(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        found = await at.ask(schema.DEFINITIONS, name="notes")
        assert found.tools == list(LEGACY.tools)
        assert found.others == {}
        with pytest.raises(ConfigError, match="nowhere"):
            await at.ask(schema.DEFINITIONS, name="nowhere")


async def test_switching_off_ends_links_at_once_and_on_is_recorded_before_it_counts(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        visit, far = at.rooms.enter()
        await at.ask(schema.DISABLE, name="notes")
        assert await visit.ended == "notes was switched off"
        with pytest.raises(ConfigError, match="switched off"):
            at.rooms.enter()
        await at.ask(schema.ENABLE, name="notes")
        assert at.rooms.registry.server("notes").enabled
        assert at.receipts("policy") == [("disable", "notes"), ("enable", "notes")]
        far.close()


async def test_a_tool_switched_off_is_refused_on_the_links_there_are(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        _, far = at.rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await far.hear()
        await at.ask(schema.DISABLE, name="notes/write")
        await far.say(call(1))
        assert "you switched this tool off" in json.dumps(await far.hear())
        await at.ask(schema.ENABLE, name="notes/write")
        await far.say(call(2, text="again"))
        assert "again" in json.dumps(await far.hear())
        far.close()


async def test_a_removed_server_is_gone_with_its_links_grants_and_drift(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.CONNECT, client="desk", server="notes")
        at.rooms.drifts.note(ServerName("notes"), ADDED, WILD)
        visit, far = at.rooms.enter()
        await at.ask(schema.REMOVE, name="notes")
        assert await visit.ended == "notes was removed"
        assert (await at.ask(schema.SERVERS)).servers == []
        assert at.rooms.house.grants.all() == ()
        assert at.rooms.drifts.all() == {}
        far.close()


async def test_more_paths_must_be_there_and_add_to_those_that_were(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        folder = tmp_path / "documents"
        folder.mkdir()
        for wrong in ("documents", str(tmp_path / "missing")):
            with pytest.raises(ConfigError, match="cannot be granted"):
                await at.ask(schema.GRANT_PATHS, name="notes", read=[wrong])
        assert at.receipts("grant") == []
        for _ in range(2):
            await at.ask(schema.GRANT_PATHS, name="notes", read=[str(folder)])
        await at.ask(schema.GRANT_PATHS, name="notes", write=[str(tmp_path)])
        grants = at.rooms.registry.server("notes").grants
        assert (grants.read, grants.write) == ((folder,), (tmp_path,))
        assert len(at.receipts("grant")) == 3


# --- recorded before it counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "params"),
    [
        (schema.ENABLE, {"name": "notes/write"}),
        (schema.CLIENT_ADD, {"name": "cursor"}),
        (schema.CONNECT, {"client": "cursor", "server": "notes"}),
        (schema.POLICY_USE, {"name": "observe", "text": shipped("observe").decode()}),
        (schema.GRANT_PATHS, {"name": "notes", "read": ["/usr"]}),
        (schema.ACCEPT, {"name": "notes"}),
        (schema.ACCEPT, {"name": "policy.toml"}),
    ],
)
async def test_what_loosens_does_not_happen_if_it_cannot_be_recorded(
    tmp_path: Path, route: schema.Route, params: dict[str, Any]
) -> None:
    async with office(tmp_path, policy=shipped("strict")) as at:
        at.rooms.registry.set_enabled("notes", "write", False)
        if route is schema.ACCEPT and params["name"] == "notes":
            at.rooms.drifts.note(ServerName("notes"), ADDED, WILD)
            params = params | {"digest": at.rooms.drifts.all()[ServerName("notes")].digest}
        elif route is schema.ACCEPT:
            edit(at, "policy.toml", 'name = "strict"', 'name = "looser"')
            params = params | {"digest": (await review(at))[0].digest}
        before = _state(at)
        at.rooms.house.audit._failure = "the disk is full"
        with pytest.raises(AuditError, match="the disk is full"):
            await at.ask(route, **params)
        at.rooms.house.audit._failure = ""
        assert _state(at) == before


def _state(at: Office) -> object:
    registry = at.rooms.registry
    return (
        registry.servers(), registry.clients.all(), at.rooms.house.grants.all(), at.rooms.house.policy.current.name,
        registry.pin("notes"), registry.secrets().keys(), at.rooms.drifts.all().keys(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("route", "name"), [(schema.DISABLE, "notes"), (schema.REMOVE, "notes"), (schema.CLIENT_REMOVE, "desk")]
)
async def test_what_tightens_happens_even_if_it_cannot_be_recorded(
    tmp_path: Path, route: schema.Route, name: str
) -> None:
    async with office(tmp_path) as at:
        visit, far = at.rooms.enter()
        at.rooms.house.audit._failure = "the disk is full"
        with pytest.raises(AuditError):
            await at.ask(route, name=name)
        assert await visit.ended
        with pytest.raises(BulkheadError):
            at.rooms.enter(secret="0" * 64)
        at.rooms.house.audit._failure = ""
        far.close()


# --- review ---------------------------------------------------------------------------------------------------------


async def test_a_hand_edited_document_is_shown_and_counts_once_it_was_accepted_as_shown(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        visit, far = at.rooms.enter()
        edit(at, "servers/notes.toml", "enabled = true", "enabled = false")
        assert (await at.ask(schema.STATUS)).status.drifted_documents == ["servers/notes.toml"]
        (item,) = await review(at)
        assert (item.kind, item.name) == ("document", "servers/notes.toml")
        assert "+enabled = false" in item.changes
        assert at.rooms.registry.server("notes").enabled
        await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
        assert not at.rooms.registry.server("notes").enabled
        assert await visit.ended == "notes was switched off"  # what tightens holds at once
        assert await review(at) == []
        far.close()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("servers/notes.toml", "enabled", "enabeld"),
        ("pins/notes.toml", "created", "creatde"),
        ("pins/notes.catalog.json", '"format": 1', '"format": 2'),
        ("clients/desk.toml", "created", "creatde"),
        ("policy.toml", "effect", "efect"),
        ("grants.toml", "grant", "garnt"),
    ],
)
async def test_a_document_with_a_mistake_is_refused_and_everything_stays_as_it_was(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    async with office(tmp_path) as at:
        pin_server(at.rooms, "time")
        await at.ask(schema.POLICY_USE, name="balanced", text=shipped("balanced").decode())
        await at.ask(schema.CONNECT, client="desk", server="notes")
        before = _state(at)
        edit(at, name, old, new)
        (item,) = await review(at)
        with pytest.raises(BulkheadError):
            await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
        assert _state(at) == before
        assert (await at.ask(schema.STATUS)).status.servers == 2
        assert [entry for entry in at.receipts("policy") if entry[0] == "review.accept"] == []


@pytest.mark.parametrize("digest", ["", "0" * 64])
async def test_only_what_was_shown_can_be_accepted(tmp_path: Path, digest: str) -> None:
    async with office(tmp_path) as at:
        edit(at, "servers/notes.toml", "enabled = true", "enabled = false")
        with pytest.raises(DeskError) as refused:
            await at.ask(schema.ACCEPT, name="servers/notes.toml", digest=digest)
        assert refused.value.code == "replaced"
        for name in ("servers/other.toml", "../policy.toml", "policy.toml"):
            with pytest.raises(DeskError) as refused:
                await at.ask(schema.ACCEPT, name=name, digest=digest)
            assert refused.value.code == "unknown"
        assert at.rooms.registry.server("notes").enabled


async def test_a_document_that_is_agreed_to_be_gone_takes_its_links_along(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        visit, far = at.rooms.enter()
        (at.rooms.paths.config / "servers" / "notes.toml").unlink()
        (item,) = await review(at)
        assert item.digest == ""
        await at.ask(schema.ACCEPT, name=item.name, digest="")
        assert await visit.ended == "notes was removed"
        far.close()


async def test_a_drifted_catalog_is_shown_and_accepted_by_its_digest(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        at.rooms.drifts.note(ServerName("notes"), ADDED, WILD)
        (item,) = await review(at)
        assert (item.kind, item.name, item.changes) == ("catalog", "notes", ["tool erase added"])
        with pytest.raises(DeskError) as refused:
            await at.ask(schema.ACCEPT, name="notes", digest="0" * 64)
        assert refused.value.code == "replaced"
        assert at.receipts("policy") == []
        await at.ask(schema.ACCEPT, name="notes", digest=item.digest)
        assert {tool["name"] for tool in at.rooms.registry.catalog("notes").views["legacy/full"].tools} >= {"erase"}
        assert at.receipts("policy") == [("review.accept", "notes")]
        assert CATALOG.views.keys() == at.rooms.registry.catalog("notes").views.keys()


async def test_a_policy_with_a_mistake_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        with pytest.raises(PolicyError):
            await at.ask(schema.POLICY_USE, name="mine", text="version = 1\nsurprise = 2\n")
        assert at.rooms.house.policy.current.name == "open"
        assert at.receipts("policy") == []
        await at.ask(schema.POLICY_USE, name="strict", text=shipped("strict").decode())
        assert (await at.ask(schema.STATUS)).status.policy == "strict"


# --- sessions, clients, grants --------------------------------------------------------------------------------------


@pytest.mark.claim("C84")
async def test_a_person_turns_answers_inside_a_client_on_and_off_and_that_is_on_record(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        assert [client.answers for client in (await at.ask(schema.CLIENTS)).clients] == [False]
        await at.ask(schema.CLIENT_ANSWERS, name="desk", on=True)
        assert [client.answers for client in (await at.ask(schema.CLIENTS)).clients] == [True]
        at.rooms.registry.clients.add_program("desk", "notes", "/opt/desk")
        assert at.rooms.registry.clients.answers("desk"), "what else is noted of a client changes nothing of it"
        await at.ask(schema.CLIENT_ANSWERS, name="desk", on=False)
        assert not at.rooms.registry.clients.answers("desk")
        assert at.receipts("policy") == [("client.answers", "desk")] * 2
        assert schema.CLIENT_ANSWERS.access == "loosen"


@pytest.mark.claim("C83")
async def test_a_person_declassifies_exactly_the_read_that_was_shown_and_that_is_on_record(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        _, far = at.rooms.enter()
        await far.say(INITIALIZE, INITIALIZED, call(1))
        assert len([await far.hear() for _ in range(2)]) == 2
        (view,) = (await at.ask(schema.SESSIONS)).sessions
        await far.say(call(2))
        await far.hear()
        with pytest.raises(DeskError, match="more was read since"):
            await at.ask(schema.DECLASSIFY, read=view.readings[0].id)
        assert at.receipts("policy") == []
        (view,) = (await at.ask(schema.SESSIONS)).sessions
        cleaned = await at.ask(schema.DECLASSIFY, read=view.readings[0].id)
        assert cleaned.clean and cleaned.times == 2
        assert at.receipts("policy") == [("session.declassify", "write")]
        (session,) = at.rooms.sessions.all()
        assert at.rooms.house.ledgers.view(session.id).elsewhere(ServerName("other")) == ()
        (view,) = (await at.ask(schema.SESSIONS)).sessions
        assert view.reads == ["notes: tools/call write (declassified)"]
        with pytest.raises(DeskError, match="declassified already"):
            await at.ask(schema.DECLASSIFY, read=view.readings[0].id)
        await far.say(call(3))
        await far.hear()
        await at.ask(schema.POLICY_USE, name="strict", text=shipped("strict").decode())
        (view,) = (await at.ask(schema.SESSIONS)).sessions
        with pytest.raises(DeskError, match="strict lets nothing be declassified"):
            await at.ask(schema.DECLASSIFY, read=view.readings[0].id)
        far.close()


async def test_sessions_are_shown_with_their_links_and_reads_and_ended_by_the_id_that_was_shown(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        visit, far = at.rooms.enter()
        await far.say(INITIALIZE, INITIALIZED, call(1))
        assert len([await far.hear() for _ in range(2)]) == 2
        (view,) = (await at.ask(schema.SESSIONS)).sessions
        assert (view.client, view.workspace, view.root_executable) == ("desk", "/home/me", "/opt/desk")
        assert [(link.server, link.state) for link in view.links] == [("notes", "running")]
        assert view.reads == ["notes: tools/call write"]
        (read,) = view.readings
        assert (read.server, read.what, read.times, read.clean, read.kept) == (
            "notes",
            "tools/call write",
            1,
            False,
            "",
        )
        await at.ask(schema.SESSION_END, name=view.id)
        assert await visit.ended == "you ended this session"
        assert (await at.ask(schema.SESSIONS)).sessions == []
        far.close()


async def test_a_new_client_has_a_secret_that_no_receipt_will_hold(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.CLIENT_ADD, name="cursor")
        secret = at.rooms.secret("cursor")
        assert secret not in at.rooms.house.audit.redactor.json({"text": f"it is {secret}"})
        listed = (await at.ask(schema.CLIENTS)).clients
        assert [client.name for client in listed] == ["cursor", "desk"]
        assert secret not in json.dumps([client.model_dump() for client in listed])
        await at.ask(schema.CLIENT_ADD, name="cursor")
        assert at.rooms.secret("cursor") == secret


async def test_a_removed_client_is_out_at_once(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.CONNECT, client="desk", server="notes")
        visit, far = at.rooms.enter()
        await at.ask(schema.CLIENT_REMOVE, name="desk")
        assert await visit.ended == "the client desk was removed"
        assert at.rooms.house.grants.all() == ()
        with pytest.raises(ConfigError, match="is not a registered client"):
            at.rooms.enter(secret="0" * 64)
        far.close()


async def test_revoking_a_connection_ends_its_links_and_the_next_one_is_a_question(tmp_path: Path) -> None:
    async with office(tmp_path, policy=None) as at:
        await at.ask(schema.CONNECT, client="desk", server="notes")
        visit, far = at.rooms.enter()
        assert at.rooms.house.consent.open() == ()
        (grant,) = (await at.ask(schema.GRANTS)).grants
        await at.ask(schema.REVOKE, name=grant.id)
        assert await visit.ended == "its connection grant was revoked"
        _, again = at.rooms.enter()
        await until(lambda: at.rooms.house.consent.open())
        with pytest.raises(DeskError, match="there is no grant"):
            await at.ask(schema.REVOKE, name=grant.id)
        far.close()
        again.close()


async def test_a_grant_taken_out_of_the_file_ends_its_links_once_that_was_accepted_and_no_others(
    tmp_path: Path,
) -> None:
    async with office(tmp_path, policy=None) as at:
        pin_server(at.rooms, "time")
        for server in ("notes", "time"):
            await at.ask(schema.CONNECT, client="desk", server=server)
        (visit, far), (_, kept) = at.rooms.enter(), at.rooms.enter("time")
        path = at.rooms.paths.config / "grants.toml"
        document = tomllib.loads(path.read_text())
        document["grant"] = [grant for grant in document["grant"] if grant["server"] == "time"]
        path.write_text(tomli_w.dumps(document))
        (item,) = await review(at)
        assert len(at.rooms.sessions.links()) == 2
        await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
        async with asyncio.timeout(WITHIN):
            assert await visit.ended == "its connection grant was taken out of grants.toml"
        assert [link.server.name for link in at.rooms.sessions.links()] == ["time"]
        far.close()
        kept.close()


@pytest.mark.parametrize("name", ["../x", "", "-x"])
async def test_a_client_or_server_with_a_bad_name_is_refused_before_anything_is_on_record(
    tmp_path: Path, name: str
) -> None:
    async with office(tmp_path) as at:
        wrong: tuple[tuple[schema.Route, dict[str, Any]], ...] = (
            (schema.CLIENT_ADD, {"name": name}),
            (schema.CONNECT, {"client": name, "server": "notes"}),
            (schema.CONNECT, {"client": "desk", "server": name}),
            (schema.ENABLE, {"name": name}),
        )
        for route, params in wrong:
            with pytest.raises(ConfigError):
                await at.ask(route, **params)
        assert (at.receipts("grant"), at.receipts("policy")) == ([], [])


# --- the daemon in one look -----------------------------------------------------------------------------------------


async def test_status_counts_what_there_is_and_names_what_is_wrong(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        _, far = at.rooms.enter()
        status = (await at.ask(schema.STATUS)).status
        assert (status.servers, status.sessions, status.links, status.questions) == (1, 1, 1, 0)
        assert (status.keychain, status.presence, status.policy) == ("file", "unsafe-no-presence", "open")
        assert status.receipts > 0
        at.rooms.house.audit._failure = "the disk is full"
        assert "the disk is full" in (await at.ask(schema.STATUS)).status.policy_problem
        at.rooms.house.audit._failure = ""
        far.close()


async def test_stop_stops(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.STOP)
        assert at.stopped == [True]


async def test_receipts_are_found_by_what_they_are_about(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.CLIENT_ADD, name="cursor")
        await at.ask(schema.DISABLE, name="notes")
        found = (await at.ask(schema.AUDIT, client="cursor")).receipts
        assert [(entry["kind"], entry["method"]) for entry in found] == [("grant", "client.add")]
        assert len((await at.ask(schema.AUDIT, limit=1)).receipts) == 1


async def test_a_watcher_gets_everything_once_and_then_only_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.api.routes.overview.WATCH_SECONDS", 0.0)
    async with office(tmp_path) as at:
        ear = Ear()
        watching = asyncio.ensure_future(at.handlers.table()["watch"](ear, schema.Nothing()))
        await until(lambda: ear.heard)
        assert [type(words) for words in ear.heard] == [schema.Snapshot]
        ear.heard.clear()
        at.bell.rung.set()
        await until(lambda: not at.bell.rung.is_set())
        await at.ask(schema.CLIENT_ADD, name="cursor")
        at.bell.rung.set()
        await until(lambda: any(isinstance(words, schema.ReceiptsAdded) for words in ear.heard))
        kinds = {type(words) for words in ear.heard}
        assert kinds <= {schema.ReceiptsAdded, schema.StatusChanged}  # no server, session or question changed
        at.rooms.drifts.note(ServerName("notes"), ADDED, WILD)
        at.bell.rung.set()
        await until(lambda: any(isinstance(words, schema.ServersChanged) for words in ear.heard))
        watching.cancel()


# --- walls and limits -----------------------------------------------------------------------------------------------


async def test_walls_and_limits_are_shown_as_they_stand_and_each_is_on_record(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.WALL_ADD, name="money", classes={"bank": ["bank"], "web": ["notes", "mail:inbox"]})
        limit = await at.ask(schema.LIMIT_ADD, client="desk", tools=["notes/read"])
        shown = await at.ask(schema.WALLS)
        assert [wall.classes for wall in shown.walls] == [{"bank": ["bank"], "web": ["notes", "mail:inbox"]}]
        assert shown.limits == [limit] and (limit.client, limit.session, limit.tools) == ("desk", "", ["notes/read"])
        await at.ask(schema.WALL_REMOVE, name="money")
        await at.ask(schema.LIMIT_REMOVE, name=limit.id)
        assert await at.ask(schema.WALLS) == schema.Walls(walls=[], limits=[])
        names = ["wall.add", "limit.add", "wall.remove", "limit.remove"]
        assert [method for method, _ in at.receipts("policy")] == names


async def test_a_limit_is_for_a_client_there_is_and_a_session_of_that_client(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        with pytest.raises(ConfigError, match="there is no client nobody"):
            await at.ask(schema.LIMIT_ADD, client="nobody", tools=[])
        _, far = at.rooms.enter()
        at.rooms.registry.clients.put("other", "2026-01-01T00:00:00Z")
        (session,) = at.rooms.sessions.all()
        with pytest.raises(DeskError, match="none of other"):
            await at.ask(schema.LIMIT_ADD, client="other", tools=[], session=session.id[:12])
        made = await at.ask(schema.LIMIT_ADD, client="desk", tools=["notes"], session=session.id[:12])
        assert made.session == session.id[:12]
        far.close()


async def test_an_edited_document_of_walls_counts_once_it_was_looked_at(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.ask(schema.WALL_ADD, name="money", classes={"bank": ["bank"], "web": ["notes"]})
        edit(at, "walls.toml", "notes", "mail")
        assert at.rooms.house.walls.current.apart("bank", "notes") == "money"
        (item,) = await review(at)
        await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
        assert at.rooms.house.walls.current.apart("bank", "mail") == "money"
        assert at.rooms.house.walls.current.apart("bank", "notes") == ""
        edit(at, "walls.toml", "classes", "clases")
        (item,) = await review(at)
        with pytest.raises(PolicyError, match=r"wall\.0\.classes"):
            await at.ask(schema.ACCEPT, name=item.name, digest=item.digest)
