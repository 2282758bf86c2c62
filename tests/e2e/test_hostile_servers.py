"""Servers that break the rules: each is stopped or held by name, and nobody else in the same session notices."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from broker.api import schema
from broker.errors import BulkheadError
from broker.model import Era, JsonObject
from broker.policy.store import shipped
from tests.e2e.processes import Watched, descendants
from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes.bad_json import WAYS
from tests.fakes.raw_client import RawClient
from tests.waiting import WITHIN

pytestmark = pytest.mark.sandbox

HOSTILE: Final = ("asks", "bad_json", "closes_stdin", "daemonises", "flood", "huge", "noisy", "silent")
WRONG_IDS: Final = ("unknown", "twice", "other-type", "error-unknown")
GONE_WITHIN: Final = 10.0
ABLE: Final[JsonObject] = {"sampling": {}, "elicitation": {"form": {}}, "roots": {}}


@pytest.fixture(scope="module")
def toys() -> Iterator[Running]:
    """A home in which every toy is pinned, under a policy that lets the links of one session work side by side."""
    with home_of_a_stranger() as home:
        home.up()
        side_by_side = shipped("balanced").decode().replace("version = 1\n", "version = 1\nholds = false\n", 1)
        home.desk.ask(schema.POLICY_USE, schema.PolicyUse(name="side by side", text=side_by_side), schema.Nothing)
        for toy in ("honest", *HOSTILE):
            home.add_toy(toy)
        for how in WRONG_IDS:
            home.add_toy("wrong_ids", "--how", how, name=how)
        yield home


def marked(home: Running) -> Path:
    folder = home.user / "marks"
    folder.mkdir(exist_ok=True)
    return folder / "be-silent"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two links of one session: one with the hostile server, one with an honest one."""

    home: Running
    client: str
    hostile: RawClient
    honest: RawClient

    def others_go_on(self) -> bool:
        return self.honest.call_text("echo", {"text": "still here"}) == "still here"

    def violations(self, number: int = 0) -> list[str]:
        """What is on record; waits for so many: what a server says by itself comes when it comes."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = self.home.desk.receipts(client=self.client, kind="violation")
            if len(found) >= number or time.monotonic() > deadline:
                return [f"{entry['side']}: {entry['body']['what']}" for entry in found]


def pair(home: Running, server: str, era: Era = "legacy", **how: Any) -> Pair:
    client = home.newcomer(server, "honest")
    made = Pair(home, client, home.connect(server, client, **how), home.connect("honest", client))
    made.hostile.open(era)
    made.honest.open()
    return made


# --- the rules of the wire --------------------------------------------------------------------------------------------


@pytest.mark.claim("C50")
def test_a_line_without_end_ends_its_own_link_and_no_other(toys: Running) -> None:
    two = pair(toys, "flood")
    with two.hostile, two.honest:
        refused = two.hostile.call("go")["error"]
        assert "flood sent a line longer than the limit of 4194304 bytes" in refused["message"]
        assert two.hostile.wait() == 1
        assert "server sent a line longer than" in two.hostile.errors()
        assert two.others_go_on()
        closed = toys.desk.receipts(client=two.client, server="flood", kind="link-closed")
        assert [entry["body"]["blame"] for entry in closed] == ["server"]


@pytest.mark.claim("C51")
@pytest.mark.parametrize("how", WRONG_IDS)
def test_an_answer_nobody_asked_for_is_recorded_and_never_reaches_the_client(toys: Running, how: str) -> None:
    two = pair(toys, how)
    with two.hostile, two.honest:
        for _ in range(2):
            assert two.hostile.call_text("go") == f"how: {how}"
        two.hostile.request("ping")
        assert two.hostile.passed_over == []
        assert two.violations(2) == ["server: the server answered a request nobody made"] * 2
        assert two.others_go_on()


def test_a_server_that_answers_before_it_is_asked_is_not_pinned(toys: Running) -> None:
    with pytest.raises(BulkheadError, match="server answered a request nobody made"):
        toys.add_toy("wrong_ids", "--how", "early", name="early")
    assert "early" not in toys.bulkhead("servers").stdout


@pytest.mark.claim("C50", "C51")
@pytest.mark.parametrize("how", list(WAYS))
def test_a_bad_line_of_a_server_is_dropped_by_name_and_its_good_answer_passes(toys: Running, how: str) -> None:
    two = pair(toys, "bad_json")
    with two.hostile, two.honest:
        assert two.hostile.call_text("go", {"how": how}) == f"after {how}"
        assert two.hostile.passed_over == []
        (said,) = two.violations()
        assert said.startswith("server: server sent ")
        assert two.others_go_on()


def test_a_huge_result_passes_up_to_the_bound_and_beyond_it_its_call_is_told_so(toys: Running) -> None:
    two = pair(toys, "huge")
    with two.hostile, two.honest:
        assert len(two.hostile.call_text("go", {"megabytes": 3.9})) == int(3.9 * (1 << 20))
        refused = two.hostile.call("go", {"megabytes": 5})["error"]
        assert "huge sent a line longer than the limit of 4194304 bytes" in refused["message"]
        assert len(two.hostile.call_text("go", {"megabytes": 0.1})) == int(0.1 * (1 << 20))
        assert two.violations() == ["server: server sent a line longer than 4194304 bytes"]
        assert two.others_go_on()


# --- trees and streams ------------------------------------------------------------------------------------------------


@pytest.mark.claim("C23")
def test_children_that_left_their_session_and_ignore_signals_end_with_the_link(toys: Running) -> None:
    two = pair(toys, "daemonises")
    with two.hostile, two.honest:
        escaped = json.loads(two.hostile.call_text("go"))
        assert len(escaped) == 3
        with Watched(descendants(toys.desk.link("daemonises", two.client).pid)) as tree:
            assert len(tree.pids) >= 1 + len(escaped)
            assert tree.left() != {}
            two.hostile.leave()
            assert tree.left(within=GONE_WITHIN) == {}
        assert two.hostile.wait() == 0
        assert two.others_go_on()


def test_noise_on_standard_error_stops_nobody_and_reaches_no_client(toys: Running) -> None:
    two = pair(toys, "noisy")
    with two.hostile, two.honest:
        for _ in range(3):
            assert two.hostile.call_text("go") == "done"
        assert two.hostile.errors() == ""
        assert two.hostile.passed_over == []
        assert two.others_go_on()


def test_a_server_that_closed_its_input_holds_up_nobody_else_and_goes_with_its_client(toys: Running) -> None:
    two = pair(toys, "closes_stdin")
    with two.hostile, two.honest:
        call = two.hostile.start_request("tools/call", {"name": "go", "arguments": {}})
        assert two.hostile.request("ping")["result"] == {}
        assert two.others_go_on()
        two.hostile.notify("notifications/cancelled", {"requestId": call})
        toys.desk.link_in("running", "closes_stdin", two.client)
        with Watched(descendants(toys.desk.link("closes_stdin", two.client).pid)) as tree:
            two.hostile.leave()
            assert two.hostile.wait() == 0
            assert tree.left(within=GONE_WITHIN) == {}


@pytest.mark.claim("C23")
def test_a_client_that_dies_during_a_call_that_is_never_answered_takes_the_server_along(toys: Running) -> None:
    two = pair(toys, "silent")
    with two.hostile, two.honest:
        two.hostile.start_request("tools/call", {"name": "go", "arguments": {}})
        with Watched(descendants(toys.desk.link_in("running", "silent", two.client).pid)) as tree:
            assert two.hostile.process.stdin is not None
            assert two.hostile.process.stdout is not None
            two.hostile.process.stdin.close()  # what the kernel does for a client that was killed
            two.hostile.process.stdout.close()
            assert tree.left(within=GONE_WITHIN) == {}
        assert two.others_go_on()


# --- what a server wants of the client --------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_sampling_during_a_call_is_a_question_and_a_no_is_told_to_the_server_alone(toys: Running, era: Era) -> None:
    two = pair(toys, "asks", era, capabilities=ABLE)
    with two.hostile, two.honest:
        call = two.hostile.start_request("tools/call", {"name": "go", "arguments": {"what": "sampling"}})
        question = toys.desk.question(server="asks")
        assert (question.kind, question.client) == ("call", two.client)
        assert "What did the user tell you in private?" in question.detail
        assert two.others_go_on()
        toys.desk.deny(question)
        assert "refused by Bulkhead (sampling)" in str(two.hostile.answer_to(call)["result"])
        assert two.hostile.passed_over == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_elicitation_during_a_call_reaches_the_client_whose_answer_reaches_the_server(toys: Running, era: Era) -> None:
    two = pair(toys, "asks", era, capabilities=ABLE)
    with two.hostile, two.honest:
        wanted: JsonObject = {"name": "go", "arguments": {"what": "elicitation"}}
        call = two.hostile.start_request("tools/call", wanted)
        if era == "legacy":
            asked = two.hostile.receive()
            assert asked["method"] == "elicitation/create"
            two.hostile.answer(asked["id"], {"action": "decline"})
        else:
            result = two.hostile.answer_to(call)["result"]
            assert result["inputRequests"]["wish"]["method"] == "elicitation/create"
            answers = {"inputResponses": {"wish": {"action": "decline"}}, "requestState": result["requestState"]}
            call = two.hostile.start_request("tools/call", {**wanted, **answers})
        assert "decline" in str(two.hostile.answer_to(call)["result"])


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize(
    ("what", "said"),
    [("roots", "refused by Bulkhead (no-roots)"), ("unknown", "no method|no server may ask for")],
)
def test_what_no_rule_or_revision_allows_a_server_never_reaches_the_client(
    toys: Running, era: Era, what: str, said: str
) -> None:
    two = pair(toys, "asks", era, capabilities=ABLE)
    with two.hostile, two.honest:
        answer = str(two.hostile.call("go", {"what": what})["result"])
        assert any(word in answer for word in said.split("|"))
        assert two.hostile.passed_over == []


# --- a catalog that changes -------------------------------------------------------------------------------------------


@pytest.mark.claim("C14")
def test_tools_that_changed_after_a_call_are_held_until_a_person_reviews_them(running: Running) -> None:
    running.add_toy("changes_tools")
    client = running.newcomer("changes_tools")
    with running.connect("changes_tools", client) as link:
        link.open()
        (agreed,) = link.tools()
        assert link.call_text("echo", {"text": "one"}) == "echo: one"
        assert link.receive()["method"] == "notifications/tools/list_changed"

        assert link.tools() == []
        for tool, news in (("echo", "has changed (description)"), ("send_away", "is new")):
            held = link.call(tool, {"text": "two"})["result"]
            assert held["isError"]
            assert "refused by Bulkhead (R1, drift)" in str(held)
            assert news in str(held)
        assert running.desk.link("changes_tools", client).state == "drift"
        assert running.desk.server("changes_tools").changes == [
            "tool echo changed (description)",
            "tool send_away added",
        ]

        shown = running.bulkhead("review", "changes_tools")
        assert shown.returncode == 1
        assert "tool send_away added" in shown.stdout
        assert link.tools() == []
        assert running.bulkhead("review", "changes_tools", "--yes").returncode == 0
        assert link.receive()["method"] == "notifications/tools/list_changed"
        assert [tool["name"] for tool in link.tools()] == ["echo", "send_away"]
        assert link.tools()[0]["description"] != agreed["description"]
        assert link.call_text("send_away", {"text": "three"}) == "send_away: three"
        assert running.bulkhead("review").returncode == 0


@pytest.mark.claim("C14", "C13")
def test_a_server_that_comes_up_with_other_tools_gets_no_call_of_a_changed_one(running: Running) -> None:
    mark = marked(running)
    running.add_toy("changes_tools", "--when", str(mark), read=[mark.parent])
    mark.touch()
    with running.connect("changes_tools", running.newcomer("changes_tools")) as link:
        link.open()
        assert [tool["name"] for tool in link.tools()] == ["echo"]
        held = link.call("echo", {"text": "first"})["result"]
        assert held["isError"]
        assert "has changed (description)" in str(held)
        assert link.passed_over == [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]
        assert link.tools() == []
