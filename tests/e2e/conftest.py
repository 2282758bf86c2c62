"""Homes with a running daemon: a fresh one for a test, one with every toy server, and one with real servers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger, with_registries
from tests.fakes.raw_client import RawClient

ADD_WITHIN: Final = 300.0  # a cold cache and a slow line
FILE: Final = "plan.txt"
TEXT: Final = "the meeting is on thursday\n"


@pytest.fixture
def resting() -> Iterator[Running]:
    """A fresh home whose daemon does not run yet."""
    with home_of_a_stranger() as made:
        yield made


@pytest.fixture
def running(resting: Running) -> Running:
    """A fresh home with a running daemon."""
    resting.up()
    return resting


@pytest.fixture(scope="session")
def real() -> Iterator[Running]:
    """A home with real servers, pinned once: `files` over one folder, `everything`, and `time`."""
    with home_of_a_stranger() as made:
        with_registries(made.user)
        made.up()
        lines: dict[str, list[str | Path]] = {
            "files": ["npx", "-y", "@modelcontextprotocol/server-filesystem", documents(made)],
            "everything": ["npx", "-y", "@modelcontextprotocol/server-everything"],
            "time": ["uvx", "mcp-server-time", "--local-timezone", "UTC"],
        }

        def add(name: str) -> None:
            done = made.bulkhead("add", name, "--yes", "--", *lines[name], within=ADD_WITHIN)
            assert done.returncode == 0, done.stderr

        with ThreadPoolExecutor(len(lines)) as pool:
            list(pool.map(add, lines))
        yield made


def documents(home: Running) -> Path:
    """The one folder that the real file server was granted."""
    folder = home.user / "documents"
    if not folder.exists():
        folder.mkdir()
        (folder / FILE).write_text(TEXT)
    return folder


@dataclass(frozen=True, slots=True)
class Begun:
    """Conversations that wait for something that never comes."""

    home: Running
    deaf: RawClient
    mute: RawClient
    mute_call: int
    asker: str
    asking: RawClient
    asking_call: int
    question: str


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest) -> Iterator[Begun | None]:
    """Everything that takes long, begun before the first test if one of them asks for it."""
    if not any(item.path.name == "test_waits.py" for item in request.session.items):
        yield None
        return
    with home_of_a_stranger() as home, ExitStack() as stack:
        home.up()
        for name in ("honest", "post"):
            home.add_toy("honest", name=name)
        home.add_toy("closes_stdin", name="deaf")
        marks = home.user / "marks"
        marks.mkdir()
        home.add_toy("silent", "--at", "initialize", "--when", str(marks / "now"), name="mute", read=[marks])
        (marks / "now").touch()

        def opened(server: str, client: str) -> RawClient:
            link = stack.enter_context(home.connect(server, client))
            link.open()
            return link

        asker = home.newcomer("honest", "post")
        reading, asking = opened("honest", asker), opened("post", asker)
        assert reading.call_text("echo", {"text": "something"}) == "something"
        asking_call = asking.start_request("tools/call", {"name": "echo", "arguments": {"text": "somewhere else"}})
        question = home.desk.question(server="post").id
        deaf, mute = opened("deaf", home.newcomer("deaf")), opened("mute", home.newcomer("mute"))
        for arguments in ({}, {"more": "x" * (1 << 20)}):
            deaf.start_request("tools/call", {"name": "go", "arguments": arguments})
        mute_call = mute.start_request("tools/call", {"name": "go", "arguments": {}})
        yield Begun(home, deaf, mute, mute_call, asker, asking, asking_call, question)
