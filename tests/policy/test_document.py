"""The policy file: what is wrong is said with its key and line, and nothing unknown is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.model import Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Rule

GOOD = """\
version = 1
name = "mine"
description = "what I want"

[[rule]]
name = "reads"
effect = "allow"
reason = "reading is fine"
target = "read_*"

[[rule]]
name = "bank"
effect = "deny"
reason = "not there"
server = "bank"
origin = "client"
"""


def parsed_error(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode(), "policy.toml")
    assert "bulkhead policy check" in caught.value.hint
    return caught.value


def test_a_policy_says_what_it_says() -> None:
    policy = parse_policy(GOOD.encode(), "policy.toml")
    assert policy.rules == (
        Rule("reads", Verdict.ALLOW, "reading is fine", target="read_*"),
        Rule("bank", Verdict.DENY, "not there", server="bank", origin="client"),
    )
    assert (policy.name, policy.description, policy.holds, len(policy.digest)) == ("mine", "what I want", True, 64)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('effect = "deny"', 'effct = "deny"', "policy.toml, line 13: unknown key 'rule[1].effct'"),
        ('effect = "deny"\n', "", "policy.toml, line 11: the key 'rule[1].effect' is missing"),
        ('server = "bank"', 'sever = "bank"', "policy.toml, line 15: unknown key 'rule[1].sever'"),
        ('name = "mine"', 'name = "mine"\nholdz = false', "policy.toml, line 3: unknown key 'holdz'"),
        ('effect = "allow"', 'effect = "permit"', "policy.toml, line 7: 'rule[0].effect' is not acceptable"),
        ('origin = "client"', 'origin = "Client"', "policy.toml, line 16: 'rule[1].origin' is not acceptable"),
        ('reason = "not there"\n', "", "policy.toml, line 11: the key 'rule[1].reason' is missing"),
        ('reason = "not there"', 'reason = " "', "policy.toml, line 14: 'rule[1].reason' is not acceptable"),
        ('name = "bank"', 'name = "reads"', "policy.toml, line 12: two rules are named 'reads'"),
        ('name = "bank"', 'name = "b a"', "policy.toml, line 12: 'rule[1].name' is not acceptable"),
        ("version = 1", "version = 2", "policy.toml, line 1: 'version' is not acceptable"),
        ("version = 1", "version = true", "policy.toml, line 1: 'version' is not acceptable"),
        ('description = "what I want"\n', "", "policy.toml, line 1: the key 'description' is missing"),
        ('target = "read_*"', "target = 5", "policy.toml, line 9: 'rule[0].target' is not acceptable"),
        ('target = "read_*"', 'target = ""', "policy.toml, line 9: 'rule[0].target' is not acceptable"),
        ('target = "read_*"', 'target = "read_*', "policy.toml, line 9 is not TOML: "),
        ('effect = "deny"', 'effect = "deny"\neffect = "allow"', "policy.toml, line 14 is not TOML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_key(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert str(parsed_error(GOOD.replace(old, new))).startswith(said)


def test_a_policy_without_rules_is_refused() -> None:
    assert "rule" in str(parsed_error(GOOD.partition("[[rule]]")[0]))
    assert "rule" in str(parsed_error(GOOD.partition("[[rule]]")[0] + "rule = []\n"))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(PolicyError, match="not UTF-8"):
        parse_policy(b"\xff\xfe", "policy.toml")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_a_refusal(data: bytes) -> None:
    try:
        parse_policy(data, "policy.toml")
    except PolicyError:
        pass
    else:
        raise AssertionError("two hundred random bytes are no policy")


@given(st.integers(0, len(GOOD)), st.text(max_size=5))
def test_a_policy_with_a_piece_of_other_text_in_it_is_read_or_refused(at: int, piece: str) -> None:
    try:
        policy = parse_policy((GOOD[:at] + piece + GOOD[at:]).encode("utf-8", "replace"), "policy.toml")
    except PolicyError:
        return
    assert {rule.verdict for rule in policy.rules} == {Verdict.ALLOW, Verdict.DENY}
