"""The command of the README that everybody runs first."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.home import Home, throwaway_home

pytestmark = [pytest.mark.sandbox, pytest.mark.registry, pytest.mark.claim("C01")]

WITHIN: Final = 300.0  # two closures from the registries on a slow line
NOWHERE: Final = "http://127.0.0.1:9/"  # the discard port: nobody answers there

STEPS: Final = (
    "npx -y @modelcontextprotocol/server-filesystem",
    "uvx mcp-server-time",
    "a call is allowed",
    "a file outside the grant is not there",
    "a connection is not possible",
    "an effect after reading from another server is held",
    "everything is on record, and the chain is whole",
)


@pytest.fixture
def outside() -> Iterator[Home]:
    """Where a person types `bulkhead demo`: no daemon runs, and temporary files have a folder of their own."""
    with throwaway_home() as made:
        temporary = made.paths.home / "tmp"
        temporary.mkdir()
        yield Home(made.paths, {**made.environment, "TMPDIR": str(temporary)})


def demonstrated(home: Home) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of the demo."""
    done = home.bulkhead("demo", "--json", within=WITHIN)
    report = json.loads(done.stdout)
    assert isinstance(report, dict), done.stderr
    return done.returncode, report


def left_behind(home: Home) -> tuple[list[str], list[bytes]]:
    """Files in the temporary folder, and command lines of processes that name it."""
    temporary = home.environment["TMPDIR"]
    running: list[bytes] = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may end while we look
            running.append(command.read_bytes())
    return os.listdir(temporary), [line for line in running if temporary.encode() in line]


def test_the_demo_shows_every_step_and_leaves_nothing_behind(outside: Home) -> None:
    code, report = demonstrated(outside)
    assert [step for step in report["steps"] if not step["ok"]] == []
    assert (code, report["ok"]) == (0, True)
    shown = "\n".join(step["step"] for step in report["steps"])
    assert [step for step in STEPS if step not in shown] == []
    assert left_behind(outside) == ([], [])


def test_the_demo_does_not_end_with_0_when_a_step_fails(outside: Home) -> None:
    unreachable = {"npm_config_registry": NOWHERE, "npm_config_fetch_retries": "0"}
    code, report = demonstrated(Home(outside.paths, {**outside.environment, **unreachable}))
    assert (code, report["ok"]) == (1, False)
    assert "npm" in report["steps"][-1]["saw"] or NOWHERE in report["steps"][-1]["saw"], report["steps"][-1]
    assert left_behind(outside) == ([], [])
