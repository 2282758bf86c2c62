"""A client in a loop is refused as often as it asks, and on record as often as a person needs."""

import pytest

from broker.model import ClientName, Decision, Fact, Origin, ServerName, Verdict
from broker.refusals import IN_FULL, MAX_KINDS, WINDOW_SECONDS, Refusals

DESK = Origin(ClientName("desk"), ServerName("notes"))
OTHER = Origin(ClientName("other"), ServerName("notes"))
NO = Decision(Verdict.DENY, "no writing", "writing is not for clients")
REFUSED = Fact("decision", "client", "tools/call", "write", 7, NO, 100, "d" * 64, {"text": "x"}, durable=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_same_refusal_is_on_record_so_often_and_then_counted_in_one_receipt() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    full = [refusals.counts(DESK, REFUSED) for _ in range(1000)].count(False)
    assert full == IN_FULL
    assert refusals.due() == []
    clock.now = WINDOW_SECONDS
    ((origin, fact),) = refusals.due()
    assert (origin, fact.kind, fact.method, fact.target, fact.decision) == (DESK, "decision", "tools/call", "write", NO)
    assert fact.body == {"repeated": 1000 - IN_FULL, "seconds": 60}
    assert refusals.due() == []
    assert not refusals.counts(DESK, REFUSED)


def test_what_is_allowed_is_never_counted_instead_of_recorded() -> None:
    refusals = Refusals(Clock())
    yes = Decision(Verdict.ALLOW, "fine", "fine")
    allowed = [
        Fact("decision", "client", "tools/call", "write", decision=yes),
        Fact("decision", "client", "tools/call", "write", decision=Decision(Verdict.ASK, "ask", "ask")),
        Fact("request", "client", "tasks/get"),
        Fact("result", "server", "tools/call", body={"error": {"code": 1}}),
        Fact("result", "broker", "tools/list", body={"result": {"tools": []}}),
        Fact("violation", "server"),
        Fact("answer", "person", "tools/call", decision=NO),
    ]
    assert not any(refusals.counts(DESK, fact) for fact in allowed * (IN_FULL + 5))


@pytest.mark.parametrize(
    "fact",
    [
        Fact("result", "broker", "tools/call", body={"error": {"code": 403}}),
        Fact("result", "broker", "tools/call", body={"result": {"isError": True}}),
        Fact("request", "client", "x", decision=NO),
        Fact("violation", "client"),
        Fact("notification", "client", "x", body={"dropped": "nobody waits for it"}),
    ],
)
def test_the_answer_and_what_went_nowhere_are_counted_too(fact: Fact) -> None:
    refusals = Refusals(Clock())
    assert [refusals.counts(DESK, fact) for _ in range(IN_FULL + 1)] == [False] * IN_FULL + [True]


def test_another_client_has_counts_of_its_own() -> None:
    refusals = Refusals(Clock())
    for _ in range(IN_FULL + 1):
        refusals.counts(DESK, REFUSED)
    assert not refusals.counts(OTHER, REFUSED)


def test_words_that_change_each_time_make_no_new_kind_of_refusal() -> None:
    refusals = Refusals(Clock(), is_method=lambda name: name == "tools/call")
    facts = [Fact("request", "client", f"nonsense/{number}", decision=NO) for number in range(500)]
    assert [refusals.counts(DESK, fact) for fact in facts].count(False) == IN_FULL
    crowd = Refusals(Clock())
    facts = [Fact("request", "client", f"nonsense/{number}", decision=NO) for number in range(MAX_KINDS + 500)]
    assert [crowd.counts(DESK, fact) for fact in facts].count(False) == MAX_KINDS + IN_FULL
