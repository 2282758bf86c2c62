"""A server that listens: at a port that was granted, for this machine, as long as its link lasts."""

from dataclasses import replace

import pytest

from broker.boxes import SandboxTable, box_table, carried_over, check_listen, with_box
from broker.errors import SandboxError
from broker.model import Grants, ServerName
from tests.sandbox.conftest import Yard

NOTES = ServerName("notes")
SCENE = "what_listens_inside_is_reached_here_while_it_lasts"


@pytest.mark.sandbox
def test_what_listens_inside_is_reached_at_the_same_port_here_and_only_by_one_link(yard: Yard) -> None:
    wish = {"scene": SCENE, "waits": {"stop_stdin": 0.1, "stop_terminate": 0.1}}
    said, facts, refused, shut = yard.ask(wish)["scene"]
    assert said == "inside heard a code"
    assert facts == ["listen", "listened"]
    assert "may listen at port PORT, which cannot be had: another link of it or another program has it" in refused
    assert shut


@pytest.mark.sandbox
def test_where_nobody_can_enter_its_network_a_server_that_listens_is_not_started(user_yard: Yard) -> None:
    wish = {"refused": ["setns"], "settle": True, "scene": SCENE}
    with pytest.raises(AssertionError, match="this machine cannot enter a sandbox's network"):
        user_yard.ask(wish)


@pytest.mark.parametrize("port", [0, 80, 1023, 3128, 65536, -1])
def test_ports_of_the_system_and_of_the_sandbox_are_not_granted(port: int) -> None:
    with pytest.raises(SandboxError, match=f"cannot listen at port {port}") as refused:
        check_listen(NOTES, (8080, port))
    assert refused.value.hint


def test_what_a_server_listens_at_stands_in_its_document_and_outlives_a_new_pin() -> None:
    grants = replace(Grants(), listen=check_listen(NOTES, (8080, 9090, 8080)))
    assert box_table(grants) == {"sandbox": {"listen": [8080, 9090]}}
    assert with_box(Grants(), SandboxTable(listen=[8080, 9090])) == grants
    assert carried_over(Grants(), grants) == grants
    with pytest.raises(SandboxError):
        check_listen(NOTES, range(2000, 2009))
