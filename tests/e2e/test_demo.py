"""The command of the README that everybody runs first."""

import json
from typing import Final

import pytest

from tests.fakes.home import Home

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


def test_the_demo_shows_every_step_and_leaves_no_daemon_behind(home: Home) -> None:
    done = home.bulkhead("demo", "--json", within=WITHIN)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert [step for step in report["steps"] if not step["ok"]] == []
    shown = "\n".join(step["step"] for step in report["steps"])
    assert [step for step in STEPS if step not in shown] == []
    assert not home.paths.control_socket.exists(), "the demo has a home of its own"


def test_the_demo_does_not_end_with_0_when_a_step_fails(home: Home) -> None:
    unreachable = {"npm_config_registry": NOWHERE, "npm_config_fetch_retries": "0"}
    cut_off = Home(home.paths, {**home.environment, **unreachable})
    done = cut_off.bulkhead("demo", "--json", within=WITHIN)
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [step["ok"] for step in report["steps"]][-1] is False
