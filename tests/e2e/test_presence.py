"""A yes comes from a person: from nobody that descends from a client of Bulkhead, and from nobody without a terminal.

These homes are not marked as throw-away, so that a person is really asked for.
"""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from broker.model import JsonObject
from tests.e2e.applications import Application, NamedPipe, on_a_terminal
from tests.e2e.running import Running, home_of_a_stranger, toy_line
from tests.fakes.raw_client import LEGACY

pytestmark = [pytest.mark.sandbox, pytest.mark.claim("C33")]

WITHIN: Final = 30.0
OPENING: Final[JsonObject] = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "app", "version": "1"},
}
HOLD: Final = """
exec 3<&0
"$@" <&3 3<&- &
read -r wish < "$GO"
sh -c "$wish" > "$SAID" 2>&1
echo "exit: $?" > "$SAID"
wait
"""
"""Launch the shim, then do what somebody writes into a pipe: a client whose model found a shell."""


@pytest.fixture
def guarded() -> Iterator[Running]:
    """A home in which a person is needed, with one server that a person on a terminal added."""
    with home_of_a_stranger(marked=False) as home:
        home.up()
        assert home.desk.status().presence == "required"
        added = typed(home, "add", "honest", "--yes", "--", *toy_line("honest"))
        assert added.returncode == 0, added.stdout
        yield home


def typed(home: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command as a person gives it: on a terminal, by nobody's child."""
    return run(home, on_a_terminal(home.home.argv(*arguments)))


def run(home: Running, argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Without the terminal this test may have been started from."""
    return subprocess.run(
        argv,
        env=dict(home.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def test_a_client_with_a_shell_cannot_answer_its_own_question_but_a_person_can(
    guarded: Running, tmp_path: Path
) -> None:
    application = Application(tmp_path, "clever-app")
    with NamedPipe(tmp_path / "go") as go, NamedPipe(tmp_path / "said") as said:
        environment = {**guarded.environment, "GO": str(go.path), "SAID": str(said.path)}
        with application.run(HOLD, *guarded.shim("honest", "local"), environment=environment) as link:
            opening = link.start_request("initialize", OPENING)
            question = guarded.desk.question(server="honest")
            approve = on_a_terminal(guarded.home.argv("approve", question.id))
            go.say(shlex.join(approve))
            answer = said.hear("exit: ")
            assert "only a person may do this" in answer
            assert "the call came from inside clever-app, which is a client of Bulkhead" in answer
            assert answer.splitlines()[-1] == "exit: 1"
            assert [open.id for open in guarded.desk.pending()] == [question.id]
            violation = guarded.desk.receipts(kind="violation")[-1]
            assert (violation["method"], violation["target"]) == ("presence", "approve")

            person = run(guarded, approve)
            assert person.returncode == 0, person.stdout
            assert "instructions" in link.answer_to(opening)["result"]


def test_nothing_is_loosened_without_a_terminal_and_saying_no_needs_none(guarded: Running, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(guarded.bulkhead("policy", "show", "observe").stdout)
    with Application(tmp_path, "patient-app").connect(guarded, "honest", "local") as link:
        opening = link.start_request("initialize", OPENING)
        question = guarded.desk.question(server="honest")
        for line in (
            ["approve", question.id],
            ["add", "second", "--yes", "--", *toy_line("honest")],
            ["pin", "honest", "--update", "--yes"],
            ["grant", "honest", "--read", str(tmp_path)],
            ["client", "add", "another"],
            ["enable", "honest"],
            ["policy", "use", str(policy)],
        ):
            refused = run(guarded, guarded.home.argv(*line))
            assert refused.returncode == 1, (line, refused.stdout)
            assert "only a person may do this, and the call came from a process without a terminal" in refused.stdout
            assert "try: type it yourself in a terminal" in refused.stdout
        assert guarded.desk.status().servers == 1
        assert guarded.desk.status().policy == "balanced"
        assert run(guarded, guarded.home.argv("deny", question.id)).returncode == 0
        assert "instructions" not in link.answer_to(opening)["result"]


def test_looking_and_tightening_need_no_person(guarded: Running) -> None:
    for line in (["status"], ["pending"], ["servers"], ["audit", "tail"], ["verify"], ["disable", "honest/dial"]):
        assert run(guarded, guarded.home.argv(*line)).returncode == 0, line


def test_presence_is_waived_only_where_a_home_was_named_for_it() -> None:
    with home_of_a_stranger(marked=False, BULKHEAD_HOME="") as home:
        refused = home.bulkhead("up", "--unsafe-no-presence")
        assert refused.returncode == 1
        assert "--unsafe-no-presence is refused for your real home" in refused.stderr
    with home_of_a_stranger(marked=False) as home:
        home.up("--unsafe-no-presence")
        assert "presence        unsafe-no-presence" in home.bulkhead("status").stdout
        assert run(home, home.home.argv("client", "add", "robot")).returncode == 0
