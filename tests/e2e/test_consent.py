"""What is asked of a person, and what becomes of a yes, a no, and no answer at all."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from broker.api import schema
from broker.config import Waits
from broker.model import JsonObject
from tests.e2e.applications import Application
from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes.raw_client import LEGACY, RawClient

pytestmark = pytest.mark.sandbox

MARGIN: Final = 10.0
OPENING: Final[JsonObject] = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "stranger", "version": "1"},
}


@pytest.fixture(scope="module")
def two() -> Iterator[Running]:
    """A home with two servers, of which nobody but Bulkhead knows that they are honest."""
    with home_of_a_stranger() as home:
        home.up()
        home.add_toy("honest", name="diary")
        home.add_toy("honest", name="post")
        yield home


def stranger(home: Running) -> str:
    """A registered client that was allowed nothing yet."""
    client = home.newcomer()
    assert home.bulkhead("client", "add", client).returncode == 0
    return client


# --- the first connection ---------------------------------------------------------------------------------------------


@pytest.mark.claim("C30")
def test_a_first_connection_waits_for_a_yes_that_shows_who_wants_what(two: Running, tmp_path: Path) -> None:
    client = stranger(two)
    application = Application(tmp_path, "some-app")
    with application.connect(two, "diary", client) as link:
        opening = link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        assert (question.kind, question.client) == ("connection", client)
        assert question.deadline - question.asked == Waits().question
        assert any(str(application.path) in line for line in question.evidence)
        assert two.desk.link("diary", client).state == "waiting for a yes"
        shown = two.bulkhead("pending")
        assert question.id in shown.stdout
        assert f"{client} wants to use diary for the first time" in shown.stdout
        assert link.hears_nothing(0.2)

        said = two.bulkhead("approve", question.id)
        assert (said.returncode, said.stderr) == (0, "")
        assert link.answer_to(opening)["result"]["serverInfo"]["name"] == "honest"
        link.notify("notifications/initialized")
        assert link.call_text("echo", {"text": "ahoy"}) == "ahoy"
        assert question.id not in two.bulkhead("pending", "--json").stdout
        assert two.bulkhead("approve", question.id).returncode == 1


@pytest.mark.claim("C30")
@pytest.mark.parametrize("lifetime", ["once", "session", "always"])
def test_a_yes_to_a_connection_lasts_as_long_as_it_was_given_for(two: Running, tmp_path: Path, lifetime: str) -> None:
    client = stranger(two)
    first, again = Application(tmp_path, "one-app"), Application(tmp_path, "one-app")
    with first.connect(two, "diary", client) as link:
        opening = link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        assert two.bulkhead("approve", question.id, "--for", lifetime).returncode == 0
        assert "result" in link.answer_to(opening)
    kept = [grant.lifetime for grant in two.desk.grants() if grant.client == client]
    assert kept == ([] if lifetime == "once" else [lifetime])
    with again.connect(two, "diary", client) as link:  # the same program, another run of it
        if lifetime == "always":
            assert link.open()["result"]["serverInfo"]["name"] == "honest"
            return
        opening = link.start_request("initialize", OPENING)
        two.desk.deny(two.desk.question(server="diary"))
        assert "instructions" not in link.answer_to(opening)["result"]


@pytest.mark.claim("C30", "C31")
def test_a_no_to_a_connection_leaves_the_client_with_an_empty_server_and_a_reason(two: Running) -> None:
    client = stranger(two)
    with two.connect("diary", client) as link:
        opening = link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        assert two.bulkhead("deny", question.id).returncode == 0
        told = link.answer_to(opening)["result"]
        assert "instructions" not in told
        link.notify("notifications/initialized")
        assert link.tools() == []
        refused = link.call("echo", {"text": "ahoy"})["result"]
        assert refused["isError"]
        assert f"{client} may not use diary: a person said no; to allow: connect again" in str(refused)
        assert two.desk.link("diary", client).pid == 0


def test_another_program_behind_a_known_client_is_asked_about_again(two: Running, tmp_path: Path) -> None:
    client = stranger(two)
    known, other = Application(tmp_path, "known-app"), Application(tmp_path, "other-app")
    with known.connect(two, "diary", client) as link:
        opening = link.start_request("initialize", OPENING)
        two.desk.approve(two.desk.question(server="diary"), "always")
        assert "result" in link.answer_to(opening)
    for lifetime in ("once", "always"):
        with other.connect(two, "diary", client) as link:
            opening = link.start_request("initialize", OPENING)
            question = two.desk.question(server="diary")
            assert "run by a program that never used diary before" in question.why
            assert str(other.path) in question.why
            two.desk.approve(question, lifetime)
            assert "instructions" in link.answer_to(opening)["result"]
    for application in (known, other):
        with application.connect(two, "diary", client) as link:
            assert "instructions" in link.open()["result"]


def test_a_revoked_connection_ends_its_links_and_is_asked_about_again(two: Running) -> None:
    client = two.newcomer("diary")
    (grant,) = [grant for grant in two.desk.grants() if grant.client == client]
    with two.connect("diary", client) as link:
        link.open()
        assert two.bulkhead("revoke", grant.id).returncode == 0
        assert link.wait() == 1
        assert "its connection grant was revoked" in link.errors()
    with two.connect("diary", client) as link:
        link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        assert question.client == client
        two.desk.deny(question)
    assert two.bulkhead("revoke", grant.id).returncode == 1


def test_a_client_that_gave_up_takes_its_question_with_it_and_is_asked_about_again(two: Running) -> None:
    client = stranger(two)
    with two.connect("diary", client) as link:
        link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        link.process.kill()
        two.desk.no_link("diary", client)
    assert two.bulkhead("approve", question.id, "--for", "always").returncode == 1
    with two.connect("diary", client) as link:
        link.start_request("initialize", OPENING)
        again = two.desk.question(server="diary")
        assert (again.client, again.id == question.id) == (client, False)
        two.desk.deny(again)


# --- who may connect at all -------------------------------------------------------------------------------------------


def test_a_client_nobody_registered_is_refused_and_told_how_to(two: Running) -> None:
    with two.connect("diary", "nobody") as link:
        assert link.wait() == 1
        assert link.receive_line() == b""
        assert link.errors() == "bulkhead: 'nobody' is not a registered client\ntry: bulkhead client add nobody\n"


def test_a_wrong_secret_is_refused_without_a_link(two: Running) -> None:
    client = two.newcomer("diary")
    secret = (two.paths.config / "clients" / f"{client}.secret").read_text().strip()
    for wrong in ("", "0" * 64, secret[:-1], secret.upper() + " "):
        said = knock(two, b"\0".join(map(str.encode, ("bulkhead 1", "diary", client, wrong, "/"))) + b"\n")
        assert said.startswith(b"no ")
        assert b"not with this secret" in said
        assert secret.encode() not in said
    assert [link for session in two.desk.sessions() if session.client == client for link in session.links] == []


@pytest.mark.claim("C36")
def test_the_socket_of_clients_answers_no_question_and_changes_no_policy(two: Running) -> None:
    with two.connect("diary", stranger(two)) as link:
        link.start_request("initialize", OPENING)
        question = two.desk.question(server="diary")
        yes = schema.Answered(id=question.id, digest=question.digest, allow=True).model_dump_json()
        for words in (
            f'{{"v": 1, "id": 1, "method": "approve", "params": {yes}}}\n',
            '{"v": 1, "id": 1, "method": "status", "params": {}}\n',
            f"bulkhead 1\0approve\0{question.id}\n",
        ):
            assert knock(two, words.encode()).startswith(b"no ")
        assert question.id in [open.id for open in two.desk.pending()]
        two.desk.deny(question)


def knock(home: Running, hello: bytes) -> bytes:
    """Say `hello` at the door with two pipes of a client, and return all it says."""
    pipes = [*os.pipe(), *os.pipe()]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(10)
        caller.connect(str(home.paths.connect_socket))
        socket.send_fds(caller, [hello], [pipes[0], pipes[3]])
        said = caller.recv(4096)
    for descriptor in pipes:
        os.close(descriptor)
    return said


# --- no answer --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def unanswered(two: Running) -> Iterator[tuple[RawClient, int, str]]:
    """A handshake nobody answers, begun before the other tests of this module: its number, and the question's."""
    with two.connect("post", stranger(two)) as link:
        opening = link.start_request("initialize", OPENING)
        yield link, opening, two.desk.question(server="post").id


@pytest.mark.claim("C30", "C31")
def test_a_handshake_nobody_answers_gets_an_empty_server_and_a_late_yes_brings_its_tools(
    two: Running, unanswered: tuple[RawClient, int, str]
) -> None:
    link, opening, question = unanswered
    assert "instructions" not in link.answer_to(opening, within=Waits().handshake_answer + MARGIN)["result"]
    link.notify("notifications/initialized")
    assert link.tools() == []
    refused = link.call("echo", {"text": "ahoy"})["result"]
    assert "nobody has said yes yet; to allow: bulkhead pending" in str(refused)
    assert two.bulkhead("approve", question, "--for", "session").returncode == 0
    assert "notifications/tools/list_changed" in {link.receive()["method"] for _ in range(3)}
    assert len(link.tools()) == 7
    assert link.call_text("echo", {"text": "ahoy"}) == "ahoy"


# --- an effect on one server after reading from another ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """One session with a link to each server, in which the diary was read."""

    client: str
    diary: RawClient
    post: RawClient

    def send(self, text: str, meta: JsonObject | None = None) -> int:
        """Begin a call of the other server, and return its number."""
        call = {"name": "echo", "arguments": {"text": text}}
        return self.post.start_request("tools/call", call, meta=meta)


@pytest.fixture
def session(two: Running) -> Iterator[Session]:
    client = two.newcomer("diary", "post")
    with two.connect("diary", client) as diary, two.connect("post", client) as post:
        diary.open()
        post.open()
        assert diary.call_text("echo", {"text": "dear diary"}) == "dear diary"
        yield Session(client, diary, post)


@pytest.mark.claim("C34")
def test_what_was_read_from_one_server_holds_a_call_to_another_until_a_person_says_yes(
    two: Running, session: Session
) -> None:
    call = session.send("dear diary")
    question = two.desk.question(server="post", kind="call")
    assert question.why.startswith("R3: this session has read from diary (echo)")
    assert question.detail == '{"text":"dear diary"}'
    assert session.post.hears_nothing(0.2)
    assert two.desk.link("post", session.client).pid == 0, "the server was started for a call nobody allowed"
    said = two.bulkhead("approve", question.id)
    assert (said.returncode, said.stdout) == (0, f"allowed: {question.what}\n")
    assert session.post.answer_to(call)["result"]["content"][0]["text"] == "dear diary"


@pytest.mark.claim("C34", "C31")
def test_a_no_to_a_held_call_is_a_tool_error_and_reaches_no_server(two: Running, session: Session) -> None:
    call = session.send("dear diary")
    question = two.desk.question(server="post", kind="call")
    said = two.bulkhead("deny", question.id)
    assert (said.returncode, said.stdout) == (0, f"denied: {question.what}\n")
    refused = session.post.answer_to(call)["result"]
    assert refused["isError"]
    assert "refused by Bulkhead (R3)" in str(refused)
    assert two.desk.link("post", session.client).pid == 0
    answers = two.desk.receipts(client=session.client, kind="answer")
    assert answers[-1]["verdict"] == "deny"


@pytest.mark.claim("C34")
@pytest.mark.parametrize("lifetime", ["once", "session", "always"])
def test_a_yes_to_a_held_call_lasts_as_long_as_it_was_given_for(two: Running, session: Session, lifetime: str) -> None:
    call = session.send("one")
    assert two.bulkhead("approve", two.desk.question(server="post", kind="call").id, "--for", lifetime).returncode == 0
    assert "result" in session.post.answer_to(call)
    call = session.send("two")
    if lifetime == "once":
        two.desk.deny(two.desk.question(server="post", kind="call"))
        assert "refused by Bulkhead (R3)" in str(session.post.answer_to(call))
        return
    assert session.post.answer_to(call)["result"]["content"][0]["text"] == "two"
    other = session.post.start_request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    question = two.desk.question(server="post", kind="call")
    assert "use the tool add" in question.what, "the yes was for another tool"
    two.desk.deny(question)
    session.post.answer_to(other)


def test_a_client_that_asked_for_progress_hears_that_a_person_is_waited_for(two: Running, session: Session) -> None:
    call = session.send("dear diary", {"progressToken": "token"})
    news = session.post.receive(within=2 * MARGIN)
    assert news["method"] == "notifications/progress"
    assert news["params"]["progressToken"] == "token"
    assert "waits for a person's answer" in news["params"]["message"]
    two.desk.deny(two.desk.question(server="post", kind="call"))
    assert session.post.answer_to(call)["result"]["isError"]


def test_a_late_yes_to_a_call_that_was_given_up_sends_nothing_and_lets_the_same_call_through_once(
    two: Running, session: Session
) -> None:
    call = session.send("dear diary")
    question = two.desk.question(server="post", kind="call")
    session.post.notify("notifications/cancelled", {"requestId": call})
    session.post.request("ping")
    two.desk.approve(question)
    two.desk.no_question(question.id)
    assert two.desk.link("post", session.client).pid == 0
    assert session.post.answer_to(session.send("dear diary"))["result"]["content"][0]["text"] == "dear diary"
    again = session.send("dear diary")
    two.desk.deny(two.desk.question(server="post", kind="call"))
    assert session.post.answer_to(again)["result"]["isError"]


def test_an_ended_session_forgets_what_was_allowed_for_it_and_what_it_read(two: Running, session: Session) -> None:
    call = session.send("one")
    two.desk.approve(two.desk.question(server="post", kind="call"), "session")
    session.post.answer_to(call)
    (view,) = [view for view in two.desk.sessions() if view.client == session.client]
    assert view.reads == ["diary: tools/call echo", "post: tools/call echo"]
    assert two.bulkhead("session", "end", view.id).returncode == 0
    assert session.post.wait() == 1
    assert [grant.kind for grant in two.desk.grants() if grant.client == session.client] == ["connection"] * 2
    with two.connect("post", session.client) as post:
        post.open()
        assert post.call_text("echo", {"text": "fresh"}) == "fresh"
