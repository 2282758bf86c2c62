"""More servers people use, unchanged in their boxes: one that keeps a file, and one that runs git."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import ADD_WITHIN
from tests.e2e.running import Running, home_of_a_stranger, with_registries

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]


@pytest.fixture(scope="module")
def shelf() -> Iterator[Running]:
    """A home with `memory`, which keeps its graph in its own home, and `git` over one repository."""
    with home_of_a_stranger() as made:
        with_registries(made.user)
        made.up()
        place = repository(made)
        given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(place)}
        options = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        lines: dict[str, list[str | Path]] = {
            "memory": ["--env", "MEMORY_FILE_PATH=/home/mcp/memory.json", "--", "npx", "-y",
                       "@modelcontextprotocol/server-memory"],
            "git": ["--read", place, *options, "--", "uvx", "mcp-server-git", "--repository", place],
        }  # fmt: skip

        def add(name: str) -> None:
            done = made.bulkhead("add", name, "--yes", *lines[name], within=ADD_WITHIN)
            assert done.returncode == 0, done.stderr

        with ThreadPoolExecutor(len(lines)) as pool:
            list(pool.map(add, lines))
        assert made.bulkhead("policy", "use", "observe").returncode == 0
        for name in lines:
            made.desk.connect("local", name)
        yield made


def repository(home: Running) -> Path:
    folder = home.user / "repository"
    if not folder.exists():
        folder.mkdir()
        quiet = {**os.environ, "HOME": str(home.user), "GIT_CONFIG_NOSYSTEM": "1"}
        name = ["-c", "user.email=someone@example.com", "-c", "user.name=someone"]
        for words in (["init", "-q", "."], [*name, "commit", "-q", "--allow-empty", "-m", "the first of all"]):
            subprocess.run(["git", *words], cwd=folder, env=quiet, check=True, timeout=60)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True, timeout=60)
    return folder


def test_a_server_that_remembers_writes_into_its_own_home(shelf: Running) -> None:
    someone = {"name": "harbour", "entityType": "place", "observations": ["it is deep"]}
    with shelf.connect("memory") as client:
        client.open()
        client.call_text("create_entities", {"entities": [someone]})
        assert "it is deep" in client.call_text("read_graph", {})


def test_what_it_remembers_outlives_its_link_as_its_label_says(shelf: Running) -> None:
    pier = {"name": "pier", "entityType": "place", "observations": ["it is long"]}
    with shelf.connect("memory") as client:
        client.open()
        client.call_text("create_entities", {"entities": [pier]})
    with shelf.connect("memory") as client:
        client.open()
        assert "it is long" in client.call_text("read_graph", {})
    (kept,) = json.loads(shelf.bulkhead("state", "list", "--json").stdout)
    assert (kept["server"], kept["key"]) == ("memory", "server") and kept["size"] > 0


def test_a_server_runs_git_in_the_repository_it_was_granted(shelf: Running) -> None:
    place = str(repository(shelf))
    with shelf.connect("git") as client:
        client.open()
        assert "the first of all" in client.call_text("git_log", {"repo_path": place})
        assert "/etc" not in client.call_text("git_status", {"repo_path": place})
