"""Laws of judging."""

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import STRICTNESS, Call, ClientName, Decision, ServerName, SessionId, Side, Verdict
from broker.policy.evaluate import CONNECTION, MAX_REMEMBERED, Policy, Rule, connection, evaluate, strictest

WORDS: Final = ("a", "b", "ab", "A", "*", "a*", "?", "[ab]", "[!a]*", "a.b/c")
patterns = st.sampled_from(("*",) * 12 + WORDS)  # mostly anything, so that several rules match one call
names = st.sampled_from(("a", "b", "ab", "A", "a.b/c", "", "a\nb", "*"))
rules = st.builds(
    Rule,
    name=st.text("abcdef", min_size=1, max_size=3),
    verdict=st.sampled_from(Verdict),
    reason=st.just("because"),
    client=patterns,
    server=patterns,
    origin=st.sampled_from(("client", "server", "either")),
    method=patterns,
    target=patterns,
)
policies = st.lists(rules, max_size=8, unique_by=lambda rule: rule.name)
calls = st.builds(
    Call,
    client=names.map(ClientName),
    server=names.map(ServerName),
    session=st.just(SessionId("s")),
    origin=st.sampled_from(("client", "server")),
    method=names,
    target=names,
    arguments=st.just({}),
    digest=st.just(""),
)


def policy_of(*given: Rule) -> Policy:
    return Policy("test", "a policy of this test", tuple(given))


def call(method: str = "tools/call", target: str = "read", *, client: str = "cursor", server: str = "files",
         origin: Side = "client") -> Call:  # fmt: skip
    return Call(ClientName(client), ServerName(server), SessionId("s-1"), origin, method, target, {}, "d" * 64)


def test_a_denial_wins_over_a_question_and_a_question_over_a_yes_wherever_they_stand() -> None:
    yes, ask, no = (Rule(verdict.value, verdict, "because") for verdict in Verdict)
    assert evaluate(policy_of(no, ask, yes), call()) == evaluate(policy_of(yes, no, ask), call())
    assert evaluate(policy_of(yes, no, ask), call()) == Decision(Verdict.DENY, "deny", "because")
    assert evaluate(policy_of(ask, yes), call()) == Decision(Verdict.ASK, "ask", "because")


def rank(decision: Decision) -> int:
    return STRICTNESS.index(decision.verdict)


@pytest.mark.claim("C31")
def test_nothing_matched_is_a_denial_that_says_so() -> None:
    decision = evaluate(policy_of(Rule("reads", Verdict.ALLOW, "fine", target="read_*")), call(target="write"))
    assert decision == Decision(Verdict.DENY, "default", "no rule of the policy test allows it")
    assert evaluate(policy_of(), call()).verdict is Verdict.DENY


@pytest.mark.claim("C32")
@given(policies.flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))), calls)
def test_the_order_of_the_rules_means_nothing(orders: tuple[list[Rule], list[Rule]], asked: Call) -> None:
    one, other = orders
    assert evaluate(policy_of(*one), asked) == evaluate(policy_of(*other), asked)


@pytest.mark.claim("C32")
@given(policies, rules, calls)
def test_adding_a_denial_never_makes_anything_more_permitted(
    given_rules: list[Rule], denial: Rule, asked: Call
) -> None:
    before = evaluate(policy_of(*given_rules), asked)
    after = evaluate(policy_of(*given_rules, replace(denial, name="zz", verdict=Verdict.DENY)), asked)
    assert rank(after) >= rank(before)


@pytest.mark.claim("C32")
@given(policies, rules, calls)
def test_a_question_added_to_what_is_allowed_never_makes_it_more_permitted(
    given_rules: list[Rule], question: Rule, asked: Call
) -> None:
    before = evaluate(policy_of(*given_rules), asked)
    after = evaluate(policy_of(*given_rules, replace(question, name="zz", verdict=Verdict.ASK)), asked)
    assert rank(after) >= rank(before) or before.rule == "default", "only what nobody spoke of may become a question"


@given(policies, calls)
@pytest.mark.claim("C32")
def test_the_decision_is_that_of_the_strictest_matching_rule(given_rules: list[Rule], asked: Call) -> None:
    matching = [
        rule
        for rule in given_rules
        if rule.origin in ("either", asked.origin)
        and fnmatchcase(asked.client, rule.client)
        and fnmatchcase(asked.server, rule.server)
        and fnmatchcase(asked.method, rule.method)
        and fnmatchcase(asked.target, rule.target)
    ]
    decision = evaluate(policy_of(*given_rules), asked)
    if not matching:
        assert (decision.verdict, decision.rule) == (Verdict.DENY, "default")
    else:
        assert rank(decision) == max(STRICTNESS.index(rule.verdict) for rule in matching)
        assert decision.rule in {rule.name for rule in matching if rule.verdict is decision.verdict}


@given(policies, st.lists(calls, min_size=1, max_size=5))
def test_a_remembered_decision_is_the_one_that_would_be_made(given_rules: list[Rule], asked: list[Call]) -> None:
    remembering = policy_of(*given_rules)
    for _ in range(2):
        for one in asked:
            assert evaluate(remembering, one) == evaluate(policy_of(*given_rules), one)


def test_what_is_remembered_has_a_bound_and_long_targets_are_not_kept() -> None:
    policy = policy_of(Rule("all", Verdict.ALLOW, "fine"))
    for number in range(MAX_REMEMBERED + 10):
        evaluate(policy, call(target=str(number)))
    assert len(policy._known) <= MAX_REMEMBERED
    before = len(policy._known)
    assert evaluate(policy, call(target="x" * 1_000_000)).verdict is Verdict.ALLOW
    assert len(policy._known) == before


def test_upper_and_lower_case_differ() -> None:
    policy = policy_of(Rule("reads", Verdict.ALLOW, "fine", target="Read*"))
    assert evaluate(policy, call(target="Reader")).verdict is Verdict.ALLOW
    assert evaluate(policy, call(target="reader")).verdict is Verdict.DENY


def test_a_rule_for_one_side_does_not_speak_about_the_other() -> None:
    policy = policy_of(Rule("client", Verdict.ALLOW, "fine", origin="client"))
    assert evaluate(policy, call(origin="client")).verdict is Verdict.ALLOW
    assert evaluate(policy, call(origin="server")).verdict is Verdict.DENY


def test_a_pattern_matches_in_time_that_grows_with_the_text() -> None:
    policy = policy_of(Rule("many", Verdict.ALLOW, "fine", target="*a" * 60 + "b"))
    assert evaluate(policy, call(target="a" * 20_000)).verdict is Verdict.DENY


def test_of_several_decisions_the_strictest_stands_and_among_equals_the_first() -> None:
    yes, no = Decision(Verdict.ALLOW, "a", ""), Decision(Verdict.DENY, "d", "")
    ask, other = Decision(Verdict.ASK, "q1", ""), Decision(Verdict.ASK, "q2", "")
    assert strictest(yes, None) is yes
    assert strictest(yes, ask, other) is ask
    assert strictest(ask, no, yes) is no


def test_a_connection_is_a_call_that_no_peer_can_send() -> None:
    from broker.protocol.methods import METHODS

    asked = connection(ClientName("cursor"), ServerName("files"), SessionId("s"))
    assert (asked.method, asked.target, asked.origin) == (CONNECTION, "files", "client")
    assert CONNECTION not in METHODS
