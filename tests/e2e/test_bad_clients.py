"""Clients that break the rules: each fault is refused by name, costs nobody else anything, and loses nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes.raw_client import RawClient

pytestmark = pytest.mark.sandbox

MAX_FRAME: Final = 4 << 20
MAX_CLIENT_FAULTS: Final = 1024
FLOOD: Final = 32  # megabytes
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600


def call(arguments: bytes, id: bytes = b"99") -> bytes:
    head = b'{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"echo","arguments":' % id
    return head + arguments + b"}}"


GOOD: Final = b'{"text":"never"}'
BAD: Final[dict[str, tuple[bytes, int, str]]] = {
    "cut short": (call(GOOD)[:-1], PARSE_ERROR, "it is not JSON in UTF-8"),
    "not JSON": (b"Content-Length: 52", PARSE_ERROR, "it is not JSON in UTF-8"),
    "not UTF-8": (call(b'{"text":"\xff"}'), PARSE_ERROR, "it is not JSON in UTF-8"),
    "a key twice": (call(b'{"text":"shown","text":"meant"}'), PARSE_ERROR, "an object has a key twice"),
    "an id twice": (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', PARSE_ERROR, "an object has a key twice"),
    "nested deep": (call(b'{"text":' + b"[" * 5000 + b"]" * 5000 + b"}"), PARSE_ERROR, "deeper than 128 levels"),
    "not a number": (call(b'{"text":NaN}'), PARSE_ERROR, "a number JSON cannot carry"),
    "half a character": (call(b'{"text":"\\ud800"}'), PARSE_ERROR, "half a surrogate pair"),
    "too long": (call(b'{"text":"' + b"x" * MAX_FRAME + b'"}'), INVALID_REQUEST, f"longer than {MAX_FRAME} bytes"),
    "null id": (call(GOOD, b"null"), INVALID_REQUEST, "an id that is neither text nor a whole number"),
    "float id": (call(GOOD, b"7.0"), INVALID_REQUEST, "an id that is neither text nor a whole number"),
    "bool id": (call(GOOD, b"true"), INVALID_REQUEST, "an id that is neither text nor a whole number"),
    "list id": (call(GOOD, b"[1]"), INVALID_REQUEST, "an id that is neither text nor a whole number"),
    "a batch": (b"[" + call(GOOD) + b"]", INVALID_REQUEST, "a batch, which only revision 2025-03-26"),
    "a scalar": (b"42", INVALID_REQUEST, "JSON that is not an object"),
}


@pytest.fixture(scope="module")
def calm() -> Iterator[Running]:
    """A home with one honest server."""
    with home_of_a_stranger() as home:
        home.up()
        home.add_toy("honest")
        yield home


@pytest.fixture
def links(calm: Running) -> Iterator[tuple[RawClient, RawClient, str]]:
    """Two open links of one client, which both have a running server, and the client's name."""
    client = calm.newcomer("honest")
    with calm.connect("honest", client) as one, calm.connect("honest", client) as other:
        for link in (one, other):
            link.open()
            assert link.call_text("echo", {"text": "begun"}) == "begun"
        yield one, other, client


@pytest.mark.claim("C50")
@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_line_of_a_client_is_refused_by_name_and_nothing_else_is_lost(
    calm: Running, links: tuple[RawClient, RawClient, str], fault: str
) -> None:
    line, code, why = BAD[fault]
    bad, other, client = links
    before, after = {"text": "before it"}, {"text": "after it"}
    waiting = [bad.start_request("tools/call", {"name": "echo", "arguments": before})]
    bad.send_bytes(line + b"\n")
    waiting.append(bad.start_request("tools/call", {"name": "echo", "arguments": after}))
    came = [bad.receive() for _ in range(3)]

    answers = {message["id"]: message for message in came if "result" in message}
    assert [answers[each]["result"]["content"][0]["text"] for each in waiting] == ["before it", "after it"]
    (refusal,) = (message for message in came if "error" in message)
    assert (refusal["id"], refusal["error"]["code"]) == (None, code)
    assert refusal["error"]["message"].startswith("client sent ")
    assert why in refusal["error"]["message"]
    assert "never" not in str(refusal)

    assert other.call_text("echo", {"text": "untouched"}) == "untouched"
    assert other.passed_over == []
    (recorded,) = calm.desk.receipts(client=client, kind="violation")
    assert recorded["side"] == "client"
    assert why in recorded["body"]["what"]
    assert not calm.desk.receipts(client=client, text="never")


def test_an_id_that_is_still_open_is_refused_and_the_first_call_is_answered_once(
    links: tuple[RawClient, RawClient, str],
) -> None:
    link = links[0]
    slow = link.start_request("tools/call", {"name": "slow", "arguments": {"seconds": 0.4}})
    link.send({"id": slow, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "again"}}})
    assert "an id whose request is not answered yet" in link.receive()["error"]["message"]
    assert link.answer_to(slow)["result"]["content"][0]["text"] == "done"
    assert link.request("ping")["result"] == {}
    assert link.passed_over == []


def test_what_a_client_sends_before_it_opened_the_conversation_is_refused(calm: Running) -> None:
    with calm.connect("honest", calm.newcomer("honest")) as link:
        assert "before initialize" in link.request("tools/list")["error"]["message"]
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
        assert "a second time" in link.request("initialize", {"protocolVersion": "2025-11-25"})["error"]["message"]
        assert len(link.tools()) == 7


def test_arguments_the_agreed_schema_does_not_allow_never_reach_the_server(
    calm: Running, links: tuple[RawClient, RawClient, str]
) -> None:
    link, _, client = links
    before = calm.desk.sessions()
    assert "it lacks the argument 'text'" in link.call("echo", {})["error"]["message"]
    unordered = {"name": "echo", "arguments": ["text"]}
    assert "its arguments are not an object" in link.request("tools/call", unordered)["error"]["message"]
    assert "has no tool called 'rm'" in link.call("rm")["error"]["message"]
    assert [s.links for s in calm.desk.sessions()] == [s.links for s in before], "the server was told something"
    assert client in {session.client for session in before}


def test_a_client_that_only_breaks_rules_ends_its_own_link_and_is_told_why(
    calm: Running, links: tuple[RawClient, RawClient, str]
) -> None:
    bad, other, client = links
    bad.send_bytes(b"x\n" * (MAX_CLIENT_FAULTS - 1))
    for _ in range(MAX_CLIENT_FAULTS - 1):
        assert bad.receive()["error"]["code"] == PARSE_ERROR
    assert bad.call_text("echo", {"text": "still here"}) == "still here"
    bad.send_bytes(b"x\n")
    assert bad.receive()["error"]["code"] == PARSE_ERROR
    assert bad.wait() == 0
    (closed,) = calm.desk.receipts(client=client, kind="link-closed")
    assert closed["body"]["blame"] == "client"
    assert f"the client broke the rules of the wire {MAX_CLIENT_FAULTS} times" in closed["body"]["reason"]
    assert other.call_text("echo", {"text": "untouched"}) == "untouched"


def test_a_client_that_floods_one_line_costs_the_daemon_a_bounded_memory_and_nobody_else_anything(
    calm: Running, links: tuple[RawClient, RawClient, str]
) -> None:
    bad, other, _ = links
    daemon = calm.desk.status().pid
    before = highest_memory(daemon)
    bad.send_bytes(b'{"jsonrpc":"2.0","id":1,"method":"')
    for _ in range(FLOOD):
        bad.send_bytes(b"x" * (1 << 20))
        assert other.request("ping")["result"] == {}
    bad.send_bytes(b'"}\n')
    assert highest_memory(daemon) - before < 3 * MAX_FRAME
    for _ in range(FLOOD * (1 << 20) // MAX_FRAME):
        assert f"longer than {MAX_FRAME} bytes" in bad.receive()["error"]["message"]
    assert bad.call_text("echo", {"text": "after the flood"}) == "after the flood"


def highest_memory(pid: int) -> int:
    """The most bytes of memory the process ever had at a time."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
