"""One link carried: recorded before forwarded, one event at a time, and an end that leaves nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import pytest

from broker import inbox
from broker import relay as module
from broker.config import Waits
from broker.edges import Edges, Ending, Running
from broker.errors import AuditError, BulkheadError, SandboxError
from broker.inbox import MAX_QUEUED
from broker.model import Call, ClientName, Decision, Fact, JsonObject, ServerName, SessionId
from broker.protocol.catalog import Catalog, Change, View
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Read
from broker.protocol.events import Admitted
from broker.protocol.frames import MAX_FRAME
from broker.relay import Relay
from tests.peers import FarEnd, ToyServer, echo, wire
from tests.protocol.stage import (
    CATALOG,
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MAYBE,
    NO,
    READ,
    YES,
    call,
    notice,
    refusal_of,
    request,
)
from tests.waiting import WITHIN, open_descriptors, turns, until

QUICK: Final = Waits(launch=5.0, send=0.2, stop_stdin=0.2, stop_terminate=0.2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class World:
    """Everything around a relay, and what it was told, in order."""

    decide: Decision = YES
    catalog: Catalog = CATALOG
    server: Callable[[], ToyServer] = lambda: ToyServer(answer=echo)
    answer: Callable[[], Awaitable[Decision]] | None = None
    fail_record: int = -1
    admitted: bool = True
    waits: Waits = QUICK
    facts: list[Fact] = field(default_factory=list)
    unheard: list[tuple[int, int]] = field(default_factory=list)
    """At each record: bytes on their way to the client and to the server, which nobody has read yet."""
    reads: list[Read] = field(default_factory=list)
    drifts: list[tuple[Change, ...]] = field(default_factory=list)
    servers: list[ToyServer] = field(default_factory=list)
    asked: list[Call] = field(default_factory=list)
    given_up: list[Call] = field(default_factory=list)
    changes: int = 0

    def __post_init__(self) -> None:
        self.disk = asyncio.Event()
        self.disk.set()
        self.client: FarEnd
        self.relay: Relay
        self.run: asyncio.Task[Ending]

    def record(self, fact: Fact, turn: int = 0) -> None:
        if len(self.facts) == self.fail_record:
            raise AuditError("nothing can be recorded: the disk is full")
        self.facts.append(fact)
        self.unheard.append((self.client.unheard, self.servers[-1].far.unheard if self._running() else 0))

    def _running(self) -> bool:
        return bool(self.servers) and self.servers[-1].alive

    async def record_durably(self, fact: Fact, turn: int = 0) -> None:
        self.record(fact)
        await self.disk.wait()
        await asyncio.sleep(0)

    async def ask(self, asked: Call, decision: Decision) -> Decision:
        self.asked.append(asked)
        return await self.answer() if self.answer is not None else YES

    async def launch(self) -> Running:
        await asyncio.sleep(0)
        self.servers.append(self.server())
        return self.servers[-1]

    def changed(self) -> None:
        self.changes += 1

    def edges(self, **others: Any) -> Edges:
        mine: dict[str, Any] = {
            "record": self.record, "commit": lambda: None, "record_durably": self.record_durably, "ask": self.ask,
            "gave_up": self.given_up.append, "read": self.reads.append, "launch": self.launch,
            "drifted": lambda changes, live: self.drifts.append(changes), "changed": self.changed,
        }  # fmt: skip
        return Edges(**(mine | others))

    async def ended(self) -> Ending:
        async with asyncio.timeout(WITHIN):
            return await asyncio.shield(self.run)

    async def open(self) -> None:
        """Shake hands, as a client does."""
        await self.client.say(INITIALIZE, INITIALIZED)
        assert (await self.client.hear())["id"] == "open"

    def kinds(self) -> list[str]:
        return [fact.kind for fact in self.facts]


@asynccontextmanager
async def playing(world: World, **edges: Any) -> AsyncIterator[World]:
    """Run a link; at the end nothing may be left of it: no task, no descriptor, no server."""
    before, tasks = open_descriptors(), asyncio.all_tasks()
    descriptors, world.client = wire()
    conversation = Conversation(
        ClientName("desk"), ServerName("notes"), SessionId("s1"), world.catalog, lambda _: world.decide, world.admitted
    )
    world.relay = Relay(conversation, descriptors, world.edges(**edges), world.waits)
    world.run = asyncio.ensure_future(world.relay.run())
    try:
        yield world
    finally:
        world.disk.set()
        for server in world.servers:
            server.may_stop.set()
        world.relay.end("the test is over")
        async with asyncio.timeout(WITHIN):
            await asyncio.wait({world.run})
        world.client.close()
        for server in world.servers:
            assert server.stopped.is_set()
    await turns()
    assert asyncio.all_tasks() - tasks == set()
    await until(lambda: open_descriptors() == before)


# --- the main way ---------------------------------------------------------------------------------------------------


async def test_a_client_lists_and_calls_and_the_server_starts_only_for_the_call() -> None:
    async with playing(World()) as world:
        await world.open()
        await world.client.say(request(1, "tools/list"))
        tools = (await world.client.hear())["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["write", "read"]
        assert world.servers == []
        await world.client.say(call(2, text="hello"))
        answer = await world.client.hear()
        assert json.loads(answer["result"]["content"][0]["text"]) == {"text": "hello"}
        assert [message.get("method") for message in world.servers[0].heard].count("tools/call") == 1
        assert [read.target for read in world.reads] == ["write"]
        world.client.stop_talking()
        assert await world.ended() == Ending("the client closed the link", "client")


async def test_every_message_is_recorded_before_a_byte_of_it_is_on_the_wire() -> None:
    """Peers read nothing while a record is made, so whatever it is about would be seen in a pipe."""
    async with playing(World(server=lambda: ToyServer(answer=echo))) as world:
        await world.open()
        await world.client.say(call(2, text="hello"))
        await world.client.hear()
    told = [(fact.kind, fact.side, waiting) for fact, waiting in zip(world.facts, world.unheard, strict=True)]
    # the decision about the call, with nothing yet on its way to the server; its result, with nothing to the client
    assert {waiting for kind, _, waiting in told if kind == "decision"} == {(0, 0)}
    assert {waiting for kind, _, waiting in told if kind == "launch"} == {(0, 0)}
    assert [waiting for kind, side, waiting in told if kind == "result" and side == "server"] == [(0, 0)]


@pytest.mark.parametrize("number", range(14))
async def test_whatever_record_fails_the_link_ends_and_nothing_unrecorded_was_forwarded(number: int) -> None:
    async with playing(World(fail_record=number)) as world:
        await world.client.say(INITIALIZE, INITIALIZED, request(1, "tools/list"), call(2, text="hello"))
        world.client.stop_talking()
        ending = await world.ended()
        answers = await world.client.hear_all()
    recorded = {(fact.kind, fact.method) for fact in world.facts}
    if len(world.facts) == number and world.fail_record >= 0 and ending.blame != "client":
        assert ending == Ending("nothing can be recorded: the disk is full")
    for answer in answers:
        method = {"open": "initialize", 1: "tools/list", 2: "tools/call"}[answer["id"]]
        assert ("result", method) in recorded
    for server in world.servers:
        if any(message.get("method") == "tools/call" for message in server.heard):
            assert ("decision", "tools/call") in recorded
            assert any(fact.kind == "launch" for fact in world.facts)


async def test_unknown_fields_pass_and_the_judged_object_is_what_is_sent() -> None:
    async with playing(World()) as world:
        await world.open()
        strange = {**call(2, text="hello"), "vendorField": {"kept": [1, 1.0, None]}}
        await world.client.say_bytes(json.dumps(strange).replace(":", "  :  ").encode() + b"\n")
        await world.client.hear()
        sent = next(message for message in world.servers[0].heard if message.get("method") == "tools/call")
        assert sent["vendorField"] == {"kept": [1, 1.0, None]}


# --- durable records ------------------------------------------------------------------------------------------------


async def test_a_record_on_its_way_to_the_disk_delays_what_is_behind_it_and_keeps_the_order() -> None:
    async with playing(World()) as world:
        await world.open()
        world.disk.clear()
        await world.client.say(call(1, text="first"), request(2, "tools/list"), request(3, "ping"))
        await until(lambda: "launch" in world.kinds())
        await turns(20)
        assert (world.servers, world.client.unheard) == ([], 0)  # not even the answers that need nobody
        world.disk.set()
        answers = [await world.client.hear() for _ in range(3)]
    assert [answer["id"] for answer in answers] == [2, 3, 1]


async def test_the_order_of_what_a_client_said_is_kept_across_many_durable_records() -> None:
    async with playing(World(decide=NO)) as world:
        await world.open()
        await world.client.say(*(call(number) for number in range(100)))
        heard = [await world.client.hear() for _ in range(100)]
    assert [answer["id"] for answer in heard] == list(range(100))
    assert {refusal_of(answer) for answer in heard} == {refusal_of(heard[0])}
    assert world.servers == []


async def test_a_client_that_floods_a_slow_disk_is_left_in_its_pipe() -> None:
    async with playing(World(decide=NO)) as world:
        await world.open()
        world.disk.clear()
        flood = b"".join(json.dumps(call(number)).encode() + b"\n" for number in range(4 * MAX_QUEUED))
        talking = asyncio.ensure_future(world.client.say_bytes(flood))
        await until(lambda: len(world.relay._inbox) > MAX_QUEUED)
        await turns(50)
        assert len(world.relay._inbox) <= 2 * MAX_QUEUED + 1000
        world.disk.set()
        heard = [(await world.client.hear())["id"] for _ in range(4 * MAX_QUEUED)]
        await talking
    assert heard == list(range(4 * MAX_QUEUED))


async def test_large_messages_behind_a_slow_disk_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_QUEUED_BYTES", 300_000)
    async with playing(World(decide=NO)) as world:
        await world.open()
        world.disk.clear()
        calls = [call(number, text="x" * 100_000) for number in range(20)]
        talking = asyncio.ensure_future(world.client.say(*calls))
        await until(lambda: world.relay._inbox.bytes > 300_000)
        await turns(50)
        assert len(world.relay._inbox) < 6
        world.disk.set()
        heard = [(await world.client.hear())["id"] for _ in range(20)]
        await talking
    assert heard == list(range(20))
    assert world.relay._inbox.bytes == 0


async def test_a_server_that_ends_while_a_call_for_it_waits_for_the_disk_is_a_server_that_ended() -> None:
    """A person's yes is on the disk before its call goes on; the server may be gone by then."""
    async with playing(World()) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        world.decide = MAYBE
        world.disk.clear()
        await world.client.say(call(2))
        await until(lambda: "answer" in world.kinds())
        world.servers[0].leave()
        await until(lambda: world.relay._server.endpoint is None)
        world.disk.set()
        answer = await world.client.hear()
        assert answer["id"] == 2
        assert "notes ended" in json.dumps(answer)
        world.decide = YES
        await world.client.say(call(3, text="again"))
        assert json.loads((await world.client.hear())["result"]["content"][0]["text"]) == {"text": "again"}
    assert len(world.servers) == 2


# --- what goes wrong ------------------------------------------------------------------------------------------------


class Broken(Exception):
    """A mistake of ours."""


@pytest.mark.parametrize("edge", ["record", "record_durably", "read", "launch", "changed", "drifted"])
@pytest.mark.parametrize("problem", [Broken("secret text"), AuditError("nothing can be recorded")])
async def test_an_edge_that_fails_ends_this_link_and_shows_nothing_of_a_message(edge: str, problem: Exception) -> None:
    def fail(*_: object) -> None:
        raise problem

    async def fail_later(*_: object) -> None:
        await asyncio.sleep(0)
        raise problem

    later = edge in ("record_durably", "launch")
    live = replace(LEGACY, tools=(READ, {**READ, "name": "extra"}))
    world = World(server=lambda: ToyServer(live, answer=echo))
    async with playing(world, **{edge: fail_later if later else fail}):
        await world.client.say(INITIALIZE, INITIALIZED, call(1), request(2, "tools/call", name="read", arguments={}))
        if edge == "launch" and isinstance(problem, BulkheadError):
            assert (await world.client.hear())["id"] == "open"
            assert "nothing can be recorded" in json.dumps(await world.client.hear())
            return
        ending = await world.ended()
        heard = json.dumps(await world.client.hear_all())
    assert ending.blame == ""
    expected = "nothing can be recorded" if isinstance(problem, AuditError) else "inside the daemon: Broken"
    assert ending.reason == expected
    assert "secret text" not in heard
    if edge == "read":
        assert "content" not in heard  # a result that could not be noted was not forwarded


async def test_one_links_failure_is_nothing_to_another() -> None:
    async with playing(World()) as healthy:
        await healthy.open()
        async with playing(World(fail_record=3)) as sick:
            await sick.client.say(INITIALIZE, INITIALIZED, call(1))
            assert (await sick.ended()).reason == "nothing can be recorded: the disk is full"
        await healthy.client.say(call(1, text="still here"))
        assert "still here" in json.dumps(await healthy.client.hear())


async def test_a_launch_that_fails_tells_the_client_the_sentence_and_what_to_do() -> None:
    async def refuse() -> Running:
        raise SandboxError("the sandbox of notes could not be built", hint="bulkhead doctor")

    async with playing(World(), launch=refuse) as world:
        await world.open()
        await world.client.say(call(1))
        said = json.dumps(await world.client.hear())
        assert "the sandbox of notes could not be built; try: bulkhead doctor" in said
        await world.client.say(request(2, "tools/list"))
        assert (await world.client.hear())["id"] == 2  # the link lives on


async def test_garbage_of_a_client_is_answered_and_its_link_lives_on() -> None:
    async with playing(World()) as world:
        await world.open()
        await world.client.say_bytes(b'{"jsonrpc": "2.0", "id": 1, "id": 2}\n\xff\n' + b"[]\n")
        codes = [(await world.client.hear())["error"]["code"] for _ in range(3)]
        assert codes == [-32700, -32700, -32600]
        await world.client.say(request(4, "ping"))
        assert (await world.client.hear())["id"] == 4
    assert world.kinds().count("violation") == 3


async def test_a_server_that_closes_its_output_is_gone_and_whoever_waits_is_told() -> None:
    async with playing(World(server=lambda: ToyServer())) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.servers and any("call" in str(m.get("method")) for m in world.servers[0].heard))
        world.servers[0].far.stop_talking()
        answer = await world.client.hear()
        assert answer["id"] == 1
        assert "notes" in json.dumps(answer)
        await until(world.servers[0].stopped.is_set)
    assert "exit" in world.kinds()


async def test_a_server_that_closes_its_input_is_gone_too() -> None:
    async with playing(World(server=lambda: ToyServer())) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.servers and any("call" in str(m.get("method")) for m in world.servers[0].heard))
        world.servers[0]._work.cancel()  # type: ignore[union-attr]
        world.servers[0].far.stop_hearing()
        await world.client.say(call(2))
        assert {(await world.client.hear())["id"] for _ in range(2)} == {1, 2}
        await until(world.servers[0].stopped.is_set)


async def test_a_server_that_never_answers_its_opening_is_given_up_and_the_client_told() -> None:
    async with playing(World(server=lambda: ToyServer(serve=False))) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.relay._conversation.starting)
        now = asyncio.get_running_loop().time()
        world.relay.tick(now)
        assert world.servers[0].alive
        world.relay.tick(now + QUICK.launch + 1)
        assert "it did not answer its opening in time" in json.dumps(await world.client.hear())
        await until(world.servers[0].stopped.is_set)


async def test_a_server_that_says_its_lists_changed_and_then_says_nothing_is_given_up_too() -> None:
    silent = asyncio.Event()

    class Moody(ToyServer):
        async def _serve(self) -> None:
            while not silent.is_set():
                message = await self.far.hear(within=3600.0)
                self.heard.append(message)
                reply = self._stage.from_view(message) or echo(message)
                if reply is not None and not silent.is_set():  # it may have been listening when it fell silent
                    await self.far.say(reply)

    live = replace(LEGACY, opening={**(LEGACY.opening or {}), "capabilities": {"tools": {"listChanged": True}}})
    catalog = Catalog({"legacy/full": live})
    async with playing(World(catalog=catalog, server=lambda: Moody(live))) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        world.relay.tick(asyncio.get_running_loop().time())  # the opening is over, and so is its deadline
        silent.set()
        await world.servers[0].far.say(notice("notifications/tools/list_changed"))
        await until(lambda: world.relay._conversation.starting)
        await world.client.say(call(2))
        await until(lambda: world.relay._conversation.awaiting)
        now = asyncio.get_running_loop().time()
        world.relay.tick(now)
        world.relay.tick(now + QUICK.launch + 1)
        # The call was never sent, so a new server is started for it; that one is as silent.
        await until(lambda: len(world.servers) == 2 and world.relay._server.endpoint is not None)
        world.relay.tick(asyncio.get_running_loop().time() + QUICK.launch + 1)
        while (answer := await world.client.hear()).get("id") != 2:
            pass
        assert "in time" in json.dumps(answer)


# --- peers that do not read -----------------------------------------------------------------------------------------


def big(message: JsonObject) -> JsonObject | None:
    if message.get("method") != "tools/call":
        return None
    content = [{"type": "text", "text": "x" * 1_000_000}]
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": content}}


async def test_a_client_that_does_not_read_stops_its_server_and_both_go_on_when_it_does() -> None:
    async with playing(World(server=lambda: ToyServer(answer=big))) as world:
        await world.open()
        await world.client.say(*(call(number) for number in range(20)))
        await until(lambda: world.relay._client.congested)
        await turns(100)
        assert world.relay._client.waiting < 7_000_000
        ids = {(await world.client.hear())["id"] for _ in range(20)}
        assert ids == set(range(20))
        await world.client.say(call(99, text="and again"))
        assert (await world.client.hear())["id"] == 99


async def test_a_server_that_does_not_read_stops_its_client_and_a_new_server_lets_it_go_on() -> None:
    async with playing(World(server=lambda: ToyServer(answer=echo))) as world:
        await world.open()
        await world.client.say(call(0))
        await world.client.hear()
        world.servers[0]._work.cancel()  # type: ignore[union-attr]
        talking = asyncio.ensure_future(world.client.say(*(call(n, text="x" * 1_000_000) for n in range(1, 9))))
        await until(lambda: (end := world.relay._server.endpoint) is not None and end.congested)
        await turns(100)
        assert not talking.done()  # left in its pipe
        world.servers[0].leave()
        await talking
        answers = {(await world.client.hear())["id"] for _ in range(8)}
        assert answers == set(range(1, 9))
        await world.client.say(call(99))
        assert (await world.client.hear())["id"] == 99
    assert len(world.servers) == 2


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_peer_that_does_not_read_for_too_long_ends_the_link_by_name(side: str) -> None:
    async with playing(World(server=lambda: ToyServer(answer=big))) as world:
        await world.open()
        if side == "client":
            await world.client.say(call(1))
            await until(lambda: world.relay._client.waiting)
        else:
            await world.client.say(call(1))
            await until(lambda: world.servers and world.client.unheard)
            world.servers[0]._work.cancel()  # type: ignore[union-attr]
            await world.client.hear()
            await world.client.say(call(2, text="x" * 1_000_000))
            await until(lambda: (end := world.relay._server.endpoint) is not None and end.waiting)
        now = asyncio.get_running_loop().time()
        world.relay.tick(now)
        assert not world.run.done()
        world.relay.tick(now + QUICK.send + 1)
        assert await world.ended() == Ending(f"the {side} did not read for 0 s", side)


async def test_a_client_that_asks_and_never_reads_cannot_make_us_hoard_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lists are answered from the catalog: no server's silence stops this flood."""
    monkeypatch.setattr(module, "MAX_UNREAD", 3_000_000)
    tools = tuple({**READ, "name": f"t{number}", "description": "x" * 1000} for number in range(100))
    catalog = Catalog({"legacy/full": replace(LEGACY, tools=tools)})
    async with playing(World(catalog=catalog)) as world:
        await world.open()
        await world.client.say(*(request(number, "tools/list") for number in range(200)))
        assert await world.ended() == Ending("the client does not read what it is sent", "client")


# --- ends -----------------------------------------------------------------------------------------------------------


async def test_a_client_that_said_its_last_still_gets_every_byte_of_its_answers() -> None:
    """`printf ... | bulkhead connect notes | slow-reader`: the end of input is no end of interest."""
    tools = tuple({**READ, "name": f"t{number}", "description": "x" * 1000} for number in range(500))
    catalog = Catalog({"legacy/full": replace(LEGACY, tools=tools)})
    async with playing(World(catalog=catalog)) as world:
        await world.client.say(INITIALIZE, INITIALIZED, request(1, "tools/list"), request(2, "tools/list"))
        world.client.stop_talking()
        await turns(50)
        heard = await world.client.hear_all()
        assert await world.ended() == Ending("the client closed the link", "client")
    assert [message["id"] for message in heard] == ["open", 1, 2]
    assert len(heard[2]["result"]["tools"]) == 500


async def test_a_client_that_said_its_last_waits_for_its_call() -> None:
    async with playing(World()) as world:
        await world.client.say(INITIALIZE, INITIALIZED, call(1, text="bye"))
        world.client.stop_talking()
        heard = await world.client.hear_all()
        assert "bye" in json.dumps(heard)
        assert (await world.ended()).blame == "client"


async def test_a_client_that_is_gone_altogether_ends_the_link_whatever_it_waited_for() -> None:
    async with playing(World(server=lambda: ToyServer())) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.servers and any("call" in str(m.get("method")) for m in world.servers[0].heard))
        world.client.close()
        await turns(50)
        world.relay.tick(asyncio.get_running_loop().time())
        assert await world.ended() == Ending("the client closed the link", "client")


async def test_the_server_is_gone_when_the_link_is_even_if_it_was_stopping_already() -> None:
    """It closed its output and lives on; then the client leaves."""
    async with playing(World()) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        server = world.servers[0]
        server.may_stop.clear()
        server.far.stop_talking()
        await until(lambda: world.relay._server.endpoint is None)
        world.client.close()
        await turns(50)
        assert not world.run.done()  # it waits for the tree
        server.may_stop.set()
        await world.ended()
        assert server.stopped.is_set()


async def test_a_stop_that_fails_is_told() -> None:
    class Stubborn(ToyServer):
        async def stop(self) -> None:
            self.leave()
            raise SandboxError("notes (process 1) is still there 10 s after SIGKILL")

    async with playing(World(server=lambda: Stubborn(answer=echo))) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        world.servers[0].far.stop_talking()
        assert (await world.ended()).reason == "notes (process 1) is still there 10 s after SIGKILL"


async def test_cancelling_a_link_closes_both_sides_and_stops_the_server() -> None:
    async with playing(World()) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        world.run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await world.ended()
        assert await world.client.hear_all() == []
        assert world.servers[0].stopped.is_set()


async def test_a_link_ended_while_its_server_is_being_launched_leaves_no_server() -> None:
    hurry = asyncio.Event()
    world = World()

    async def slow() -> Running:
        await hurry.wait()
        return await world.launch()

    async with playing(world, launch=slow):
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.changes)
        world.relay.end("enough")
        hurry.set()
        assert await world.ended() == Ending("enough")
    assert world.servers == []


async def test_a_launch_that_cannot_be_stopped_in_time_is_stopped_after() -> None:
    """Whoever starts a server may finish although it was told not to."""
    world = World()

    async def deaf() -> Running:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await world.launch()
        raise AssertionError

    async with playing(world, launch=deaf):
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.changes)
        world.relay.end("enough")
        await world.ended()
        assert [server.stopped.is_set() for server in world.servers] == [True]


async def test_an_end_lets_a_reading_client_take_its_last_lines_and_waits_no_longer_for_one_that_does_not() -> None:
    tools = tuple({**READ, "name": f"t{number}", "description": "x" * 1000} for number in range(500))
    catalog = Catalog({"legacy/full": replace(LEGACY, tools=tools)})
    async with playing(World(catalog=catalog)) as world:
        await world.open()
        await world.client.say(request(1, "tools/list"))
        await until(lambda: world.relay._client.waiting)
        world.relay.end("you ended this session")
        assert [message["id"] for message in await world.client.hear_all()] == [1]
        await world.ended()
    async with playing(World(catalog=catalog)) as world:
        await world.open()
        await world.client.say(request(1, "tools/list"))
        await until(lambda: world.relay._client.waiting)
        began = asyncio.get_running_loop().time()
        world.relay.end("you ended this session")
        await world.ended()
        assert QUICK.stop_stdin <= asyncio.get_running_loop().time() - began < 5


async def test_the_first_reason_is_the_one_that_counts() -> None:
    async with playing(World()) as world:
        world.relay.end("first", "server")
        world.relay.end("second")
        assert await world.ended() == Ending("first", "server")


# --- questions ------------------------------------------------------------------------------------------------------


async def test_a_question_holds_its_call_only_and_its_answer_lets_it_go() -> None:
    answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    async with playing(World(decide=MAYBE, answer=lambda: answer)) as world:
        await world.open()
        await world.client.say(call(1, text="held"), request(2, "tools/list"))
        assert (await world.client.hear())["id"] == 2
        assert [asked.target for asked in world.asked] == ["write"]
        assert world.servers == []
        answer.set_result(YES)
        assert "held" in json.dumps(await world.client.hear())


async def test_a_question_nobody_could_be_asked_is_a_no() -> None:
    async def fail() -> Decision:
        raise AuditError("the answer could not be recorded")

    async with playing(World(decide=MAYBE, answer=fail)) as world:
        await world.open()
        await world.client.say(call(1))
        assert "the answer could not be recorded" in refusal_of(await world.client.hear())
    assert world.servers == []


async def test_a_question_that_breaks_ends_the_link_with_nothing_forwarded() -> None:
    async def fail() -> Decision:
        raise Broken

    async with playing(World(decide=MAYBE, answer=fail)) as world:
        await world.open()
        await world.client.say(call(1))
        assert (await world.ended()).reason == "inside the daemon: Broken"
    assert world.servers == []


async def test_a_late_yes_to_a_cancelled_call_sends_nothing() -> None:
    answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    async with playing(World(decide=MAYBE, answer=lambda: answer)) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.asked)
        await world.client.say(notice("notifications/cancelled", requestId=1))
        await until(lambda: world.given_up)
        assert world.relay._questions == {}
        answer.set_result(YES)
        await world.client.say(request(2, "ping"))
        while (await world.client.hear()).get("id") != 2:
            pass
    assert world.servers == []


async def test_a_waiting_client_that_asked_for_progress_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.02)
    answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    async with playing(World(decide=MAYBE, answer=lambda: answer)) as world:
        await world.open()
        held = call(1)
        held["params"]["_meta"] = {"progressToken": "p"}
        await world.client.say(held)
        steps = [await world.client.hear() for _ in range(2)]
        assert {step["method"] for step in steps} == {"notifications/progress"}
        assert {step["params"]["progressToken"] for step in steps} == {"p"}
        answer.set_result(NO)
        while True:
            last = await world.client.hear()
            if last.get("id") == 1:
                break
        assert refusal_of(last)


async def test_questions_open_at_the_end_are_withdrawn() -> None:
    cancelled = asyncio.Event()

    async def wait() -> Decision:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return YES

    async with playing(World(decide=MAYBE, answer=wait)) as world:
        await world.open()
        await world.client.say(call(1))
        await until(lambda: world.asked)
        world.relay.end("bulkhead is stopping")
        await world.ended()
        assert cancelled.is_set()


async def test_a_link_that_is_ended_answers_the_calls_that_wait_for_its_server() -> None:
    async with playing(World(server=lambda: ToyServer())) as world:  # it answers no call
        await world.open()
        await world.client.say(call(1))
        await until(lambda: any(m.get("method") == "tools/call" for each in world.servers for m in each.heard))
        world.relay.end("bulkhead is stopping")
        heard = await world.client.hear_all()
        assert [message["id"] for message in heard] == [1]
        assert "bulkhead is stopping" in heard[0]["error"]["message"]
        await world.ended()
        assert world.kinds()[-1] == "result"


async def test_an_answer_longer_than_a_line_may_be_is_an_error_and_the_link_goes_on() -> None:
    def answer(message: JsonObject) -> JsonObject | None:
        reply = echo(message)
        if reply is not None and message["id"] == 1:
            reply["result"]["content"][0]["text"] = "x" * (MAX_FRAME + 1)
        return reply

    async with playing(World(server=lambda: ToyServer(answer=answer))) as world:
        await world.open()
        await world.client.say(call(1))
        said = (await world.client.hear())["error"]["message"]
        assert f"notes sent a line longer than the limit of {MAX_FRAME} bytes" in said
        await world.client.say(call(2))
        assert (await world.client.hear())["id"] == 2


# --- admission and drift --------------------------------------------------------------------------------------------


async def test_nothing_is_answered_before_somebody_admits_the_client_but_a_ping() -> None:
    async with playing(World(admitted=False)) as world:
        await world.client.say(INITIALIZE, request(7, "ping"))
        assert (await world.client.hear())["id"] == 7
        assert world.client.unheard == 0
        world.relay.feed(Admitted(True))
        assert (await world.client.hear())["id"] == "open"


async def test_a_drifted_server_is_told_and_what_is_new_is_held() -> None:
    live: View = replace(LEGACY, tools=(*LEGACY.tools, {**READ, "name": "erase"}))
    async with playing(World(server=lambda: ToyServer(live, answer=echo))) as world:
        await world.open()
        await world.client.say(call(1))
        await world.client.hear()
        assert world.drifts == [(Change("added", "tool", "erase"),)]
        await world.client.say(request(2, "tools/call", name="erase", arguments={}))
        while (answer := await world.client.hear()).get("id") != 2:
            pass
        assert "content" not in json.dumps(answer.get("result", {}).get("structuredContent", {}))
    assert not [message for message in world.servers[0].heard if message.get("params", {}).get("name") == "erase"]


async def test_a_flood_on_one_link_leaves_the_loop_to_others_between_a_few_messages() -> None:
    """All of it lies in the pipe and is read at once; what is asked of the loop meanwhile has its turn in between."""
    async with playing(World()) as world:
        await world.open()
        begun, seen = len(world.facts), list[int]()
        pings = [{"jsonrpc": "2.0", "id": f"p{number}", "method": "ping"} for number in range(20)]
        await world.client.say_bytes(b"".join(json.dumps(ping).encode() + b"\n" for ping in pings))
        async with asyncio.timeout(WITHIN):
            while not seen or seen[-1] < 2 * len(pings):  # each is recorded, and so is its answer
                await asyncio.sleep(0)
                seen.append(len(world.facts) - begun)
        assert max(after - before for before, after in pairwise([0, *seen])) <= len(pings)
        heard = [await world.client.hear() for _ in pings]
        assert [answer["id"] for answer in heard] == [ping["id"] for ping in pings]
