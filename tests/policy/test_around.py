"""Rules about what is around a call: folder, labels, time, rate.  What is not known permits nothing."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.model import Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.around import NOWHERE, Around, Rate, Rates
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, connection, evaluate

HEAD: Final = 'version = 1\nname = "mine"\ndescription = "x"\n'
ALL: Final = '\n[[rule]]\nname = "all"\neffect = "allow"\nreason = "fine"\n'


def policy(*rules: str) -> Policy:
    text = "".join(f'\n[[rule]]\nreason = "because"\n{rule}\n' for rule in rules)
    return parse_policy((HEAD + text).encode(), "mine.toml")


def call(**changes: Any) -> Call:
    asked = Call(ClientName("c"), ServerName("s"), SessionId("one"), "client", "tools/call", "t", {}, "d")
    return replace(asked, **changes)


def verdicts(rule: str, around: Around) -> tuple[Verdict, Verdict]:
    """Of a rule that allows, and of one that denies beside one that allows everything."""
    allowing = evaluate(policy(f'name = "it"\neffect = "allow"\n{rule}'), call(), around).verdict
    denying = evaluate(
        policy('name = "all"\neffect = "allow"', f'name = "it"\neffect = "deny"\n{rule}'), call(), around
    ).verdict
    return allowing, denying


HOLDS: Final = (Verdict.ALLOW, Verdict.DENY)
HOLDS_NOT: Final = (Verdict.DENY, Verdict.ALLOW)
UNSURE: Final = (Verdict.DENY, Verdict.DENY)


@pytest.mark.parametrize(
    ("rule", "around", "expected"),
    [
        ('workspace = "/home/me/work"', Around(workspace="/home/me/work"), HOLDS),
        ('workspace = "/home/me/work"', Around(workspace="/home/me/work/one"), HOLDS),
        ('workspace = "/home/me/work"', Around(workspace="/home/me/workshop"), HOLDS_NOT),
        ('workspace = ["/a", "/b"]', Around(workspace="/b"), HOLDS),
        ('workspace = "/home/me/work"', Around(workspace="/home/me/work/../other"), UNSURE),
        ('workspace = "/home/me/work"', NOWHERE, UNSURE),
        ('labels = ["P"]', Around(flags=frozenset("PU"), vouched=True), HOLDS),
        ('labels = ["P", "E"]', Around(flags=frozenset("PU"), vouched=True), HOLDS_NOT),
        ('without = ["E"]', Around(flags=frozenset("PU"), vouched=True), HOLDS),
        ('class = "L"', Around(flags=frozenset("P"), level="L", vouched=True), HOLDS),
        ('class = "H"', Around(flags=frozenset("P"), level="L", vouched=True), HOLDS_NOT),
        ('labels = ["P"]', NOWHERE, UNSURE),
        ('without = ["E"]', NOWHERE, HOLDS_NOT),
        ('hours = "09:00-17:30"', Around(weekday=0, minute=9 * 60), HOLDS),
        ('hours = "09:00-17:30"', Around(weekday=0, minute=17 * 60 + 30), HOLDS_NOT),
        ('hours = "22:00-06:00"\ndays = ["fri"]', Around(weekday=5, minute=60), HOLDS),
        ('hours = "22:00-06:00"\ndays = ["fri"]', Around(weekday=4, minute=60), HOLDS_NOT),
        ('days = ["sat", "sun"]', Around(weekday=6, minute=1), HOLDS),
        ('days = ["sat"]', NOWHERE, UNSURE),
    ],
)
def test_what_is_not_known_allows_nothing_and_is_no_way_around_a_denial(
    rule: str, around: Around, expected: tuple[Verdict, Verdict]
) -> None:
    assert verdicts(rule, around) == expected


def test_a_rate_allows_so_many_and_says_the_same_of_a_call_that_is_judged_again() -> None:
    mine = policy('name = "some"\neffect = "allow"\nup_to = "2/minute"')
    rates = Rates()

    def judged(asked: Call, seconds: float) -> Verdict:
        return evaluate(mine, asked, Around(seconds=seconds, rates=rates)).verdict

    first = call()
    assert [judged(first, 0.0), judged(first, 1.0), judged(call(), 1.0)] == [Verdict.ALLOW] * 3
    third = call()
    assert judged(third, 2.0) is Verdict.DENY
    assert judged(third, 500.0) is Verdict.DENY  # it is the same call still
    assert judged(call(session="two"), 2.0) is Verdict.ALLOW
    assert judged(call(), 32.0) is Verdict.ALLOW  # half of the bucket is one call
    assert judged(call(), 32.0) is Verdict.DENY


def test_a_rule_beyond_a_rate_asks_only_about_what_goes_over_it_and_fits_otherwise() -> None:
    mine = policy('name = "all"\neffect = "allow"', 'name = "fast"\neffect = "ask"\ntool = "t"\nbeyond = "1/hour"')
    around = Around(rates=Rates())
    assert evaluate(mine, call(target="other"), around).verdict is Verdict.ALLOW
    assert evaluate(mine, call(), around).verdict is Verdict.ALLOW  # the other one took no room
    assert evaluate(mine, call(), around).rule == "fast"


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60), st.integers(1, 5), st.floats(0.1, 50))
def test_no_stretch_of_time_holds_more_calls_than_the_rate_and_one_bucket_full(
    steps: list[tuple[float, bool]], calls: int, seconds: float
) -> None:
    rates, rate, now, went = Rates(), Rate(calls, seconds), 0.0, list[float]()
    for wait, other in steps:
        now += wait
        if rates.within("r", rate, call(session="b" if other else "a"), now) and not other:
            went.append(now)
    for place, begin in enumerate(went):
        for count, end in enumerate(went[place:], 1):
            assert count <= calls + (end - begin) * calls / seconds + 1e-6


def test_a_clock_that_stands_or_goes_back_gives_nothing_away() -> None:
    rates, rate = Rates(), Rate(1, 60.0)
    assert rates.within("r", rate, call(), 100.0)
    assert not any(rates.within("r", rate, call(), 100.0 - step) for step in range(50))


def test_what_looks_around_says_nothing_about_whether_a_client_may_use_a_server() -> None:
    mine = policy('name = "all"\neffect = "allow"', 'name = "no"\neffect = "deny"\nlabels = ["E"]')
    assert evaluate(mine, connection(ClientName("c"), ServerName("s"), SessionId("x"))).verdict is Verdict.ALLOW
    assert evaluate(mine, call()).verdict is Verdict.DENY


def test_a_tool_is_short_for_a_call_of_it() -> None:
    mine = policy('name = "it"\neffect = "allow"\ntool = "read_*"')
    assert evaluate(mine, call(target="read_mail")).verdict is Verdict.ALLOW
    assert evaluate(mine, call(target="read_mail", method="prompts/get")).verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (['name = "a"\neffect = "deny"', 'name = "b"\neffect = "allow"\ntool = "x"'],
         "mine.toml, line 12: a contradiction: the rule 'b' never counts, since 'a' denies all that it allows, "
         "and the strictest wins (line 7)"),
        (['name = "a"\neffect = "ask"\nserver = "mail"', 'name = "b"\neffect = "allow"\nserver = "mail"'],
         "mine.toml, line 13: a contradiction: the rule 'b' never counts, since 'a' asks about"),
        (['name = "a"\neffect = "deny"\nserver = "m*"', 'name = "b"\neffect = "ask"\nserver = "mail"'],
         "mine.toml, line 13: a contradiction: the rule 'b' never counts"),
        (['name = "a"\neffect = "deny"\nlabels = ["P"]\nwithout = ["P"]'],
         "mine.toml, line 7: a contradiction: the rule 'a' can match no call: a label is wanted and unwanted: P"),
        (['name = "a"\neffect = "allow"\narguments = { n = { at_least = 5, at_most = 4 } }'],
         "mine.toml, line 7: a contradiction: the rule 'a' can match no call: the argument 'n'"),
        (['name = "a"\neffect = "allow"\narguments = { n = { absent = true, value = 1 } }'],
         "mine.toml, line 7: a contradiction: the rule 'a' can match no call: the argument 'n' is to be absent"),
        (['name = "a"\neffect = "allow"\narguments = { n = { value = "/x/y", under = "/z" } }'],
         "mine.toml, line 7: a contradiction: the rule 'a' can match no call: no value"),
        (['name = "a"\neffect = "allow"\nhours = "09:00-09:00"'], "mine.toml, line 7: a contradiction"),
        (['name = "a"\neffect = "mask"'], "mine.toml, line 8: the effect mask and what it masks"),
        (['name = "a"\neffect = "allow"\nmask = { kinds = ["mail"] }'], "mine.toml, line 8: the effect mask"),
        (['name = "a"\neffect = "mask"\nmask = {}'], "mine.toml, line 9: it masks nothing"),
        (['name = "a"\neffect = "allow"\nbeyond = "1/hour"'], "mine.toml, line 9: a rule that allows counts 'up_to'"),
        (['name = "a"\neffect = "deny"\nup_to = "1/hour"'], "mine.toml, line 9: a rule that asks, denies or masks"),
        (['name = "a"\neffect = "deny"\nbeyond = "1/year"'], "mine.toml, line 9: 'rule[0].beyond' is not acceptable"),
        (['name = "a"\neffect = "allow"\ntool = "x"\ntarget = "y"'], "mine.toml, line 9: 'tool' stands for"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_file_and_line(rules: list[str], said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(*rules)
    assert str(caught.value).startswith(said)
    assert "bulkhead policy check mine.toml" in caught.value.hint


@pytest.mark.parametrize(
    "rules",
    [
        ['name = "a"\neffect = "deny"\nserver = "mail"', 'name = "b"\neffect = "allow"\nserver = "*"'],
        ['name = "a"\neffect = "deny"\nbeyond = "5/minute"', 'name = "b"\neffect = "allow"'],
        ['name = "a"\neffect = "deny"\nlabels = ["E"]', 'name = "b"\neffect = "allow"\nclass = "L"'],
        ['name = "a"\neffect = "deny"\nserver = "m?il"', 'name = "b"\neffect = "allow"\nserver = "m*"'],
        [
            'name = "a"\neffect = "deny"\ntool = "x"',
            'name = "b"\neffect = "mask"\nmask = { words = ["x"] }\ntool = "x"',
        ],
    ],
)
def test_rules_that_only_overlap_are_no_contradiction(rules: list[str]) -> None:
    assert len(policy(*rules).rules) == 2


@given(st.sampled_from(["c", "d"]), st.sampled_from(["s", "mail"]), st.sampled_from(["t", "u"]))
def test_a_rule_that_is_said_to_be_overruled_never_decides(client: str, server: str, target: str) -> None:
    from broker.policy.contradictions import contradictions
    from broker.policy.evaluate import Rule

    rules = (
        Rule("wide", Verdict.DENY, "no", server="m*"),
        Rule("narrow", Verdict.ALLOW, "yes", server="mail", target="t"),
        Rule("other", Verdict.ALLOW, "yes", server="s"),
    )
    overruled = {found.rule for found in contradictions(rules)}
    assert overruled == {"narrow"}
    asked = call(client=client, server=server, target=target)
    assert evaluate(Policy("p", "", rules), asked).rule not in overruled
