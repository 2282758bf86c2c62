"""Boxes at the desk: limits, what is kept, and taking a server out; each is a person's choice and on record."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.api import schema
from broker.boxes import carried_over, rechosen
from broker.errors import ConfigError, DeskError, SandboxError
from broker.model import Grants, Injection, Inspection, Limits
from broker.sandbox.state import StateRooms
from tests.api.test_routes import Office, _started, office
from tests.house import ME


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def only(at: Office) -> str:
    return at.rooms.house.registry.servers()[0].name


async def test_what_is_chosen_is_shown_kept_and_recorded_and_the_rest_stays(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        name = only(at)
        await at.ask(schema.SANDBOX_SET, name=name, limits={"memory": "64M"})
        chosen = await at.ask(schema.SANDBOX_SET, name=name, state="session")
        assert (chosen.boxed, chosen.state, chosen.limits["memory"]) == (True, "session", "64M")
        assert chosen == await at.ask(schema.SANDBOX, name=name)
        assert at.receipts("grant") == [("server.sandbox", name)] * 2
        outside = await at.ask(schema.SANDBOX_SET, name=name, boxed=False)
        assert (outside.boxed, outside.tier, outside.state) == (False, "off", "session")


@pytest.mark.parametrize(
    ("choice", "said"), [({"limits": {"memory": "1"}}, "memory cannot be 1"), ({"limits": {"wings": "2"}}, "no limit")]
)
async def test_a_choice_that_makes_no_sense_changes_nothing_and_is_not_recorded(
    tmp_path: Path, choice: dict[str, Any], said: str
) -> None:
    async with office(tmp_path) as at:
        before = await at.ask(schema.SANDBOX, name=only(at))
        with pytest.raises(ConfigError, match=said):
            await at.ask(schema.SANDBOX_SET, name=only(at), **choice)
        assert await at.ask(schema.SANDBOX, name=only(at)) == before
        assert at.receipts("grant") == []


async def test_a_clients_child_neither_loosens_a_box_nor_clears_what_is_kept_but_may_look(tmp_path: Path) -> None:
    async with office(tmp_path, "required") as at:
        child = replace(ME, root_pid=os.getppid())
        at.rooms.sessions._applications.add({(os.getpid(), _started())})
        for route in (schema.SANDBOX_SET, schema.STATE_CLEAR):
            with pytest.raises(DeskError, match="only a person may do this"):
                at.handlers.gate(child, route)
        for route in (schema.SANDBOX, schema.STATES):
            at.handlers.gate(child, route)


async def test_what_is_kept_is_listed_and_cleared_but_not_under_a_link_that_uses_it(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        assert (await at.ask(schema.STATES)).states == []
        rooms, server = StateRooms(at.rooms.paths.server_state), at.rooms.house.registry.servers()[0].name
        taken = await rooms.take(server)
        await asyncio.to_thread((taken.folder / "memory.json").write_bytes, b"x" * 5000)
        (kept,) = (await at.ask(schema.STATES)).states
        assert (kept.server, kept.key, kept.in_use) == (server, "server", True) and kept.size >= 5000
        with pytest.raises(SandboxError, match="in use by a link"):
            await at.ask(schema.STATE_CLEAR, name=server)
        taken.release()
        await at.ask(schema.STATE_CLEAR, name=server)
        assert (await at.ask(schema.STATES)).states == []
        assert at.receipts("grant") == [("state.clear", server)]


def test_a_server_that_is_pinned_anew_keeps_what_was_chosen_for_its_name() -> None:
    looked_into = Inspection(("GET a.example/*",), (Injection("T", "Authorization", "a.example", ("GET",), "/"),))
    known = Grants(limits=Limits(memory=1 << 26), state="server", boxed=False, inspection=looked_into)
    again = carried_over(Grants(read=(Path("/srv/x"),), unix_sockets=True), known)
    assert again == replace(known, read=(Path("/srv/x"),), unix_sockets=True)
    assert rechosen(again, {"processes": "64"}, "none") == replace(
        again, limits=Limits(memory=1 << 26, processes=64), state="none"
    )
