from broker.protocol.lifecycle import ANSWERS, MOVES, Admission, Phase, may_request


def test_every_phase_of_a_server_can_end() -> None:
    assert all(Phase.ABSENT in moves for phase, moves in MOVES.items() if phase is not Phase.ABSENT)
    assert set(MOVES) == set(Phase)


def test_no_call_phase_is_reached_without_comparing() -> None:
    assert [phase for phase, moves in MOVES.items() if Phase.READY in moves] == [Phase.COMPARING]


def test_an_admission_that_was_given_is_not_answered_again() -> None:
    assert set(ANSWERS) == set(Admission)
    assert not ANSWERS[Admission.ADMITTED]
    assert all(Admission.UNDECIDED not in answers for answers in ANSWERS.values())


def test_a_legacy_client_opens_first_and_once() -> None:
    assert may_request("legacy", "initialize", settled=False)
    assert may_request("legacy", "ping", settled=False)
    assert not may_request("legacy", "tools/call", settled=False)
    assert not may_request("legacy", "initialize", settled=True)
    assert may_request("legacy", "tools/call", settled=True)


def test_a_modern_client_may_begin_with_anything() -> None:
    assert may_request("modern", "tools/call", settled=False)
    assert may_request("modern", "server/discover", settled=True)
