"""Two live sandboxes know nothing of each other, whether they belong to one server or to two."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.neighbours import ATTEMPTS

pytestmark = pytest.mark.sandbox

MODULE = "tests.sandbox.neighbours"
SMALL = {"processes": 64}

HELD_ANYWAY = frozenset(
    {
        # Machines differ: containers refuse keys and queues, and some systems let nobody trace what is not a child.
        *(
            "find a neighbour's key",
            "open a neighbour's message queue",
            "trace a neighbour",
            "read a neighbour's memory",
        ),
        "look through a neighbour's root",
    }
)


@pytest.fixture(scope="module", params=["one server", "two servers"])
def attacked(request: pytest.FixtureRequest, yard: Yard) -> dict[str, Any]:
    for name in ("inside", "neighbours"):
        text = (Path(__file__).parent / f"{name}.py").read_text()
        yard.file(f"code/tests/sandbox/{name}.py", text, mode=0o644)
    job: dict[str, Any] = {
        "argv": [PYTHON_INSIDE, "-m", MODULE],
        "code": [[str(yard.work / "code"), "/srv/code"]],
        "needed": {"PYTHONPATH": "/srv/code"},
        "limits": SMALL,
    }
    neighbour = {**job, "argv": [*job["argv"], "neighbour"]}
    attacker = {**job, "server": "toy" if request.param == "one server" else "other"}
    told = yard.ask({"beside": [neighbour, neighbour], "attacker": attacker})
    assert told["result"].get("code") == 0, told
    attempts = json.loads(told["result"]["out"])["attempts"]
    assert isinstance(attempts, dict)
    return {"attempts": attempts, "alive": told["alive"]}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_session_cannot(attacked: dict[str, Any], what: str) -> None:
    got_through, detail = attacked["attempts"][what]
    assert not got_through, detail


def test_the_neighbours_live_on(attacked: dict[str, Any]) -> None:
    assert attacked["alive"] == [True, True]


def test_without_sandboxes_the_same_attempts_get_through(user_yard: Yard) -> None:
    told = user_yard.ask({"bare_beside": MODULE})
    attempts = json.loads(told["result"]["out"])["attempts"]
    held = {what: detail for what, (through, detail) in attempts.items() if not through}
    assert {what: detail for what, detail in held.items() if what not in HELD_ANYWAY} == {}
