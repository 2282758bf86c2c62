"""The command line as a contract: exit codes, one JSON document where it is asked for, and nothing harmful printed."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

import broker.cli
from broker.api import schema
from broker.api.sockets import listen
from broker.api.wire import Caller, FrontDesk, Handler
from broker.cli import output
from broker.cli.arguments import parser
from broker.cli.environment import MAX_VALUE, caller_environment
from broker.config import paths_under
from broker.errors import (
    AuditError,
    BulkheadError,
    ConfigError,
    DaemonUnreachable,
    DeskError,
    MachineError,
    PolicyError,
    SandboxError,
    TrustError,
)
from broker.model import Peer

LIMIT: Final = 20.0
BAD: Final = "x\x1b[31m\u202e\x07\n\u200bINJECTED"


# --- a desk to ask --------------------------------------------------------------------------------------------------


class Desk:
    """A front desk in a thread of its own, whose routes answer what the test says, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, schema.Words]] = []
        self.answers: dict[str, schema.Words | Exception] = {}
        self.answering: dict[str, Callable[[Any], schema.Words]] = {}
        self.events: dict[str, list[schema.Words]] = {}

    def handlers(self) -> dict[str, Handler]:
        return {method: self._handler(route) for method, route in schema.ROUTES.items()}

    def _handler(self, route: schema.Route) -> Handler:
        async def answer(caller: Caller, params: Any) -> schema.Words:
            self.asked.append((route.method, params))
            said = self.answers.get(route.method, schema.Nothing())
            if isinstance(said, Exception):
                raise said
            for event in self.events.get(route.method, [schema.Progress(text="working")]):
                caller.event(event)
            return self.answering[route.method](params) if route.method in self.answering else said

        return answer

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


@contextmanager
def running(home: Path) -> Iterator[Desk]:
    """A desk where a command looks for its daemon."""
    desk, loop = Desk(), asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        front = FrontDesk(desk.handlers(), _open)
        await front.open(listen(paths_under(home).control_socket))
        ready.set()
        await stop.wait()
        await front.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="desk")
    thread.start()
    assert ready.wait(LIMIT)
    try:
        yield desk
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LIMIT)
        loop.close()


def _open(_peer: Peer, _route: schema.Route) -> None:
    """Everybody may."""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="bh-") as folder:
        monkeypatch.setenv("BULKHEAD_HOME", folder)
        yield Path(folder).resolve()


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with running(home) as made:
        yield made


def bulkhead(*words: str) -> int:
    return broker.cli.main(words)


def status(**changes: Any) -> schema.Statuses:
    facts: dict[str, Any] = {
        "version": "1", "pid": 1, "uptime": 1.0, "home": "/h", "tier": "A", "keychain": "file", "presence": "required",
        "sessions": 0, "links": 0, "questions": 0, "servers": 0, "policy": "balanced",
    }  # fmt: skip
    return schema.Statuses(status=schema.Status(**(facts | changes)))


QUESTION: Final = schema.QuestionView(
    id="q1", kind="call", client="desk", server="notes", session="s", what=f"desk wants {BAD}", why=f"why {BAD}",
    digest="d" * 64, asked=0.0, deadline=100.0, evidence=[f"evidence {BAD}"], detail="y" * 9000 + f"\n{BAD}\nend",
)  # fmt: skip
SERVER: Final = schema.ServerView(
    name="notes", enabled=True, state="pinned", argv=["npx", BAD], tree="a" * 64, version=BAD, findings=[BAD],
    changes=[BAD], prompts=[BAD], resources=[BAD], tools=[schema.ToolView(name=BAD, description=BAD)],
)  # fmt: skip
SESSION: Final = schema.SessionView(
    id="s1", client="desk", root_pid=1, root_executable=BAD, started=0.0, reads=[BAD],
    readings=[schema.ReadView(id="r1", server="notes", what=BAD, labels=["P"], times=2, last=0.0, digest="d")],
    links=[schema.LinkView(id="l", server="notes", state="running", opened=0.0)],
)  # fmt: skip
GRANT: Final = schema.GrantView(
    id="g1", kind="call", client="desk", server="notes", target=BAD, rule=BAD, lifetime="always"
)
RECEIPT: Final = {"seq": 7, "kind": "decision", "method": "tools/call", "target": BAD, "verdict": "deny", "rule": BAD}
CLIENT: Final = schema.ClientView(name="desk", created="now", executables=[BAD])
ITEM: Final = schema.ReviewItem(kind="document", name="policy.toml", digest="d" * 64, changes=["-" + "z" * 2000 + BAD])
FULL: Final[dict[str, schema.Words | Exception]] = {
    "status": status(),
    "pending": schema.Questions(questions=[QUESTION]),
    "servers": schema.Servers(servers=[SERVER]),
    "sessions": schema.Sessions(sessions=[SESSION]),
    "grants": schema.GrantList(grants=[GRANT]),
    "clients": schema.Clients(clients=[CLIENT]),
    "audit": schema.Receipts(receipts=[RECEIPT]),
    "audit.open": schema.Receipts(receipts=[RECEIPT]),
    "review": schema.Review(items=[ITEM]),
    "server.verify": schema.Checks(checks=[schema.Check(name="notes", problem=BAD)]),
}

# --- exit codes -----------------------------------------------------------------------------------------------------


def failing(problem: BaseException) -> Callable[[Namespace, object], Awaitable[int]]:
    async def run(_args: Namespace, _context: object) -> int:
        raise problem

    return run


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DaemonUnreachable("no daemon", hint="bulkhead up"), 3),
        (MachineError("no sandbox", hint="bulkhead doctor"), 4),
        (DeskError("no sandbox", hint="bulkhead doctor", code="machine"), 4),
        (DeskError("no", hint="look", code="presence"), 1),
        (DeskError("no", hint="look", code="usage"), 1),
        (TrustError("changed", hint="look"), 1),
        (PolicyError("wrong", hint="look"), 1),
        (ConfigError("wrong", hint="look"), 1),
        (AuditError("full", hint="look"), 1),
        (SandboxError("full", hint="look"), 1),
    ],
)
def test_every_kind_of_no_has_its_exit_code_one_sentence_and_one_line_to_try(
    home: Path,
    problem: BulkheadError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("broker.cli.answers.pending", failing(problem))
    assert bulkhead("pending") == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"bulkhead: {problem}\ntry: {problem.hint}\n")


def test_an_interruption_is_a_no_without_a_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.cli.answers.pending", failing(KeyboardInterrupt()))
    assert bulkhead("pending") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",), ("add",), ("add", "x"), ("approve",), ("approve", "q1", "--for", "ever"), ("audit",),
        ("pending", "extra"), ("session", "pause", "x"), ("policy", "frobnicate", "x"), ("audit", "tail", "-n", "x"),
    ],
)  # fmt: skip
def test_wrong_usage_is_two(home: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        bulkhead(*words)
    assert left.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "tail", "-n", "0"), ("audit", "tail", "-n", "-1"), ("audit", "search", "-n", "10001"),
        ("add", "x", "--env", "NOVALUE", "--", "/bin/true"), ("add", "x", "--", *["/bin/true"] * 600),
        ("client", "add"), ("policy", "use"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_request_is_wrong_usage_too(
    desk: Desk, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bulkhead: ")
    assert said.err.splitlines()[1].startswith("try: ")
    assert set(desk.methods()) <= {"server.prepare"}


def test_without_a_daemon_down_is_done_and_status_is_three(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bulkhead("down") == 0
    assert capsys.readouterr().out == "no daemon runs\n"
    assert bulkhead("status") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "no daemon answers at" in said.err
    assert os.listdir(home) == []  # neither starts one


def test_no_presence_is_refused_for_a_real_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BULKHEAD_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert bulkhead("up", "--unsafe-no-presence") == 1
    assert "refused for your real home" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_the_screen_needs_a_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bulkhead() == 3
    assert "the screen needs a terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answers", "code"),
    [
        (("status",), {"status": status()}, 0),
        (("status",), {"status": status(policy_problem="the old one stays")}, 1),
        (("verify",), {"server.verify": schema.Checks(checks=[schema.Check(name="notes")])}, 0),
        (("verify",), {"server.verify": schema.Checks(checks=[schema.Check(name="notes", problem="changed")])}, 1),
        (("review",), {"review": schema.Review(items=[])}, 0),
        (("review",), {"review": schema.Review(items=[ITEM])}, 1),
        (("review", "--json"), {"review": schema.Review(items=[ITEM])}, 1),
        (("review", "--yes"), {"review": schema.Review(items=[ITEM])}, 0),
        (("review", "other"), {"review": schema.Review(items=[ITEM])}, 0),
        (("show", "notes"), {"servers": schema.Servers(servers=[SERVER])}, 0),
        (("show", "other"), {"servers": schema.Servers(servers=[SERVER])}, 1),
        (("pin", "other"), {"servers": schema.Servers(servers=[SERVER])}, 1),
        (("approve", "q1"), {"pending": schema.Questions(questions=[QUESTION])}, 0),
        (("approve", "q2"), {"pending": schema.Questions(questions=[QUESTION])}, 1),
        (("deny", "q2"), {"pending": schema.Questions(questions=[])}, 1),
        (("audit", "show", "7"), {"audit.open": schema.Receipts(receipts=[RECEIPT])}, 0),
        (("audit", "show", "8"), {"audit.open": schema.Receipts(receipts=[RECEIPT])}, 1),
        (("remove", "x"), {"server.remove": DeskError("there is no server x", code="unknown")}, 1),
        (("enable", "x"), {"server.enable": DeskError("only a person may do this", code="presence")}, 1),
        (("disable", "x/y"), {}, 0),
        (("revoke", "g1"), {}, 0),
        (("session", "end", "s1"), {}, 0),
        (("client", "add", "cursor"), {}, 0),
        (("client", "remove", "cursor"), {}, 0),
        (("policy", "use", "strict"), {}, 0),
        (("policy", "check", "strict"), {}, 0),
        (("policy", "show", "nothing"), {}, 1),
        (("policy", "check", "/bin/true"), {}, 1),
    ],
)
def test_the_answer_is_in_the_exit_code(
    desk: Desk, words: tuple[str, ...], answers: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = answers
    assert bulkhead(*words) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err


# --- answers carry the digest ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "method", "allow", "lifetime"),
    [
        (("approve", "q1"), "approve", True, "once"),
        (("approve", "q1", "--for", "session"), "approve", True, "session"),
        (("approve", "q1", "--for", "always"), "approve", True, "always"),
        (("deny", "q1"), "deny", False, "once"),
    ],
)
def test_an_answer_names_the_question_by_what_it_asks(
    desk: Desk, words: tuple[str, ...], method: str, allow: bool, lifetime: str
) -> None:
    desk.answers = {"pending": schema.Questions(questions=[QUESTION])}
    assert bulkhead(*words) == 0
    assert desk.asked[-1] == (
        method, schema.Answered.model_validate({"id": "q1", "digest": "d" * 64, "allow": allow, "lifetime": lifetime})
    )  # fmt: skip


def test_a_question_is_shown_whole(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What was cut could be what matters."""
    desk.answers = FULL
    assert bulkhead("pending") == 0
    said = capsys.readouterr().out
    assert "y" * 9000 in said
    assert said.rstrip().endswith("> end")


@contextmanager
def _terminal() -> Iterator[tuple[int, TextIO]]:
    """A terminal: the person's end, and the program's."""
    person, program = pty.openpty()
    with os.fdopen(program, "r") as theirs:
        yield person, theirs
    os.close(person)


def test_questions_are_followed_as_they_come_and_each_is_shown_once(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    second = QUESTION.model_copy(update={"id": "q2"})
    snapshot = schema.Snapshot(
        status=status().status, questions=[QUESTION], sessions=[], servers=[], grants=[], receipts=[]
    )
    desk.events = {"watch": [snapshot, schema.QuestionsChanged(questions=[QUESTION, second])]}
    assert bulkhead("pending", "--watch", "--json") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["q1", "q2"]
    assert bulkhead("pending", "--watch") == 0
    assert capsys.readouterr().out.count("\n    client desk, server notes") == 2


def test_nobody_is_asked_for_an_answer_where_there_is_no_terminal(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = {"pending": schema.Questions(questions=[QUESTION])}
    assert bulkhead("pending", "--answer") == 1
    assert "try: bulkhead approve ID" in capsys.readouterr().err
    assert desk.methods() == []


@pytest.mark.parametrize(
    ("typed", "method", "lifetime"),
    [("y", "approve", "once"), ("s", "approve", "session"), ("a", "approve", "always"), ("n", "deny", "once"),
     ("", "deny", "once"), ("x", "deny", "once")],
)  # fmt: skip
def test_a_question_can_be_answered_in_plain_lines_and_everything_but_a_yes_is_a_no(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, typed: str, method: str, lifetime: str
) -> None:
    desk.answers = {"pending": schema.Questions(questions=[QUESTION])}
    with _terminal() as (ours, theirs):
        monkeypatch.setattr(sys, "stdin", theirs)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        os.write(ours, f"{typed}\n".encode())
        assert bulkhead("pending", "--answer") == 0
    said = desk.asked[-1][1]
    assert (desk.methods()[-1], said) == (
        method,
        schema.Answered.model_validate({"id": "q1", "digest": "d" * 64, "allow": method == "approve",
                                        "lifetime": lifetime}),
    )  # fmt: skip


def test_a_change_is_shown_whole(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.answers = FULL
    bulkhead("review")
    assert "z" * 2000 + "x\ufffd[31m" in capsys.readouterr().out


# --- JSON -----------------------------------------------------------------------------------------------------------

LISTINGS: Final = (
    ("status",), ("pending",), ("servers",), ("show", "notes"), ("pin", "notes"), ("verify", "--offline"), ("review",),
    ("grants",), ("sessions",), ("client", "list"), ("audit", "tail"), ("audit", "search"), ("audit", "show", "7"),
    ("clients",), ("policy", "check", "strict"), ("policy", "show", "strict"),
)  # fmt: skip


@pytest.mark.parametrize("words", LISTINGS)
def test_json_is_one_document_and_holds_no_control_character(
    desk: Desk, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = FULL
    bulkhead(*words, "--json")
    text = capsys.readouterr().out
    json.loads(text)
    assert all(char == "\n" or " " <= char < "\x7f" for char in text)


def test_a_listing_of_nothing_is_an_empty_list(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.answers = {
        "pending": schema.Questions(questions=[]), "servers": schema.Servers(servers=[]),
        "grants": schema.GrantList(grants=[]), "sessions": schema.Sessions(sessions=[]),
        "clients": schema.Clients(clients=[]), "review": schema.Review(items=[]),
    }  # fmt: skip
    for words in (("pending",), ("servers",), ("grants",), ("sessions",), ("client", "list"), ("review",)):
        assert bulkhead(*words, "--json") == 0
        assert json.loads(capsys.readouterr().out) == []


def test_pending_shows_what_the_contract_names(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.answers = FULL
    assert bulkhead("pending", "--json") == 0
    (question,) = json.loads(capsys.readouterr().out)
    assert {"id", "kind", "client", "server", "what", "why", "deadline"} <= question.keys()


def test_status_shows_what_the_contract_names(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.answers = FULL
    assert bulkhead("status", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"version", "pid", "uptime", "tier", "keychain", "sessions", "links", "questions", "policy"} <= shown.keys()
    assert bulkhead("up", "--json") == 0
    assert json.loads(capsys.readouterr().out) == shown  # what it says beside it goes to standard error


def test_add_prints_the_pin_alone_and_shows_a_person_what_is_agreed_to(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = {
        "server.prepare": schema.Proposal(id="p", name="notes", digest="d" * 64, lines=["runs: notes"], warnings=["w"]),
        "server.agree": schema.Agreed(server=SERVER, notes=["n"]),
        "servers": schema.Servers(servers=[SERVER]),
    }
    for words in (
        ("add", "notes", "--json", "--yes", "--", "/bin/true"),
        ("pin", "notes", "--update", "--yes", "--json"),
    ):
        assert bulkhead(*words) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["server"]["name"] == "notes"
        assert "runs: notes" in said.err
        assert "note: w" in said.err


# --- what is printed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", LISTINGS)
def test_what_others_wrote_cannot_harm_a_terminal_or_begin_a_line(
    desk: Desk, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = FULL
    bulkhead(*words)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not {"\x1b", "\x07", "\u202e", "\u200b"} & set(text)
        assert not any(line.startswith("\ufffdINJECTED") for line in text.splitlines())


@given(st.text(), st.integers(0, 50))
def test_plain_text_holds_no_control_format_or_invisible_character_and_is_bounded(text: str, limit: int) -> None:
    clean = output.plain(text, limit)
    assert all(char in "\n\t" or char.isprintable() or char == "\u3000" or char.isspace() for char in clean)
    assert not any("\x00" <= char < "\x20" and char not in "\n\t" for char in clean)
    assert not {"\x7f", "\x9b", "\u200b", "\u202e", "\u2028", "\u2029", "\ufeff", "\U000e0041"} & set(clean)
    assert len(clean) <= limit + 1
    assert output.plain(clean, limit + 1) == clean
    assert "\n" not in output.line(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=100))
def test_ordinary_text_is_printed_as_it_is(text: str) -> None:
    assert output.plain(text) == text


def test_a_text_of_several_lines_keeps_them_and_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_text("a\n" * 1_000_000 + BAD)
    assert capsys.readouterr().out == "a\n" * 1_000_000 + output.plain(BAD) + "\n"


def test_a_question_is_one_line_whatever_stands_in_it() -> None:
    person, terminal = pty.openpty()
    ask = f"from broker.cli.output import ask; ask({BAD!r})"
    with subprocess.Popen([sys.executable, "-c", ask], stdin=terminal, stdout=terminal, stderr=terminal) as asked:
        os.close(terminal)
        prompt = b""
        while b"] " not in prompt:
            prompt += os.read(person, 1000)
        os.write(person, b"\n")
        asked.wait(60)
    os.close(person)
    assert b"\n" not in prompt
    assert b"\x1b" not in prompt


def test_a_table_stays_a_table_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(("A", "B"), [(BAD, "one"), ("short", "two")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("one")
    assert lines[2].index("two") == lines[0].index("B")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_our_characters_still_gets_the_sentence(home: Path, encoding: str) -> None:
    policy = home / "mine.toml"
    policy.write_text("ä")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from broker.cli import main; sys.exit(main())",
            "policy",
            "check",
            str(policy),
        ],
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"bulkhead: ")


def test_a_reader_that_left_is_no_traceback(home: Path) -> None:
    words = [
        sys.executable,
        "-c",
        "import sys; from broker.cli import main; sys.exit(main())",
        "policy",
        "show",
        "balanced",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None and started.stderr is not None
        started.stdout.close()
        assert started.wait(60) == 1
        assert started.stderr.read() == b""


# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["yn", "rwn"])
def test_without_a_terminal_the_answer_is_no(answers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output.ask("run this?", answers) == "n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("typed", "answers", "said"),
    [
        ("y\n", "yn", "y"), ("YES\n", "yn", "y"), ("n\n", "yn", "n"), ("\n", "yn", "n"), ("maybe\n", "yn", "n"),
        ("w\n", "rwn", "w"), ("\n", "rwn", "n"), ("rw\n", "rwn", "r"), ("x y\n", "yn", "n"), ("\x04", "yn", "n"),
    ],
)  # fmt: skip
def test_at_a_terminal_only_an_offered_letter_counts(typed: str, answers: str, said: str) -> None:
    person, terminal = pty.openpty()
    ask = f"from broker.cli.output import ask; print('said', ask('run this?', {answers!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=terminal, stdout=subprocess.PIPE, stderr=terminal
    ) as asked:
        os.close(terminal)
        prompt = b""
        while b"] " not in prompt:
            prompt += os.read(person, 1000)
        os.write(person, typed.encode())
        out, _ = asked.communicate(timeout=60)
    os.close(person)
    assert out.decode() == f"said {said}\n"
    assert prompt.decode().startswith("run this? [")
    assert answers[-1].upper() in prompt.decode()


def test_nobody_at_the_terminal_adds_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.answers = {
        "server.prepare": schema.Proposal(id="p", name="x", digest="d", lines=["runs: x"], paths=["/usr"]),
        "review": schema.Review(items=[ITEM]),
    }
    assert bulkhead("add", "x", "--", "/bin/true") == 1
    assert bulkhead("review") == 1
    assert {"server.agree", "review.accept"} & set(desk.methods()) == set()
    assert "not added" in capsys.readouterr().out


def test_yes_grants_paths_for_reading_only(desk: Desk) -> None:
    desk.answers = {
        "server.prepare": schema.Proposal(id="p", name="x", digest="d" * 64, lines=[], paths=["/usr", "/not/there"]),
        "server.agree": schema.Agreed(server=SERVER),
        "labels": schema.LabelsView(name="x", basis="worst", source="", publisher="x", catalog="", tools=[]),
    }
    assert bulkhead("add", "x", "--yes", "--write", "/tmp", "--", "/bin/true", "/usr") == 0
    (agreed,) = [params for method, params in desk.asked if method == "server.agree"]
    assert isinstance(agreed, schema.Agree)
    assert (agreed.digest, agreed.read, agreed.write) == ("d" * 64, ["/usr"], ["/tmp"])


# --- the grammar ----------------------------------------------------------------------------------------------------

CONTRACT: Final = {
    "up", "down", "status", "demo", "clients", "import", "undo", "add", "servers", "show", "remove", "enable",
    "disable", "verify", "pin", "review", "connect", "client", "grant", "pending", "approve", "deny", "grants",
    "revoke", "sessions", "session", "policy", "audit",
}  # fmt: skip
WITH_JSON: Final = {
    "up", "status", "demo", "clients", "client", "add", "servers", "show", "verify", "pin", "review", "pending",
    "grants", "sessions", "policy",
}  # fmt: skip


def commands(top: ArgumentParser) -> dict[str, ArgumentParser]:
    (found,) = [action for action in top._actions if isinstance(action, _SubParsersAction)]
    return dict(found.choices)


def test_every_command_of_the_contract_is_there_and_says_what_it_does() -> None:
    found = commands(parser())
    assert found.keys() >= CONTRACT
    for name, command in found.items():
        assert command.format_help(), name
    assert set(commands(found["audit"])) == {"tail", "search", "show", "export", "verify", "prune"}


@pytest.mark.parametrize("name", sorted(WITH_JSON))
def test_every_listing_takes_json(name: str) -> None:
    assert "--json" in commands(parser())[name].format_help()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["add", "n", "--", "npx", "-y", "pkg", "--flag", "/p"], ["npx", "-y", "pkg", "--flag", "/p"]),
        (["add", "n", "--yes", "--", "uvx", "x", "--", "y"], ["uvx", "x", "--", "y"]),
        (["add", "--env", "K=V", "n", "--", "/bin/true", "--json"], ["/bin/true", "--json"]),
    ],
)
def test_the_servers_own_words_stay_its_own(words: list[str], command: list[str]) -> None:
    args = parser().parse_args(words)
    assert (args.name, args.command, args.json) == ("n", command, False)


# --- which variables travel -----------------------------------------------------------------------------------------


def test_only_what_package_tools_need_leaves_this_process() -> None:
    mine = {
        "PATH": "/bin", "HOME": "/h", "https_proxy": "p", "HTTPS_PROXY": "P", "npm_config_registry": "r",
        "PIP_INDEX_URL": "i", "UV_INDEX": "u", "NODE_EXTRA_CA_CERTS": "c", "GNUPGHOME": "g",
    }  # fmt: skip
    others = {
        "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "t", "OPENAI_API_KEY": "k", "LD_PRELOAD": "l", "PYTHONPATH": "p",
        "NODE_OPTIONS": "--require x", "BULKHEAD_HOME": "b", "SSH_AUTH_SOCK": "s", "DBUS_SESSION_BUS_ADDRESS": "d",
        "XPIP_INDEX_URL": "x", "PATHS": "x",
    }  # fmt: skip
    assert caller_environment(mine | others) == mine


def test_a_value_of_any_length_stays_home() -> None:
    assert caller_environment({"PATH": "x" * (MAX_VALUE + 1), "HOME": "x" * MAX_VALUE}) == {"HOME": "x" * MAX_VALUE}
