"""R6: what a person declassified holds nothing in its session, until it is read again; nobody else's ledger changes."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.flow.declassify import objection
from broker.flow.labels import Labels
from broker.flow.ledger import EVERYTHING, INHERITED, Ledger, Read, hold
from broker.flow.store import LedgerStore
from broker.model import Call, ClientName, ServerName, SessionId

KEY: Final = b"integrity key of this test home!"
MAIL, WEB, FILES = ServerName("mail"), ServerName("web"), ServerName("files")
ONE, TWO = SessionId("s-1"), SessionId("s-2")
SECRET: Final = "the spare key 88812-aa-7 lies with bo@near.example"
WRITES: Final = Labels(frozenset({"M"}), "H")


def store(folder: Path) -> LedgerStore:
    return LedgerStore(folder, KEY, lambda: 1000.0)


def note(ledgers: LedgerStore, words: str = SECRET, session: SessionId = ONE, method: str = "tools/call") -> None:
    ledgers.note(session, MAIL, method, "inbox", Labels(frozenset({"P", "U"}), "L"), {"content": words})


def held(ledgers: LedgerStore, session: SessionId = ONE) -> bool:
    call = Call(ClientName("desk"), FILES, session, "client", "tools/call", "write", {}, "")
    return hold(call, WRITES, ledgers.view(session)) is not None


def traced(ledgers: LedgerStore, session: SessionId = ONE, words: str = SECRET) -> bool:
    return bool(ledgers.provenance(session).trace((words,), (FILES, ""), leaves=True))


def declassify(ledgers: LedgerStore, place: int = 0) -> None:
    ledgers.declassify(ONE, ledgers.view(ONE).reads[place])


@pytest.mark.claim("C83")
def test_a_declassified_read_holds_nothing_in_its_session_until_the_same_call_reads_again(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    note(ledgers, session=TWO)
    assert held(ledgers) and traced(ledgers)
    declassify(ledgers)
    for again in (ledgers, store(tmp_path)):  # and in a daemon that was started again
        assert not held(again) and not traced(again)
        assert held(again, TWO) and traced(again, TWO), "another session's read is its own"
    note(ledgers)
    for again in (ledgers, store(tmp_path)):
        assert held(again) and traced(again)


def test_what_was_read_by_another_call_stays_a_read_and_a_prompt_is_no_tool(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    note(ledgers, "the north gate opens at 4471-kx-99", method="prompts/get")
    declassify(ledgers)
    for again in (ledgers, store(tmp_path)):
        assert [read.method for read in again.view(ONE).elsewhere(FILES)] == ["prompts/get"]
        assert held(again) and traced(again, words="the north gate opens at 4471-kx-99") and not traced(again)


def test_a_name_for_a_read_is_for_what_was_read_until_then_in_that_session(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    note(ledgers)
    note(ledgers, session=TWO)
    first = ledgers.handle(ONE, ledgers.view(ONE).reads[0])
    assert first != ledgers.handle(TWO, ledgers.view(TWO).reads[0])
    note(ledgers)
    assert first != ledgers.handle(ONE, ledgers.view(ONE).reads[0])


def test_the_next_session_of_the_client_begins_with_what_was_declassified_in_the_last(tmp_path: Path) -> None:
    ledgers = store(tmp_path)
    ledgers.begin(ONE, "desk")
    note(ledgers)
    declassify(ledgers)
    ledgers.begin(TWO, "desk")
    assert not held(ledgers) and held(ledgers, TWO)


def test_a_kill_in_the_middle_of_declassifying_leaves_a_read_that_holds(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ledgers = store(whole)
    note(ledgers)
    files = sorted(whole.iterdir())
    before = [file.read_bytes() for file in files]
    declassify(ledgers)
    after = [file.read_bytes() for file in files]
    assert [file.suffix for file in files] == [".jsonl", ".marks"]
    killed = tmp_path / "killed"
    killed.mkdir()
    cuts = [(before[0], after[1][:end]) for end in range(len(before[1]), len(after[1]) + 1, 7)]  # the marks go first
    cuts += [(after[0][:end], after[1]) for end in range(len(before[0]), len(after[0]))]
    for left in cuts:
        for file, data in zip(files, left, strict=True):
            (killed / file.name).write_bytes(data)
        assert held(store(killed))


@pytest.mark.parametrize(("method", "target", "scope", "why"), [
    (INHERITED, EVERYTHING, "", "an earlier session"), (EVERYTHING, EVERYTHING, "", "several calls"),
    ("tools/call", "inbox", EVERYTHING, "several calls"), ("resources/read", "a" * 64, "", "by a name"),
    ("notifications/message", "a" * 64, "", "by a name"),
])  # fmt: skip
def test_nobody_vouches_for_what_is_not_one_read_with_a_name(method: str, target: str, scope: str, why: str) -> None:
    assert why in objection(Read(MAIL, method, target, frozenset("P"), "", 0.0, scope=scope))  # type: ignore[arg-type]


which = st.builds(
    lambda server, tool: Read(ServerName(server), "tools/call", tool, frozenset(), "", 0.0),
    st.sampled_from(("mail", "web", "files")), st.sampled_from(("a", "b")),
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), which), max_size=12), which)
def test_declassifying_one_read_changes_no_other_and_reading_it_again_undoes_it(
    steps: list[tuple[bool, Read]], one: Read
) -> None:
    ledger = Ledger()
    for clean, read in steps:
        ledger = ledger.declassified(read) if clean else ledger.with_read(read)
    cleaned = ledger.declassified(one)
    same = [read for read in ledger.reads if (read.server, read.target) != (one.server, one.target)]
    assert [read for read in cleaned.reads if (read.server, read.target) != (one.server, one.target)] == same
    assert all(read.clean for read in cleaned.reads if (read.server, read.target) == (one.server, one.target))
    assert one in [Read(read.server, read.method, read.target, frozenset(), "", 0.0) for read in cleaned.with_read(one)
                   .elsewhere(ServerName("none"))]  # fmt: skip
    assert not cleaned.knows(one)
