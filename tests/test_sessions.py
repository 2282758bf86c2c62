"""Who may open a link, which session it belongs to, and how sessions end."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.api.views import link_view
from broker.config import Bounds
from broker.errors import BulkheadError, ConfigError, DeskError
from broker.model import Answer, Lifetime, Peer, Question
from broker.processes import process
from broker.refusals import IN_FULL
from broker.sessions import NEW_PROGRAM, Session
from broker.visit import Hello
from tests.house import ME, OPEN, QUICK, Rooms, housed, pin_server
from tests.protocol.stage import INITIALIZE, INITIALIZED, call, request
from tests.waiting import WITHIN, open_descriptors, turns, until

DENIES = b"""version = 1
name = "denies"
description = "for tests: lets clients in and nothing through"
[[rule]]
name = "connects"
effect = "allow"
reason = "fine"
method = "bulkhead/connection"
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def running(**changes: Any) -> Peer:
    """A shim below an application that really runs: this one."""
    me = process(os.getpid())
    assert me is not None
    return replace(ME, root_pid=me.pid, root_started=me.started, **changes)


@pytest.fixture
def application() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


async def reason(ended: Awaitable[str]) -> str:
    async with asyncio.timeout(WITHIN):
        return await ended


def answer(rooms: Rooms, question: Question, *, allowed: bool, lifetime: Lifetime = "once") -> None:
    rooms.house.consent.answer(question.id, question.digest, allowed=allowed, lifetime=lifetime, by="person")


# --- who is let in --------------------------------------------------------------------------------------------------


async def test_a_known_client_gets_a_link_and_it_is_on_record_with_who_is_behind_it(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        visit, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        assert (await far.hear())["id"] == "open"
        far.close()
        assert await reason(visit.ended) == ""
    opened, *_, closed = rooms.receipts()
    assert (opened["kind"], closed["kind"]) == ("link-opened", "link-closed")
    assert (opened["client"], opened["server"], opened["link"]) == ("desk", "notes", visit.link)
    body = opened["body"]
    assert (body["executable"], body["root_executable"], body["cwd"]) == ("/opt/shim", "/opt/desk", "/home/me")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secret": "0" * 64}, "is not a registered client, or not with this secret"),
        ({"secret": ""}, "is not a registered client, or not with this secret"),
        ({"client": "nobody", "secret": "x"}, "is not a registered client, or not with this secret"),
        ({"client": "../desk", "secret": "x"}, "is not a registered client, or not with this secret"),
        ({"server": "unknown"}, "there is no server unknown"),
        ({"server": "../notes"}, "cannot be a name"),
        ({"peer": replace(ME, uid=ME.uid + 1)}, "this daemon belongs to another user"),
    ],
)
async def test_whoever_may_not_is_told_why_and_nothing_is_kept(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    async with housed(tmp_path) as rooms:
        before = open_descriptors()
        with pytest.raises(BulkheadError, match=said):
            rooms.enter(**changes)
        assert open_descriptors() == before
        assert rooms.sessions.links() == ()
        assert rooms.sessions.applications == frozenset()
        assert rooms.servers == []


async def test_an_unknown_client_and_a_wrong_secret_read_the_same(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        said = set()
        for client in ("desk", "nobody"):
            with pytest.raises(ConfigError) as refused:
                rooms.enter(client=client, secret="0" * 64)
            said.add(str(refused.value).replace(client, "X"))
        assert len(said) == 1


def test_what_a_shim_says_never_shows_its_secret() -> None:
    assert "5ec7e7" not in repr(Hello("notes", "desk", "5ec7e7", "/home/me"))


async def test_a_switched_off_or_unpinned_server_is_named_with_what_to_do(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        rooms.registry.set_enabled("notes", "", False)
        with pytest.raises(ConfigError, match="notes is switched off") as refused:
            rooms.enter()
        assert refused.value.hint == "bulkhead enable notes"
        rooms.registry.set_enabled("notes", "", True)
        rooms.agreed.remove("pins/notes.toml")
        with pytest.raises(ConfigError, match="notes is not pinned"):
            rooms.enter()


async def test_a_link_whose_opening_cannot_be_recorded_is_none(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        before = open_descriptors()
        rooms.house.audit._failure = "the disk is full"
        with pytest.raises(BulkheadError, match="the disk is full"):
            rooms.enter()
        assert rooms.sessions.links() == ()
        assert open_descriptors() == before


async def test_a_policy_that_denies_the_connection_is_told_to_the_shim(tmp_path: Path) -> None:
    deny = OPEN + b'[[rule]]\nname = "never"\neffect = "deny"\nreason = "not here"\nclient = "desk"\n'
    async with housed(tmp_path, policy=deny) as rooms:
        with pytest.raises(ConfigError, match="the policy lets desk not use notes: not here"):
            rooms.enter()


async def test_a_daemon_that_stops_lets_nobody_in(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        await rooms.sessions.close()
        with pytest.raises(DeskError, match="the daemon is stopping"):
            rooms.enter()


# --- which session --------------------------------------------------------------------------------------------------


async def test_one_run_of_one_client_is_one_session_whatever_its_folder(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, "time")
        peers = (ME, replace(ME, pid=ME.pid + 1, cwd="/elsewhere"))
        far = [rooms.enter(server, peer=peer)[1] for server, peer in zip(("notes", "time"), peers, strict=True)]
        assert len(rooms.sessions.all()) == 1
        assert len(rooms.sessions.links()) == 2
        assert [link.server.name for link in rooms.sessions.links("time")] == ["time"]
        for end in far:
            end.close()


async def test_another_run_or_another_client_is_another_session(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        rooms.registry.clients.put("other", "now")
        far = [rooms.enter()[1], rooms.enter(peer=running())[1], rooms.enter(client="other")[1]]
        ids = {session.id for session in rooms.sessions.all()}
        assert len(ids) == 3
        assert {len(id) for id in ids} == {64}
        assert (running().root_pid, running().root_started) in rooms.sessions.applications
        for end in far:
            end.close()


async def test_the_same_run_has_the_same_session_after_the_daemon_was_restarted(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        async with housed(tmp_path) as rooms:
            _, far = rooms.enter()
            ids.append(rooms.sessions.all()[0].id)
            far.close()
    assert ids[0] == ids[1]


# --- bounds of one client -------------------------------------------------------------------------------------------


async def test_a_client_has_so_many_links_and_another_one_still_gets_its_own(tmp_path: Path) -> None:
    async with housed(tmp_path, bounds=Bounds(links=2)) as rooms:
        rooms.registry.clients.put("other", "now")
        (first, one), (_, two) = rooms.enter(), rooms.enter()
        with pytest.raises(DeskError, match="desk has 2 links open already"):
            rooms.enter()
        _, three = rooms.enter(client="other")
        one.close()
        await reason(first.ended)
        await until(lambda: len(rooms.sessions.links()) == 2)
        _, four = rooms.enter()
        for far in (two, three, four):
            far.close()


async def test_a_loop_of_refused_calls_is_answered_every_time_and_fills_no_disk(tmp_path: Path) -> None:
    calls = 4 * IN_FULL
    async with housed(tmp_path, policy=DENIES) as rooms:
        _, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        assert (await far.hear())["id"] == "open"
        for number in range(calls):
            await far.say(call(number))
            assert (await far.hear())["result"]["isError"]
        far.close()
    receipts = [entry for entry in rooms.receipts() if entry["method"] == "tools/call"]
    counts = [entry["body"]["repeated"] for entry in receipts if "repeated" in (entry["body"] or {})]
    assert counts == [calls - IN_FULL] * 2  # the decision, and the answer that told it
    assert len(receipts) == 2 * IN_FULL + 2


# --- the first connection -------------------------------------------------------------------------------------------


async def test_the_first_connection_is_a_question_and_a_yes_lets_the_waiting_handshake_go(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        _, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert (question.kind, question.what) == ("connection", "desk wants to use notes for the first time")
        assert f"program: /opt/desk (process {ME.root_pid})" in question.evidence
        assert rooms.sessions.links()[0].state == "waiting for a yes"
        assert far.unheard == 0
        answer(rooms, question, allowed=True, lifetime="always")
        assert (await far.hear())["id"] == "open"
        far.close()
        await until(lambda: not rooms.sessions.links())
        assert rooms.registry.clients.programs("desk", "notes") == ("/opt/desk",)
        _, again = rooms.enter()
        assert rooms.house.consent.open() == ()  # asked once
        again.close()


async def test_nobody_answers_the_handshake_gets_empty_lists_and_a_later_yes_brings_them(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        _, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED, request(1, "tools/list"))
        assert (await far.hear())["id"] == "open"
        assert (await far.hear())["result"]["tools"] == []
        answer(rooms, rooms.house.consent.open()[0], allowed=True, lifetime="session")
        heard = [await far.hear() for _ in range(3)]
        assert {message["method"] for message in heard} == {
            "notifications/tools/list_changed", "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
        }  # fmt: skip
        await far.say(request(2, "tools/list"))
        assert len((await far.hear())["result"]["tools"]) == 2
        far.close()


@pytest.mark.parametrize("how", ["no", "deadline"])
async def test_a_no_and_no_answer_keep_the_client_out_and_start_nothing(tmp_path: Path, how: str) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        _, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED, call(1))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        if how == "no":
            answer(rooms, question, allowed=False)
        else:
            rooms.house.consent._settle(question.id, Answer(False, "once", "deadline"))
        heard = [await far.hear() for _ in range(2)]
        assert "isError" in json.dumps(heard) or "error" in json.dumps(heard)
        assert (rooms.servers, rooms.house.grants.all()) == ([], ())
        far.close()


async def test_a_client_that_leaves_takes_its_open_question_with_it(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None, waits=replace(QUICK, question=3600.0)) as rooms:
        visit, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        far.close()
        await reason(visit.ended)
        await until(lambda: not rooms.house.consent.open())
        withdrawn = {"question": question.id, "withdrawn": "the client is gone"}
        await until(lambda: [entry["body"] for entry in rooms.receipts() if entry["kind"] == "answer"] == [withdrawn])


async def test_a_question_two_links_share_stays_while_one_of_them_waits(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None, waits=replace(QUICK, question=3600.0)) as rooms:
        first, far = rooms.enter()
        _, other = rooms.enter()
        await other.say(INITIALIZE, INITIALIZED)
        await until(lambda: rooms.house.consent.open())
        far.close()
        await reason(first.ended)
        await until(lambda: any(entry["kind"] == "answer" for entry in rooms.receipts()))
        (question,) = rooms.house.consent.open()
        answer(rooms, question, allowed=True)
        assert (await other.hear())["id"] == "open"
        other.close()


async def test_a_refused_link_says_so(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        _, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await until(lambda: rooms.house.consent.open())
        answer(rooms, rooms.house.consent.open()[0], allowed=False)
        await until(lambda: rooms.sessions.links()[0].state == "refused")
        assert link_view(rooms.sessions.links()[0], lambda _pid: 0).state == "refused"
        far.close()


async def test_a_yes_that_cannot_be_recorded_lets_nobody_in(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        visit, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED)
        await until(lambda: rooms.house.consent.open())
        rooms.house.audit._failure = "the disk is full"
        answer(rooms, rooms.house.consent.open()[0], allowed=True, lifetime="always")
        assert "the disk is full" in await reason(visit.ended)
        assert await far.hear_all() == []
        assert (rooms.house.grants.all(), rooms.registry.clients.programs("desk", "notes")) == ((), ())
        rooms.house.audit._failure = ""
        far.close()


async def test_a_yes_that_cannot_be_kept_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with housed(tmp_path, policy=None) as rooms:

        def full(*_: object) -> None:
            raise ConfigError("grants.toml cannot be written: No space left on device")

        visit, far = rooms.enter()
        await until(lambda: rooms.house.consent.open())
        monkeypatch.setattr(rooms.agreed, "write", full)
        answer(rooms, rooms.house.consent.open()[0], allowed=True, lifetime="always")
        assert "No space left" in await reason(visit.ended)
        far.close()


# --- the program behind a client ------------------------------------------------------------------------------------


async def test_the_first_use_binds_the_program_and_another_program_is_a_question(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        _, far = rooms.enter()
        assert rooms.registry.clients.programs("desk", "notes") == ("/opt/desk",)
        _, stranger = rooms.enter(peer=replace(ME, root_pid=77, root_executable="/tmp/desk"))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert "run by a program that never used notes before: /tmp/desk" in question.why
        answer(rooms, question, allowed=True, lifetime="always")
        await until(lambda: "/tmp/desk" in rooms.registry.clients.programs("desk", "notes"))
        assert rooms.house.grants.all() == ()  # the connection itself was allowed before
        for end in (far, stranger):
            end.close()
    assert NEW_PROGRAM in json.dumps(rooms.receipts())


async def test_a_program_that_cannot_be_seen_is_never_known(tmp_path: Path) -> None:
    """Whatever hides itself would otherwise be one and the same program."""
    async with housed(tmp_path) as rooms:
        ends = []
        for number in range(2):
            ends.append(rooms.enter(peer=replace(ME, root_pid=70 + number, root_executable=""))[1])
            await until(lambda: rooms.house.consent.open())
            (question,) = rooms.house.consent.open()
            assert question.why.endswith("never used notes before: unknown")
            answer(rooms, question, allowed=True, lifetime="always")
            await until(lambda: all(link.admitted for link in rooms.sessions.links()))
        assert rooms.registry.clients.programs("desk", "notes") == ()
        for end in ends:
            end.close()


async def test_a_yes_for_once_to_a_new_program_binds_nothing(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        ends = [rooms.enter()[1]]
        for _ in range(2):
            ends.append(rooms.enter(peer=replace(ME, root_pid=77, root_executable="/tmp/desk"))[1])
            await until(lambda: rooms.house.consent.open())
            answer(rooms, rooms.house.consent.open()[0], allowed=True)
            await until(lambda: all(link.admitted for link in rooms.sessions.links()))
        assert rooms.registry.clients.programs("desk", "notes") == ("/opt/desk",)
        for end in ends:
            end.close()


# --- ends -----------------------------------------------------------------------------------------------------------


async def test_ending_a_session_ends_its_links_and_forgets_what_was_read_and_allowed(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        visit, far = rooms.enter()
        await far.say(INITIALIZE, INITIALIZED, call(1))
        assert len([await far.hear() for _ in range(2)]) == 2
        session = rooms.sessions.all()[0]
        assert len(rooms.house.ledgers.view(session.id).reads) == 1
        rooms.sessions.end_session(session.id[:12])
        assert await reason(visit.ended) == "you ended this session"
        assert rooms.house.ledgers.view(session.id).reads == ()
        assert rooms.sessions.all() == ()
        await until(rooms.servers[0].stopped.is_set)
        far.close()


@pytest.mark.parametrize("id", ["", "zz", "0" * 64])
async def test_no_one_session_is_none(tmp_path: Path, id: str) -> None:
    async with housed(tmp_path) as rooms:
        _, far = rooms.enter()
        with pytest.raises(DeskError, match="there is no one session"):
            rooms.sessions.end_session(id)
        assert len(rooms.sessions.all()) == 1
        far.close()


async def test_a_session_ends_with_its_application_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, application: "subprocess.Popen[bytes]"
) -> None:
    monkeypatch.setattr("broker.sessions.TICK_SECONDS", 0.01)
    facts = process(application.pid)
    assert facts is not None
    peer = replace(ME, root_pid=facts.pid, root_started=facts.started)
    async with housed(tmp_path) as rooms:
        looked: list[bool] = []
        over = rooms.sessions._is_over

        def look(session: Session) -> bool:
            looked.append(over(session))
            return looked[-1]

        monkeypatch.setattr(rooms.sessions, "_is_over", look)
        ticking = asyncio.ensure_future(rooms.sessions.tick())
        _, far = rooms.enter(peer=peer)
        far.close()
        await until(lambda: len(looked) > 2)
        assert looked[:3] == [False, False, False]  # its application runs, so it may come back
        application.kill()
        application.wait(WITHIN)
        await until(lambda: not rooms.sessions.all())
        assert (facts.pid, facts.started) in rooms.sessions.applications  # its children stay what they are
        ticking.cancel()


async def test_an_idle_session_is_over_after_half_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with housed(tmp_path) as rooms:
        _, far = rooms.enter(peer=running())
        far.close()
        await until(lambda: not rooms.sessions.links())
        session = rooms.sessions.all()[0]
        assert not rooms.sessions._is_over(session)
        session.idle_since -= 13 * 3600
        assert rooms.sessions._is_over(session)


async def test_stopping_ends_every_link_and_every_server_within_its_limit(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        links = [rooms.enter() for _ in range(5)]
        for _, far in links:
            await far.say(INITIALIZE, INITIALIZED, call(1))
        for _, far in links:
            await far.hear()
            await far.hear()
        async with asyncio.timeout(WITHIN):
            await rooms.sessions.close()
        assert {await reason(visit.ended) for visit, _ in links} == {"bulkhead is stopping"}
        assert all(server.stopped.is_set() for server in rooms.servers)
        assert len(rooms.servers) == 5
        for _, far in links:
            assert await far.hear_all() == []
            far.close()


async def test_a_question_still_open_when_the_daemon_stops_is_withdrawn(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=None) as rooms:
        _, far = rooms.enter()
        await until(lambda: rooms.house.consent.open())
        async with asyncio.timeout(WITHIN):
            closing = asyncio.ensure_future(rooms.sessions.close())
            await turns(50)
            rooms.house.consent.close()
            await closing
        assert rooms.house.consent.open() == ()
        far.close()


async def test_leaving_ends_the_link_for_the_shim_that_died(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        visit, far = rooms.enter()
        visit.leave()
        assert await reason(visit.ended) == "the client ended its side"
        far.close()
