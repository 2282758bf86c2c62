"""A new session of a client goes on from its last ones, until a person or a quiet time ends that."""

from pathlib import Path
from typing import Final

import pytest

from broker.flow.heirs import KEPT_SECONDS, QUIET_SECONDS
from broker.flow.labels import WORST, Labels
from broker.flow.ledger import hold
from broker.flow.store import LedgerStore
from broker.model import Call, ClientName, ServerName, SessionId

KEY: Final = b"integrity key of this test home!"
MAIL, FILES = ServerName("mail"), ServerName("files")
FIRST, SECOND, THIRD = SessionId("s-1"), SessionId("s-2"), SessionId("s-3")
START: Final = 1_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def store(folder: Path, clock: Clock) -> LedgerStore:
    return LedgerStore(folder / "ledgers", KEY, clock)


def note(ledgers: LedgerStore, session: SessionId, server: ServerName = MAIL) -> None:
    labels = Labels(frozenset({"P"}), "L", "reads")
    ledgers.note(session, server, "tools/call", "read", labels, {"content": "secret words of somebody else"})


def held(ledgers: LedgerStore, session: SessionId) -> tuple[str, ...]:
    call = Call(ClientName("desk"), FILES, session, "client", "tools/call", "write", {}, "")
    decision = hold(call, WORST, ledgers.view(session))
    return decision.evidence if decision is not None else ()


@pytest.mark.claim("C39")
def test_a_client_that_starts_again_is_held_by_what_it_read_before(tmp_path: Path) -> None:
    ledgers = store(tmp_path, Clock())
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    ledgers.begin(SECOND, "desk")
    assert held(ledgers, SECOND)[-1] == "read from mail: an earlier session of this client [private]"
    assert held(store(tmp_path, Clock()), SECOND), "after a restart too"


def test_another_client_is_not(tmp_path: Path) -> None:
    ledgers = store(tmp_path, Clock())
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    ledgers.begin(SECOND, "other")
    assert not held(ledgers, SECOND)


def test_what_is_inherited_is_labels_and_no_value(tmp_path: Path) -> None:
    ledgers = store(tmp_path, Clock())
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    ledgers.begin(SECOND, "desk")
    for known in (ledgers, store(tmp_path, Clock())):
        assert not known.provenance(SECOND).trace(("secret words of somebody else",), (FILES, ""), leaves=True)
    note(ledgers, SECOND)
    assert not ledgers.view(SECOND).elsewhere(MAIL), "reading on at the same server is no crossing"


def test_it_is_handed_on_from_session_to_session(tmp_path: Path) -> None:
    clock = Clock()
    ledgers = store(tmp_path, clock)
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    ledgers.begin(SECOND, "desk")
    clock.now += QUIET_SECONDS - 1
    note(ledgers, SECOND, FILES)
    clock.now += QUIET_SECONDS - 1
    ledgers.begin(THIRD, "desk")
    assert held(ledgers, THIRD)


def test_a_session_that_reads_late_is_inherited_from_all_the_same(tmp_path: Path) -> None:
    clock = Clock()
    ledgers = store(tmp_path, clock)
    ledgers.begin(FIRST, "desk")
    clock.now += QUIET_SECONDS * 2
    ledgers.begin(SECOND, "desk")
    note(ledgers, FIRST)
    ledgers.begin(THIRD, "desk")
    assert held(ledgers, THIRD) and not held(ledgers, SECOND)


def test_after_a_quiet_time_a_client_is_new(tmp_path: Path) -> None:
    clock = Clock()
    ledgers = store(tmp_path, clock)
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    clock.now += QUIET_SECONDS - 1
    note(ledgers, FIRST)
    clock.now += QUIET_SECONDS - 1
    ledgers.begin(SECOND, "desk")
    assert held(ledgers, SECOND), "the same read again counts as a read"
    clock.now += KEPT_SECONDS + QUIET_SECONDS
    ledgers.begin(THIRD, "desk")
    assert not held(ledgers, THIRD)


def test_a_person_makes_a_client_new(tmp_path: Path) -> None:
    ledgers = store(tmp_path, Clock())
    ledgers.begin(FIRST, "desk")
    note(ledgers, FIRST)
    ledgers.end_session(FIRST)
    ledgers.forget_client("desk")
    ledgers.begin(SECOND, "desk")
    assert not held(ledgers, SECOND)
