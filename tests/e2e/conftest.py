"""Homes with a running daemon: a fresh one for a test, one with every toy server, and one with real servers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger, with_registries

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
