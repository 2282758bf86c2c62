"""What a server keeps: one folder, one writer at a time, never more than its limit, gone when it is cleared."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from broker.errors import SandboxError
from broker.model import ServerName
from broker.sandbox.state import StateRooms
from tests.sandbox.conftest import PYTHON_INSIDE, Yard

NOTES = ServerName("notes")


def test_a_folder_has_one_writer_at_a_time_and_the_second_is_told_who_to_end(tmp_path: Path) -> None:
    async def play() -> None:
        rooms = StateRooms(tmp_path / "state")
        first = await rooms.take(NOTES)
        with pytest.raises(SandboxError, match="in use by another link") as refused:
            await rooms.take(NOTES, wait=0.2)
        assert "bulkhead state use notes session" in refused.value.hint
        with pytest.raises(SandboxError, match="in use by a link"):
            rooms.clear("notes")
        other = await rooms.take(NOTES, "a-session", wait=0)
        assert other.folder != first.folder
        waiting = asyncio.create_task(rooms.take(NOTES, wait=60))
        await asyncio.sleep(0)
        first.release()
        first.release()
        second = await waiting
        assert second.folder == first.folder
        other.release()
        second.release()

    asyncio.run(play())


def test_state_is_the_owners_alone_is_listed_and_can_be_cleared(tmp_path: Path) -> None:
    async def play() -> None:
        rooms = StateRooms(tmp_path / "state")
        taken = await rooms.take(NOTES)
        (taken.folder / "graph.json").write_text("x" * 5000)
        assert taken.folder.stat().st_mode & 0o777 == 0o700 and taken.folder.parent.stat().st_mode & 0o777 == 0o700
        (kept,) = rooms.list()
        assert (kept.server, kept.key, kept.in_use) == ("notes", "server", True) and kept.size >= 5000
        taken.release()
        assert [one.in_use for one in rooms.list()] == [False]
        await rooms.remove(NOTES)
        assert rooms.list() == [] and not taken.folder.exists()
        assert rooms.clear("notes") == 0

    asyncio.run(play())


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    room = tmp_path / "state/notes"
    room.mkdir(parents=True)
    (room / "server.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SandboxError, match="cannot be kept"):
        asyncio.run(StateRooms(tmp_path / "state").take(NOTES))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.sandbox
def test_what_one_run_keeps_the_next_one_finds_and_nobody_else_sees(yard: Yard) -> None:
    state = yard.folder("state/one", 0o700)
    other = yard.folder("state/two", 0o700)
    jobs = [
        {
            "argv": ["/bin/sh", "-c", "mkdir -p ~/deep && echo kept > ~/deep/x && chmod 600 ~/deep/x"],
            "state": str(state),
        },
        {"argv": ["/bin/sh", "-c", "cat ~/deep/x && echo more >> ~/deep/x && cat ~/deep/x"], "state": str(state)},
        {"argv": ["/bin/sh", "-c", f"ls ~; ls {state}"], "state": str(other)},
        {"argv": ["/bin/ls", "/home/mcp"]},
    ]
    wrote, read, apart, without = yard.ask({"jobs": jobs})["results"]
    assert wrote.get("code") == 0, wrote
    assert (read["code"], read["out"]) == (0, "kept\nkept\nmore\n"), read
    assert (apart["out"], without["out"]) == ("", "")
    assert os.stat(state / "deep/x").st_size == len("kept\nmore\n")


@pytest.mark.sandbox
def test_a_server_that_keeps_too_much_is_ended_with_a_sentence(yard: Yard) -> None:
    state = yard.folder("state/full", 0o700)
    hog = (
        "import os, time\n"
        "for n in range(6):\n"
        "    with open(os.path.expanduser(f'~/{n}'), 'wb') as f: f.write(os.urandom(1 << 20))\n"
        "time.sleep(600)"
    )
    result = yard.run([PYTHON_INSIDE, "-c", hog], state=str(state), limits={"state_size": 4 << 20})
    assert "bulkhead limits toy --state-size 8M" in result["ending"], result
    shutil.rmtree(state)


@pytest.mark.sandbox
def test_a_state_folder_that_became_a_link_is_refused(yard: Yard) -> None:
    secret = yard.folder("secrets", 0o700)
    state = yard.work / "state-link"
    state.symlink_to(secret)
    assert "cannot be shown" in yard.run(["/bin/true"], state=str(state))["error"]
