"""The toy servers do what their names say: a hostile one that behaves would make every test with it worthless."""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from broker.model import Era, JsonObject
from tests.fakes import script
from tests.fakes.bad_json import WAYS
from tests.fakes.raw_client import NoMessage, RawClient

HOSTILE = (
    "asks",
    "bad_json",
    "changes_tools",
    "closes_stdin",
    "daemonises",
    "flood",
    "huge",
    "noisy",
    "silent",
    "wrong_ids",
)


def toy(name: str, *arguments: str) -> RawClient:
    return RawClient([sys.executable, "-I", script(name), *arguments])


@pytest.mark.parametrize("name", HOSTILE)
def test_every_hostile_toy_can_be_pinned_like_an_honest_server(name: str) -> None:
    with toy(name) as client:
        assert client.open()["result"]["protocolVersion"] == "2025-11-25"
        assert all(tool["name"] and tool["inputSchema"]["type"] == "object" for tool in client.tools())
        assert client.request("ping")["result"] == {}
        assert client.request("nope/nope")["error"]["code"] == -32601


@pytest.mark.parametrize("name", ["flood", "silent", "closes_stdin"])
def test_a_toy_can_misbehave_before_it_is_pinned(name: str) -> None:
    with toy(name, "--at", "initialize") as client, pytest.raises(NoMessage):
        client.request("initialize", {}, within=1)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_honest_toy_does_what_its_tools_say(era: Era, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with toy("honest") as client:
        client.open(era)
        assert client.call_text("echo", {"text": "ahoy"}) == "ahoy"
        assert client.call_text("add", {"a": 2, "b": 3}) == "5"
        assert client.call_text("write_note", {"path": str(note), "text": "kept"}) == "wrote 4 characters"
        assert client.call_text("read_file", {"path": str(note)}) == note.read_text() == "kept"
        assert "FileNotFoundError" in client.call_text("read_file", {"path": str(tmp_path / "none")})
        assert client.call_text("dial", {"host": "127.0.0.1", "port": 1}).startswith("ConnectionRefusedError")
        assert json.loads(client.call_text("environ"))["PATH"] == os.environ["PATH"]
        assert client.request("resources/read", {"uri": "note://greeting"})["result"]["contents"][0]["text"] == "hello"
        prompt = client.request("prompts/get", {"name": "greet", "arguments": {"who": "Ada"}})["result"]
        assert prompt["messages"][0]["content"]["text"] == "Say hello to Ada."


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_honest_toy_reports_progress_and_can_be_cancelled(era: Era) -> None:
    with toy("honest") as client:
        client.open(era)
        client.call("slow", {"seconds": 0.1}, meta={"progressToken": "p"})
        assert [message["params"]["progress"] for message in client.passed_over] == [1, 2, 3, 4]
        cancelled = client.start_request("tools/call", {"name": "slow", "arguments": {"seconds": 60}})
        client.notify("notifications/cancelled", {"requestId": cancelled})
        client.passed_over.clear()
        assert client.call_text("echo", {"text": "still here"}) == "still here"
        client.leave()
        assert client.wait(within=5) == 0


def test_the_honest_toy_acknowledges_a_subscription_and_ends_it() -> None:
    with toy("honest") as client:
        client.open("modern")
        request = client.start_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert client.receive()["method"] == "notifications/subscriptions/acknowledged"
        client.leave()
        assert client.answer_to(request)["result"]["resultType"] == "complete"


def test_flood_writes_more_than_any_limit_without_an_end_of_line() -> None:
    with toy("flood", "--megabytes", "8") as client:
        client.open()
        client.start_request("tools/call", {"name": "go", "arguments": {}})
        assert client.process.stdout is not None
        descriptor, seen, deadline = client.process.stdout.fileno(), 0, time.monotonic() + 10
        while seen < 8 << 20 and time.monotonic() < deadline:
            assert select.select([descriptor], [], [], 5)[0]
            piece = os.read(descriptor, 1 << 20)
            assert b"\n" not in piece
            seen += len(piece)
        assert seen >= 8 << 20


def test_huge_answers_with_as_much_as_was_asked_for() -> None:
    with toy("huge") as client:
        client.open()
        assert len(client.call_text("go", {"megabytes": 2})) == 2 << 20


WRONG_IDS = [("unknown", 987654), ("error-unknown", "nobody-asked"), ("other-type", "2")]


@pytest.mark.parametrize(("how", "wrong"), WRONG_IDS)
def test_wrong_ids_answers_a_request_nobody_made(how: str, wrong: str | int) -> None:
    with toy("wrong_ids", "--how", how) as client:
        client.open()
        assert client.call("go")["id"] == 2
        assert [message["id"] for message in client.passed_over] == [wrong]


def test_wrong_ids_can_answer_twice_or_too_early() -> None:
    with toy("wrong_ids", "--how", "twice") as client:
        client.open()
        first = client.call("go")
        assert client.receive() == first
    with toy("wrong_ids", "--how", "early") as client:
        assert client.receive()["result"] == {"tools": []}


@pytest.mark.parametrize("how", list(WAYS))
def test_bad_json_sends_one_bad_line_and_then_a_good_answer(how: str) -> None:
    with toy("bad_json") as client:
        client.open()
        request = client.start_request("tools/call", {"name": "go", "arguments": {"how": how}})
        assert client.receive_line() == WAYS[how](str(request))
        assert client.receive()["result"]["content"][0]["text"] == f"after {how}"


def test_changes_tools_shows_other_tools_after_its_first_call() -> None:
    with toy("changes_tools") as client:
        client.open()
        before = client.tools()
        assert client.call_text("echo", {"text": "ahoy"}) == "echo: ahoy"
        assert client.receive()["method"] == "notifications/tools/list_changed"
        after = client.tools()
        assert [tool["name"] for tool in after] == ["echo", "send_away"]
        assert before[0]["description"] != after[0]["description"]


def test_changes_tools_can_start_with_other_tools(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    names: list[list[str]] = []
    for _ in range(2):
        with toy("changes_tools", "--when", str(flag)) as client:
            client.open()
            names.append([tool["name"] for tool in client.tools()])
        flag.touch()
    assert names == [["echo"], ["echo", "send_away"]]


def test_the_children_of_daemonises_outlive_it_without_a_sandbox() -> None:
    with toy("daemonises", "--seconds", "20") as client:
        client.open()
        children: list[int] = json.loads(client.call_text("go"))
        session = os.getsid(client.process.pid)
    try:
        assert len(children) == 3
        assert all(os.getsid(child) != session for child in children)
        for child in children:
            os.kill(child, signal.SIGTERM)
            os.kill(child, 0)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


def test_noisy_keeps_writing_to_standard_error_and_still_answers() -> None:
    with toy("noisy") as client:
        client.open()
        assert client.call_text("go") == "done"
        assert len(client.errors()) > 4096


def test_silent_never_answers_a_call() -> None:
    with toy("silent") as client:
        client.open()
        client.start_request("tools/call", {"name": "go", "arguments": {}})
        client.start_request("ping")
        assert client.hears_nothing(0.5)


def test_closes_stdin_lives_on_with_its_output_open() -> None:
    with toy("closes_stdin", "--seconds", "30") as client:
        client.open()
        client.start_request("tools/call", {"name": "go", "arguments": {}})
        assert client.hears_nothing(0.5)
        assert client.process.poll() is None
        with pytest.raises(BrokenPipeError):
            client.send({"id": 9, "method": "ping"})
        client.process.kill()


ASKED: dict[str, JsonObject] = {
    "sampling": {"role": "assistant", "content": {"type": "text", "text": "no"}, "model": "none"},
    "elicitation": {"action": "decline"},
    "roots": {"roots": []},
}


@pytest.mark.parametrize("what", list(ASKED))
def test_asks_wants_something_from_its_client_during_a_call(what: str) -> None:
    with toy("asks") as client:
        client.open("legacy")
        call = client.start_request("tools/call", {"name": "go", "arguments": {"what": what}})
        question = client.receive()
        assert question["method"].split("/")[0] == what
        client.answer(question["id"], ASKED[what])
        assert json.loads(client.answer_to(call)["result"]["content"][0]["text"]) == ASKED[what]


@pytest.mark.parametrize("what", list(ASKED))
def test_asks_wants_the_same_by_its_result_in_the_modern_era(what: str) -> None:
    with toy("asks") as client:
        client.open("modern")
        arguments = {"name": "go", "arguments": {"what": what}}
        required = client.request("tools/call", arguments)["result"]
        assert required["resultType"] == "input_required"
        assert required["inputRequests"]["wish"]["method"].split("/")[0] == what
        answers = {"inputResponses": {"wish": ASKED[what]}, "requestState": required["requestState"]}
        final = client.request("tools/call", {**arguments, **answers})["result"]
        assert json.loads(final["content"][0]["text"]) == {"wish": ASKED[what]}
