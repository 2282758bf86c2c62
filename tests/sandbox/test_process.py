"""An instance in the daemon's hand: how it is stopped, what is left of it."""

from typing import Any

import pytest

from tests.sandbox.conftest import Yard

pytestmark = pytest.mark.sandbox


def play(yard: Yard, scene: str) -> Any:
    return yard.ask({"scene": scene, "waits": {"stop_stdin": 0.4, "stop_terminate": 0.4}})["scene"]


def test_a_server_is_asked_to_leave_then_told_to_and_only_then_killed(yard: Yard) -> None:
    assert play(yard, "stop_asks_before_it_kills") == [3, 7, -9]


def test_nothing_runs_before_somebody_proved_what_it_is(yard: Yard) -> None:
    assert play(yard, "the_gate_waits_for_the_proof") == ["changed", 0, False, 0, "ran"]


def test_stopping_twice_is_stopping_once(yard: Yard) -> None:
    assert play(yard, "stop_is_idempotent") == [False, 3]


def test_a_stop_goes_on_when_its_caller_is_cancelled(yard: Yard) -> None:
    assert play(yard, "stop_goes_on_without_its_caller") == -9


def test_a_launch_that_is_cancelled_at_any_moment_leaves_no_process_and_no_descriptor(yard: Yard) -> None:
    assert play(yard, "a_cancelled_launch_leaves_nothing") == [0, []]


def test_an_ended_instance_keeps_no_descriptor(yard: Yard) -> None:
    assert play(yard, "no_descriptor_is_kept") == 0


def test_the_streams_can_be_taken_once_and_never_block(yard: Yard) -> None:
    said, blocking, code = play(yard, "streams_are_taken_once")
    assert (said, blocking, code) == ("the streams of probe were taken", [False, False], 3)


def test_when_the_supervisor_is_killed_its_servers_end_and_no_other_is_started(yard: Yard) -> None:
    code, alive, said = play(yard, "a_dead_supervisor_refuses")
    assert (code, alive) == (-9, False)
    assert len(said) == 2 and all(text.startswith("the supervisor ") for text in said)


def test_started_as_root_every_link_is_a_user_of_its_own(root_yard: Yard) -> None:
    users = play(root_yard, "every_link_is_a_user_of_its_own")
    assert len(set(users)) == 3 and all(user > 65_536 for user in users)


def test_the_process_numbers_are_those_of_the_server_and_of_its_sandbox(yard: Yard) -> None:
    assert play(yard, "the_numbers_are_the_servers") == ["/usr/bin/python3", True, True]


def test_a_launch_whose_supervisor_is_killed_is_refused_at_once(yard: Yard) -> None:
    assert play(yard, "a_launch_ends_with_the_supervisor") == "the supervisor has died, and every server with it"


def test_the_supervisor_holds_nothing_of_the_daemons(yard: Yard) -> None:
    seen = ["closed"] if yard.who == "user" else ["/dev/null", "pipe", "socket"]
    assert play(yard, "the_supervisor_holds_nothing_of_the_daemons") == seen  # nobody else of its user sees into it
