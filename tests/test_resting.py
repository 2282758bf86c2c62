"""Servers that nobody uses: which are stopped, that nobody notices, and that the others go on."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.links import Link
from broker.model import JsonObject, LinkId
from broker.resting import LEAST_SECONDS, STATELESS_SECONDS, Unused, stopped_after, stopping
from broker.rounds import let_rest
from tests.house import Rooms, housed
from tests.peers import FarEnd, ToyServer, echo
from tests.protocol.stage import INITIALIZE, INITIALIZED, call
from tests.waiting import until

HOUR = 3600.0
ROOM = 1 << 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- which ----------------------------------------------------------------------------------------------------------

some = st.builds(
    Unused,
    st.uuids().map(lambda name: LinkId(name.hex)),
    st.floats(0, HOUR),
    st.floats(1, HOUR),
    st.integers(0, 1 << 30),
)


@given(st.lists(some, max_size=8), st.integers(0, 1 << 33), st.integers(0, 1 << 33))
def test_no_more_are_stopped_than_time_or_memory_demand_and_those_unused_longest_first(
    unused: list[Unused], together: int, budget: int
) -> None:
    found = stopping(unused, together, budget)
    late = {one.link for one in unused if one.seconds >= one.after}
    early = [one for one in unused if one.link in found and one.link not in late]
    kept = [one for one in unused if one.link not in found and one.seconds >= LEAST_SECONDS and one.memory]
    assert late <= set(found)
    assert all(one.seconds >= LEAST_SECONDS for one in early)
    assert all(gone.seconds >= stays.seconds for gone in early for stays in kept)
    left = together - sum(one.memory for one in unused if one.link in found)
    assert left <= budget or not kept
    if early:  # without the last of them it would still have been too much
        assert left + sorted(early, key=lambda one: -one.seconds)[-1].memory > budget


def test_a_person_decides_before_a_label_and_without_either_a_server_is_kept() -> None:
    assert [stopped_after(60, True), stopped_after(60, False)] == [60, 60]
    assert [stopped_after(0, True), stopped_after(0, False)] == [STATELESS_SECONDS, 0]


# --- what happens ---------------------------------------------------------------------------------------------------


async def opened(rooms: Rooms, idle: int) -> tuple[FarEnd, Link]:
    server = rooms.registry.server("notes")
    grants = replace(server.grants, limits=replace(server.grants.limits, idle=idle))
    rooms.registry.put_server(replace(server, grants=grants))
    _, far = rooms.enter()
    await far.say(INITIALIZE, INITIALIZED)
    await far.hear()
    (link,) = rooms.sessions.links()
    return far, link


def later(rooms: Rooms, seconds: float) -> None:
    """The clock strikes, and then strikes again."""
    now = asyncio.get_running_loop().time()
    for link in rooms.sessions.links():
        link.tick(now)
    let_rest(rooms.sessions, now + seconds, 0, ROOM)


@pytest.mark.claim("C70")
async def test_an_unused_server_is_stopped_and_the_next_call_starts_it_again(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far, link = await opened(rooms, idle=60)
        await far.say(call(1))
        assert (await far.hear())["id"] == 1
        later(rooms, 59)
        assert link.state == "running"
        later(rooms, 61)
        await until(lambda: link.state == "ready")
        await far.say(call(2))
        answer = await far.hear()
        assert answer["id"] == 2 and "result" in answer  # and nothing was said in between
        assert len(rooms.spawned) == 2
        far.close()
    exits = [entry for entry in rooms.receipts() if entry["kind"] == "exit"]
    assert "it was not used for 60 s; it starts again when it is needed" in json.dumps(exits)


async def test_a_server_that_nobody_says_may_be_stopped_is_kept(tmp_path: Path) -> None:
    async with housed(tmp_path) as rooms:
        far, link = await opened(rooms, idle=0)
        await far.say(call(1))
        await far.hear()
        later(rooms, HOUR)
        assert (link.state, len(rooms.spawned)) == ("running", 1)
        far.close()


async def test_a_server_that_somebody_waits_for_is_not_unused(tmp_path: Path) -> None:
    def slow(message: JsonObject) -> JsonObject | None:
        return None if message.get("method") == "tools/call" else echo(message)

    async with housed(tmp_path, toy=lambda: ToyServer(answer=slow)) as rooms:
        far, link = await opened(rooms, idle=60)
        await far.say(call(1))
        await until(lambda: link.state == "running")
        await until(lambda: link.calls > 0)
        later(rooms, HOUR)
        assert (link.state, len(rooms.spawned)) == ("running", 1)
        far.close()
