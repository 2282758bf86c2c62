"""Homes with a running daemon: a fresh one for a test, one with every toy server, and one with real servers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from broker.api.schema import ServerView
from tests.e2e.desk import Desk
from tests.e2e.running import Running, home_of_a_stranger, with_registries
from tests.fakes.raw_client import RawClient

ADD_WITHIN: Final = 300.0  # a cold cache and a slow line
FILE: Final = "plan.txt"
TEXT: Final = "the meeting is on thursday\n"


@pytest.fixture
def asleep() -> Iterator[Running]:
    """A fresh home whose daemon does not run yet."""
    with home_of_a_stranger() as made:
        yield made


@pytest.fixture
def home(asleep: Running) -> Running:
    """A fresh home with a running daemon."""
    asleep.up()
    return asleep


@pytest.fixture
def desk(home: Running) -> Desk:
    return home.desk


@pytest.fixture
def add(home: Running) -> Callable[..., ServerView]:
    return home.add


@pytest.fixture
def connect(home: Running) -> Callable[..., RawClient]:
    return home.connect


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
