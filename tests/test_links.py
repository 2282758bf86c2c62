"""One link in its house: judged by policy and ledger, launched only from what was verified, on record at every step."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from broker.errors import ConfigError
from broker.links import Link, server_of
from broker.model import Fact, Grants, JsonObject, Lifetime, Origin, ServerName, VerifiedArtifact
from broker.protocol.catalog import Catalog
from broker.sandbox.process import Instance
from tests.house import OPEN, QUICK, Rooms, housed, pin_server
from tests.peers import FarEnd, ToyServer, echo
from tests.protocol.stage import (
    CATALOG,
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    READ,
    call,
    refusal_of,
    request,
)
from tests.waiting import until

ASKS: Final = (
    OPEN
    + b"""
[[rule]]
name = "ask-to-write"
effect = "ask"
reason = "it changes a file"
method = "tools/call"
target = "write"
"""
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(rooms: Rooms) -> FarEnd:
    """A link whose client has shaken hands."""
    _, far = rooms.enter()
    await far.say(INITIALIZE, INITIALIZED)
    assert (await far.hear())["id"] == "open"
    return far


async def reply(far: FarEnd, id: int) -> JsonObject:
    """The answer to one request, whatever else is said before it."""
    while True:
        message = await far.hear()
        if message.get("id") == id and "method" not in message:
            return message


def only_link(rooms: Rooms) -> Link:
    (link,) = rooms.sessions.links()
    return link


def answer(rooms: Rooms, allowed: bool, lifetime: Lifetime = "once") -> None:
    (question,) = rooms.house.consent.open()
    rooms.house.consent.answer(
        question.id, question.digest, allowed=allowed, lifetime=lifetime, by="person (process 1)"
    )


# --- which servers --------------------------------------------------------------------------------------------------


async def test_only_a_registered_pinned_and_enabled_server_can_be_linked_to(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        server, pin, catalog = server_of(rooms.registry, "notes")
        assert (server.name, pin.server) == ("notes", "notes")
        assert catalog.views.keys() == CATALOG.views.keys()
        rooms.agreed.write("pins/notes.catalog.json", b"{}")
        with pytest.raises(ConfigError, match="the pinned catalog cannot be read"):
            server_of(rooms.registry, "notes")
        with pytest.raises(ConfigError, match="there is no server time"):
            server_of(rooms.registry, "time")


# --- the size of a message ---------------------------------------------------------------------------------------


async def test_a_message_is_as_long_as_the_server_was_given_room_for_and_no_longer(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        server = rooms.registry.server("notes")
        for room in (64 << 10, 1 << 20):
            grants = replace(server.grants, limits=replace(server.grants.limits, message=room))
            rooms.registry.put_server(replace(server, grants=grants))
            far = await opened(rooms)
            await far.say(call(1, "read", text="x" * (100 << 10)))
            answer = await far.hear()
            if room > 100 << 10:
                assert len(answer["result"]["content"][0]["text"]) > 100 << 10
            else:
                assert "longer than 65536 bytes" in answer["error"]["message"]
                assert "bulkhead limits notes --message-size" in answer["error"]["message"]
                await far.say(call(2, "read", text="short"))
                assert (await reply(far, 2))["result"]["content"]
            far.close()


# --- the launch -----------------------------------------------------------------------------------------------------


async def test_a_launch_is_on_record_before_the_server_is_spawned_and_after(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, env=("TOKEN",))
        rooms.registry.put_env("notes", {"TOKEN": "s3cret"})
        far = await opened(rooms)
        seen: list[int] = []
        spawn = rooms.house.spawn

        async def counting(*arguments: object) -> object:
            seen.append(sum(entry["kind"] == "launch" for entry in rooms.receipts()))
            return await spawn(*arguments)  # type: ignore[arg-type]

        object.__setattr__(rooms.house, "spawn", counting)
        assert only_link(rooms).state == "ready"
        await far.say(call(1))
        await reply(far, 1)
        assert seen[0] >= 1
        assert only_link(rooms).state == "running"
        (artifact, grants, env) = rooms.spawned[0]
        assert (artifact.server, dict(env)) == ("notes", {"TOKEN": "s3cret"})
        assert grants == rooms.registry.server("notes").grants
        far.close()
    launches = [entry for entry in rooms.receipts() if entry["kind"] == "launch"]
    assert [entry.get("method") for entry in launches][-1] == "started"
    assert any(entry["body"].get("variables") == ["TOKEN"] for entry in launches if entry.get("body"))
    assert "s3cret" not in json.dumps(rooms.receipts())


async def test_one_changed_byte_starts_nothing_and_the_client_is_told_which_file(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        program = rooms.paths.home / "notes-program"
        program.write_bytes(program.read_bytes() + b"#")
        await far.say(call(1))
        said = json.dumps(await reply(far, 1))
        assert "notes-program was changed" in said
        assert rooms.spawned == []
        far.close()


async def test_files_that_cannot_be_hashed_in_time_start_nothing_and_the_client_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object, **__: object) -> VerifiedArtifact:
        await asyncio.sleep(3600)
        raise AssertionError

    async with housed(tmp_path, waits=replace(QUICK, verify=0.05)) as rooms:
        monkeypatch.setattr(rooms.house.store.__class__, "verified", hang)
        far = await opened(rooms)
        await far.say(call(1))
        assert "the files of notes could not be read and hashed within" in json.dumps(await reply(far, 1))
        assert rooms.spawned == []
        far.close()


async def test_a_question_shows_everything_the_call_says(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        more = {
            "inputResponses": {"form": {"content": "mine"}},
            "_meta": {"vendor/note": "this too", "progressToken": 1},
        }
        await far.say(request(1, "tools/call", name="write", arguments={"text": "hello"}, **more))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert json.loads(question.detail) == {
            "arguments": {"text": "hello"}, "inputResponses": more["inputResponses"],
            "_meta": {"vendor/note": "this too"},
        }  # fmt: skip
        far.close()


@pytest.mark.claim("C45")
async def test_every_hop_of_a_call_carries_its_story_and_no_other_does(tmp_path: Path) -> None:
    """Question, yes that lasts, launch under the pin, decision, connection, labelled result."""
    records: list[Callable[[Fact], None]] = []

    def reach(message: JsonObject) -> JsonObject | None:
        if message.get("method") == "tools/call":
            records[-1](Fact("egress", "server", "connect", "api.test:443"))
            os.write(rooms.servers[0].complain, b"warning: asked with a-secret-of-notes\nhalf a line")
        return echo(message)

    async with housed(tmp_path, toy=lambda: ToyServer(answer=reach), policy=ASKS) as rooms:
        spawn = rooms.house.spawn

        async def heard(*arguments: Any) -> Instance:
            records.append(arguments[3])
            return await spawn(*arguments)

        object.__setattr__(rooms.house, "spawn", heard)
        rooms.house.audit.redactor.add("notes/KEY", "a-secret-of-notes")
        far = await opened(rooms)
        await far.say(call(1))
        await until(lambda: rooms.house.consent.open())
        answer(rooms, allowed=True, lifetime="always")
        await reply(far, 1)
        story = f"{only_link(rooms).id}.2"  # 1 is its handshake
        hops = [entry for entry in rooms.receipts() if story in entry["stories"]]
        far.close()
    told = [(hop["kind"], hop["side"], hop["verdict"]) for hop in hops]
    assert told == [
        ("decision", "client", "ask"), ("grant", "person", None), ("answer", "person", "allow"),
        ("decision", "client", "allow"), ("launch", "broker", None), ("launch", "broker", None),
        ("launch", "broker", None), ("decision", "client", "allow"), ("egress", "server", None),
        ("stderr", "server", None), ("result", "server", None),
    ]  # fmt: skip
    assert hops[-2]["body"] == {"text": "warning: asked with [redacted:notes_KEY]", "lost": 0}, (
        "whole lines, without secrets"
    )
    assert all(hop["stories"] == [story] and hop["pin"] for hop in hops)
    assert [hop["tier"] for hop in hops][-3:] == ["none"] * 3 and hops[-1]["labels"] == "EMPU"
    assert hops[-1]["digest"] == hops[0]["digest"] and "hello" in json.dumps(hops[0]["body"])


@pytest.mark.claim("C40")
@pytest.mark.parametrize("harmful", [True, False])
async def test_a_call_that_may_do_harm_is_on_the_disk_before_the_server_hears_of_it(
    tmp_path: Path, harmful: bool
) -> None:
    """Nobody vouches for the tool; what its box lets it do decides."""
    synced: list[tuple[int, int]] = []

    def look(message: JsonObject) -> JsonObject | None:
        if message.get("method") == "tools/call":
            synced.append((rooms.house.audit.seq, rooms.house.audit.synced_seq))
        return echo(message)

    async with housed(tmp_path, toy=lambda: ToyServer(answer=look)) as rooms:
        pin_server(rooms, grants=Grants(write=(tmp_path,)) if harmful else Grants())
        far = await opened(rooms)
        for number in (1, 2):
            await far.say(call(number))
            await reply(far, number)
        far.close()
        decided = [entry for entry in rooms.receipts() if entry["kind"] == "decision"]
    assert {entry["durable"] for entry in decided} == {harmful}
    written, on_disk = synced[-1]
    assert (on_disk >= decided[-1]["seq"]) is harmful and written >= decided[-1]["seq"]


async def test_a_missing_value_starts_nothing_and_is_named(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, env=("TOKEN",))
        far = await opened(rooms)
        await far.say(call(1))
        assert "the value of TOKEN for notes is not there" in json.dumps(await reply(far, 1))
        assert rooms.spawned == []
        far.close()


async def test_a_server_is_given_its_own_secrets_only_and_starts_anew_with_a_changed_one(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        provisions = rooms.house.provisions
        pin_server(rooms, env=("TOKEN",))
        server = rooms.registry.server("notes")
        rooms.registry.put_server(replace(server, references={"TOKEN": "keychain:github"}))
        provisions.put("github", "the first value")
        provisions.put("another", "of another server")
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        provisions.put("github", "the second value")
        only_link(rooms).provisions_changed("its secret github was changed")
        await until(lambda: rooms.servers[-1].stopped.is_set())
        await far.say(call(2))
        assert "result" in await reply(far, 2)
        assert [dict(env) for _, _, env in rooms.spawned] == [
            {"TOKEN": "the first value"},
            {"TOKEN": "the second value"},
        ]
        far.close()
    told = json.dumps(rooms.receipts())
    assert "keychain:github" in told and "value" not in told.replace("values", "")


@pytest.mark.parametrize(
    ("reference", "said"),
    [("keychain:github", "notes needs TOKEN, but there is no secret github"),
     ("file:/no/such/file", "notes needs TOKEN, but there is no file /no/such/file")],
)  # fmt: skip
async def test_a_missing_secret_stops_the_launch_with_one_sentence(tmp_path: Path, reference: str, said: str) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, env=("TOKEN",))
        rooms.registry.put_server(replace(rooms.registry.server("notes"), references={"TOKEN": reference}))
        far = await opened(rooms)
        await far.say(call(1))
        assert said in json.dumps(await reply(far, 1))
        assert rooms.spawned == []
        far.close()


async def test_a_server_whose_start_cannot_be_recorded_is_stopped_again(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        take_down = rooms.house.audit.take_down

        def full(origin: Origin, fact: Fact) -> object:
            if (fact.kind, fact.method) == ("launch", "started"):
                rooms.house.audit._failure = "the disk is full"
            return take_down(origin, fact)

        rooms.house.audit.take_down = full  # type: ignore[method-assign,assignment]
        await far.say(call(1))
        await until(lambda: rooms.servers and rooms.servers[0].stopped.is_set())
        assert await far.hear_all() == []
        assert not any(message.get("method") == "tools/call" for message in rooms.servers[0].heard)
        await until(lambda: not rooms.sessions.links())
        far.close()


async def test_a_disk_that_fails_ends_the_link_with_nothing_forwarded(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        before = len(rooms.servers[0].heard)
        rooms.house.audit._failure = "the disk is full"
        await far.say(call(2))
        assert await far.hear_all() == []
        assert len(rooms.servers[0].heard) == before
        await until(lambda: not rooms.sessions.links())
        far.close()


# --- may it happen --------------------------------------------------------------------------------------------------


async def test_a_tool_that_was_switched_off_is_refused_at_once_on_a_live_link(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        rooms.registry.set_enabled("notes", "write", False)
        only_link(rooms).server_changed(rooms.registry.server("notes"))
        await far.say(call(1))
        assert "you switched this tool off" in refusal_of(await reply(far, 1))
        assert rooms.servers == []
        far.close()


async def test_a_question_names_who_wants_what_of_whom_and_why(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert (question.kind, question.client, question.server) == ("call", "desk", "notes")
        assert question.what == "desk wants to use the tool write of notes"
        assert question.why.startswith("ask-to-write: it changes a file")
        assert '"hello"' in question.detail
        assert rooms.servers == []
        answer(rooms, allowed=True)
        assert "hello" in json.dumps(await reply(far, 1))
        far.close()


async def test_a_secret_in_a_calls_arguments_is_not_shown_in_the_question(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        rooms.house.audit.redactor.add("notes/TOKEN", "hunter2hunter2")
        far = await opened(rooms)
        await far.say(call(1, text="it is hunter2hunter2"))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert "hunter2hunter2" not in repr(question)
        answer(rooms, allowed=False)
        await reply(far, 1)
        far.close()
    assert "hunter2hunter2" not in json.dumps(rooms.receipts())


async def test_a_tools_name_of_any_length_makes_a_short_sentence(tmp_path: Path) -> None:
    long = "w" * 5000
    view = replace(LEGACY, tools=(READ, {**READ, "name": long}))
    ask_all = OPEN + b'[[rule]]\nname = "ask"\neffect = "ask"\nreason = "why not"\nmethod = "tools/call"\n'
    async with housed(tmp_path, policy=ask_all, toy=lambda: ToyServer(view, echo)) as rooms:
        pin_server(rooms, catalog=Catalog({"legacy/full": view}))
        far = await opened(rooms)
        await far.say(request(1, "tools/call", name=long, arguments={}))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert len(question.what) < 300
        answer(rooms, allowed=False)
        await reply(far, 1)
        far.close()


@pytest.mark.parametrize(
    ("lifetime", "asked"), [("once", ["write", "write"]), ("session", ["write"]), ("always", ["write"])]
)
async def test_a_yes_lasts_as_long_as_it_was_given_for(tmp_path: Path, lifetime: Lifetime, asked: list[str]) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        questions = []
        for number in (1, 2):
            await far.say(call(number, text="hello"))
            await until(lambda: rooms.house.consent.open() or far.unheard)
            if rooms.house.consent.open():
                questions.append("write")
                answer(rooms, allowed=True, lifetime=lifetime)
            assert "hello" in json.dumps(await reply(far, number))
        assert questions == asked
        kept = [(grant.kind, grant.target, grant.lifetime) for grant in rooms.house.grants.all()]
        assert kept == ([] if lifetime == "once" else [("call", "write", lifetime)])
        far.close()
    recorded = [entry["kind"] for entry in rooms.receipts() if entry["kind"] == "grant"]
    assert recorded == ([] if lifetime == "once" else ["grant"])


async def test_a_yes_for_always_says_how_far_it_reaches_and_reaches_no_further(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        await far.say(call(1, text="hello"))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert question.reach == "whatever the arguments, as long as none of them says where the call goes"
        answer(rooms, allowed=True, lifetime="always")
        await reply(far, 1)
        (grant,) = rooms.house.grants.all()
        assert str(grant.reach) == question.reach
        far.close()
    (receipt,) = [entry for entry in rooms.receipts() if entry["kind"] == "grant"]
    assert receipt["body"]["reach"] == question.reach


async def test_a_lasting_yes_that_cannot_be_recorded_is_no_yes(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await until(lambda: rooms.house.consent.open())
        rooms.house.audit._failure = "the disk is full"
        answer(rooms, allowed=True, lifetime="always")
        assert await far.hear_all() == []
        assert (rooms.house.grants.all(), rooms.servers) == ((), [])
        rooms.house.audit._failure = ""
        far.close()


async def test_a_no_says_who_said_it(tmp_path: Path) -> None:
    async with housed(tmp_path, policy=ASKS) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await until(lambda: rooms.house.consent.open())
        answer(rooms, allowed=False)
        assert "denied by person (process 1)" in refusal_of(await reply(far, 1))
        far.close()


async def test_what_was_read_is_in_the_ledger_before_the_client_has_it_and_holds_an_effect_elsewhere(
    tmp_path: Path,
) -> None:
    async with housed(tmp_path) as rooms:
        pin_server(rooms, "time")
        far = await opened(rooms)
        await far.say(call(1, text="private words"))
        await until(lambda: far.unheard)
        session = rooms.sessions.all()[0].id
        assert [read.server for read in rooms.house.ledgers.view(session).reads] == ["notes"]
        _, other = rooms.enter("time")
        await other.say(INITIALIZE, INITIALIZED, call(1))
        await until(lambda: rooms.house.consent.open())
        (question,) = rooms.house.consent.open()
        assert (question.server, question.evidence[0]) == ("time", "sources: notes")
        assert rooms.spawned[1:] == []
        answer(rooms, allowed=False)
        await reply(other, 1)
        far.close()
        other.close()


async def test_a_read_that_cannot_be_noted_is_not_forwarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with housed(tmp_path) as rooms:

        def full(*_: object) -> None:
            raise ConfigError("what this session reads cannot be noted: No space left on device")

        far = await opened(rooms)
        monkeypatch.setattr(rooms.house.ledgers, "note", full)
        await far.say(call(1, text="private words"))
        assert "private words" not in json.dumps(await far.hear_all())
        await until(lambda: not rooms.sessions.links())
        far.close()
    closed = rooms.receipts()[-1]
    assert "cannot be noted" in closed["body"]["reason"]


# --- drift ----------------------------------------------------------------------------------------------------------


async def test_a_drifted_server_is_in_the_book_and_goes_on_once_a_person_agreed(tmp_path: Path) -> None:
    live = replace(LEGACY, tools=(*LEGACY.tools, {**READ, "name": "erase"}))
    async with housed(tmp_path, toy=lambda: ToyServer(live, echo)) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        assert only_link(rooms).state == "drift"
        drift = rooms.drifts.of("notes")
        assert drift is not None
        await far.say(request(2, "tools/call", name="erase", arguments={}))
        assert "erase" in json.dumps(await reply(far, 2))  # a refusal that names it
        assert not any(message.get("params", {}).get("name") == "erase" for message in rooms.servers[0].heard)
        agreed = rooms.drifts.accept("notes", drift.digest)
        only_link(rooms).drift_accepted(agreed)
        assert only_link(rooms).state == "running"
        await far.say(request(3, "tools/call", name="erase", arguments={"text": "now"}))
        assert "now" in json.dumps(await reply(far, 3))
        far.close()


# --- facts about it -------------------------------------------------------------------------------------------------


async def test_receipts_of_a_link_name_its_pin_and_the_tier_in_force(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        link = only_link(rooms)
        assert (link.origin.tier, link.pid, link.calls) == ("", 0, 0)
        await far.say(call(1))
        await reply(far, 1)
        assert (link.origin.tier, link.pid) == ("none", 4711)
        assert link.calls >= 1
        assert (link.origin.server, len(link.origin.pin)) == (ServerName("notes"), 64)
        rooms.servers[0].leave()
        await until(lambda: link.state == "ready")
        assert link.pid == 0
        far.close()
        await until(lambda: link.ended.done())
        assert link.state == "ended"


async def test_an_end_that_cannot_be_recorded_still_ends_everything(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far = await opened(rooms)
        await far.say(call(1))
        await reply(far, 1)
        rooms.house.audit._failure = "the disk is full"
        far.close()
        await until(lambda: not rooms.sessions.links())
        assert rooms.servers[0].stopped.is_set()
