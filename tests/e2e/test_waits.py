"""Every wait of the daemon has an end.  All of them begin with the run, and are looked at here, when they are over."""

from typing import Final

import pytest

from broker.config import Waits
from tests.e2e.conftest import Begun

pytestmark = pytest.mark.sandbox

MARGIN: Final = 10.0  # the daemon looks once a second


def test_a_server_that_does_not_read_ends_its_own_link_within_its_bound(begun: Begun) -> None:
    assert begun.deaf.wait(within=Waits().send + MARGIN) == 1
    assert "the server did not read for 30 s" in begun.deaf.errors()


def test_a_server_that_never_answers_its_opening_is_given_up_within_its_bound(begun: Begun) -> None:
    refused = begun.mute.answer_to(begun.mute_call, within=Waits().launch + MARGIN)["error"]
    assert refused["message"] == "mute ended: it did not answer its opening in time"
    assert begun.mute.request("ping")["result"] == {}


@pytest.mark.claim("C31")
def test_a_question_nobody_answers_is_a_no_at_its_deadline_and_reaches_no_server(begun: Begun) -> None:
    refused = begun.asking.answer_to(begun.asking_call, within=Waits().question + MARGIN)["result"]
    assert refused["isError"]
    assert "refused by Bulkhead (R3)" in str(refused)
    assert "nobody answered in time" in str(refused)
    assert begun.home.desk.link("post", begun.asker).pid == 0
    late = begun.home.bulkhead("approve", begun.question)
    assert late.returncode == 1
