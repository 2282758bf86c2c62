"""Learning: the narrowest rules for what was seen, never wider than the policy in force."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.flow.proposal import scope_arguments
from broker.model import STRICTNESS, Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, evaluate
from broker.policy.learn import Learned, Seen, learn
from broker.policy.store import SHIPPED, shipped
from broker.policy.text import policy_text
from tests.policy.test_around import policy

BALANCED: Final = parse_policy(shipped("balanced"), "balanced.toml")


def call(target: str = "read", server: str = "files", method: str = "tools/call", **arguments: Any) -> Call:
    return Call(ClientName("c"), ServerName(server), SessionId("s"), "client", method, target, arguments, "d")


def seen(*calls: Call) -> list[Seen]:
    return [Seen(one, number) for number, one in enumerate(calls, 1)]


def parsed(learned: Learned) -> Policy:
    return parse_policy(policy_text("learned", "from receipts", learned.rules).encode(), "learned.toml")


def learned_from(*calls: Call, base: Policy = BALANCED) -> Policy:
    return parsed(learn(seen(*calls), base, scope_arguments))


def allows(policy: Policy, asked: Call) -> bool:
    return evaluate(policy, asked).verdict is Verdict.ALLOW


@pytest.mark.claim("C82")
def test_what_was_seen_is_allowed_and_what_is_like_it_only_within_the_same_folder_host_and_part() -> None:
    learned = learned_from(
        call(path="/home/me/notes/a.md"), call(path="/home/me/notes/deep/b.md"),
        call("get", "web", url="https://api.example.com/1"),
        call("list", "github", owner="acme", repo="shop", page="1"),
    )  # fmt: skip
    assert allows(learned, call(path="/home/me/notes/c.md"))
    assert not allows(learned, call(path="/home/me/other.md"))
    assert not allows(learned, call("write", path="/home/me/notes/c.md"))
    assert allows(learned, call("get", "web", url="https://api.example.com/2"))
    assert not allows(learned, call("get", "web", url="https://evil.example/2"))
    assert allows(learned, call("list", "github", owner="acme", repo="shop", page="7"))
    assert not allows(learned, call("list", "github", owner="acme", repo="private", page="1"))
    assert not allows(learned, replace(call(path="/home/me/notes/a.md"), client=ClientName("other")))


def test_each_rule_comes_with_its_receipts_and_what_was_not_allowed_is_said() -> None:
    base = policy('name = "all"\neffect = "allow"', 'name = "ask-first"\neffect = "ask"\ntool = "send"')
    found = learn(seen(call(), call(), call("send")), base, scope_arguments)
    assert found.new == 1 and found.rules[0][1] == "seen 2 times, receipts 1, 2; any arguments"
    assert found.left_out == ("files send: the policy in force asks about it (ask-first), and that stays so",)
    assert evaluate(parsed(found), call("send")).rule == "ask-first"


def test_a_name_with_letters_of_patterns_stands_for_itself_alone() -> None:
    learned = learned_from(call("a*b[c]?"))
    assert allows(learned, call("a*b[c]?")) and not allows(learned, call("aXb[c]?"))


def test_what_is_learned_asks_about_a_first_connection_as_before() -> None:
    from broker.policy.evaluate import connection

    asked = connection(ClientName("c"), ServerName("files"), SessionId("s"))
    assert evaluate(learned_from(call()), asked) == evaluate(BALANCED, asked)


TOOLS: Final = st.sampled_from(["read", "write", "send", "x*y"])
CALLS: Final = st.builds(
    call,
    TOOLS,
    st.sampled_from(["files", "mail"]),
    st.sampled_from(["tools/call", "prompts/get", "resources/read", "completion/complete", "tasks/get"]),
    path=st.sampled_from(["/home/me/a", "/home/me/b/c", "/etc/passwd", "../x", "", 5]),
    url=st.sampled_from(["https://a.example/1", "https://b.example", "nothing"]),
)
BASES: Final = st.sampled_from([
    BALANCED,
    policy('name = "all"\neffect = "allow"', 'name = "no"\neffect = "deny"\nserver = "mail"\ntool = "write"'),
    policy('name = "some"\neffect = "allow"\narguments = { path = { under = "/home/me" } }',
           'name = "mail"\neffect = "ask"\nserver = "mail"'),
    policy('name = "two"\neffect = "allow"\narguments = { path = { under = ["/home/me/b", "/etc"] } }'),
    policy('name = "some"\neffect = "allow"\nclass = "L"', 'name = "rest"\neffect = "allow"\nserver = "files"'),
])  # fmt: skip


@given(BASES, st.lists(CALLS, max_size=6), CALLS)
def test_learning_never_permits_more_than_the_policy_in_force(base: Policy, calls: list[Call], asked: Call) -> None:
    found = learn(seen(*calls), base, scope_arguments)
    after = parsed(found)
    before, now = evaluate(base, asked), evaluate(after, asked)
    assert STRICTNESS.index(now.verdict) >= STRICTNESS.index(before.verdict)
    for one in calls:
        if evaluate(base, one).verdict is Verdict.ALLOW and one.method in ("tools/call", "prompts/get"):
            assert allows(after, one)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_policy_is_read_as_it_was_written(name: str) -> None:
    known = parse_policy(shipped(name), name)
    text = policy_text(known.name, known.description, [(rule, "") for rule in known.rules], holds=known.holds)
    again = parse_policy(text.encode(), name)
    assert (again.rules, again.holds) == (known.rules, known.holds)


def test_every_kind_of_rule_is_read_as_it_was_written() -> None:
    known = policy(
        'name = "a"\neffect = "allow"\nworkspace = ["/a", "/b"]\nlabels = ["P"]\nwithout = ["E"]\nclass = "L"\n'
        'days = ["mon", "fri"]\nhours = "22:00-06:00"\nup_to = "5/minute"\n'
        'arguments = { n = { at_least = 1, at_most = 5 }, "p.q" = { glob = ["x*", "y"] }, z = { absent = true } }',
        'name = "b"\neffect = "ask"\ntool = "t"\nbeyond = "1/day"',
        'name = "c"\neffect = "mask"\norigin = "client"\nmask = { words = ["x"], kinds = ["mail"], fields = ["f"] }',
    )
    again = parse_policy(policy_text("mine", "x", [(rule, "why\n[[rule]]") for rule in known.rules]).encode(), "again")
    assert again.rules == known.rules
