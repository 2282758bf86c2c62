"""What rules say about arguments: compared as what they are, and in doubt for the worse."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.model import Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.constraints import Answer, Constraint, Kind
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, Rule, evaluate
from broker.policy.explain import explain, parse_call, parse_cases

YES, NO, UNSURE = Answer.YES, Answer.NO, Answer.UNSURE


def answer(kind: Kind, wanted: Any, found: Any) -> Answer:
    return Constraint("a", kind, wanted).answer({"a": found})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/home/me/notes/a.txt", YES),
        ("/home/me/notes", YES),
        ("/home/me/./notes//a", YES),
        ("/home/me/notes2/a", NO),
        ("/home/me", NO),
        ("/home/me/notes/../.ssh", UNSURE),
        ("notes/a", UNSURE),
        ("//home/me/notes/a", UNSURE),
        ("/home/me/notes/a\\b", UNSURE),
        ("/home/me/notes/a\0", UNSURE),
        ("file:///home/me/notes/a", UNSURE),
        (7, UNSURE),
        ([], UNSURE),
        (["/home/me/notes/a", "/home/me/notes/b"], YES),
        (["/home/me/notes/a", "/etc/passwd"], UNSURE),
        (["/etc/passwd"], NO),
    ],
)
def test_a_path_is_below_a_folder_as_a_path_and_not_as_text(path: object, said: Answer) -> None:
    assert answer("under", ("/home/me/notes",), path) is said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://api.example.com/x?y", YES),
        ("https://API.Example.com:8443", YES),
        ("a.b.example.org", YES),
        ("example.org", NO),
        ("https://example.com.evil.net/", NO),
        ("https://evil.net/api.example.com", NO),
        ("https://api.example.com@evil.net/", UNSURE),
        ("https://evil.net\\@api.example.com/", UNSURE),
        ("https://api.example.com%2eevil.net/", UNSURE),
        ("https://api.example.com\t.evil.net/", UNSURE),
        ("https://\u0430pi.example.com/", UNSURE),
        ("javascript://api.example.com/%0aalert", UNSURE),
        ("https://0x7f.1/", UNSURE),
        ("https://2130706433/", UNSURE),
        ("https://[::1]/", NO),
        ("https://api.example.com:99999/", UNSURE),
        ("", UNSURE),
        (None, UNSURE),
    ],
)
def test_an_address_is_at_a_host_only_where_every_parser_reads_the_same_host(address: object, said: Answer) -> None:
    assert answer("host", ("api.example.com", "*.example.org"), address) is said


@pytest.mark.parametrize(
    ("kind", "wanted", "found", "said"),
    [
        ("value", ("a", 1), "a", YES),
        ("value", ("a", 1), 1, YES),
        ("value", (1,), True, NO),
        ("value", ("1",), 1, NO),
        ("glob", ("x*",), "xy", YES),
        ("glob", ("x*",), "ay", NO),
        ("glob", ("x*",), 1, UNSURE),
        ("at_most", 10, 10, YES),
        ("at_most", 10, 10.5, NO),
        ("at_most", 10, "3", UNSURE),
        ("at_most", 10, True, UNSURE),
        ("at_most", 10, float("nan"), NO),
        ("at_least", 1, 0, NO),
        ("schema", {"type": "array", "maxItems": 1}, ["a"], YES),
        ("schema", {"type": "array", "maxItems": 1}, ["a", "b"], NO),
        ("schema", {"$ref": "#/$defs/nowhere"}, 1, UNSURE),
    ],
)
def test_a_value_a_pattern_a_number_and_a_schema(kind: Kind, wanted: Any, found: Any, said: Answer) -> None:
    assert answer(kind, wanted, found) is said


def test_an_argument_that_is_not_there_meets_nothing_but_that_it_is_absent() -> None:
    assert Constraint("b", "value", ("x",)).answer({"a": 1}) is NO
    assert Constraint("b", "absent", True).answer({"a": 1}) is YES
    assert Constraint("a", "absent", True).answer({"a": None}) is NO


def test_a_dotted_name_reaches_into_objects_and_a_name_with_a_dot_is_found_first() -> None:
    inner = Constraint("to.mail", "value", ("x",))
    assert inner.answer({"to": {"mail": "x"}}) is YES
    assert inner.answer({"to": {"mail": "x"}, "to.mail": "y"}) is NO
    assert inner.answer({"to": "x"}) is NO


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
constraints = st.one_of(
    st.builds(Constraint, st.just("a"), st.just("value"), st.tuples(st.text())),
    st.builds(Constraint, st.just("a"), st.just("glob"), st.tuples(st.text(min_size=1))),
    st.builds(Constraint, st.just("a"), st.just("under"), st.just(("/a",))),
    st.builds(Constraint, st.just("a"), st.just("host"), st.just(("a.b",))),
    st.builds(Constraint, st.just("a"), st.just("at_most"), st.integers()),
    st.builds(Constraint, st.just("a"), st.just("absent"), st.just(True)),
    st.builds(Constraint, st.just("a"), st.just("schema"), st.just({"type": "string", "pattern": "^a"})),
)


def call(**arguments: Any) -> Call:
    return Call(ClientName("c"), ServerName("s"), SessionId("x"), "client", "tools/call", "t", arguments, "")


def policy(*rules: Rule) -> Policy:
    return Policy("test", "of this test", rules)


@given(constraints, st.dictionaries(st.sampled_from(["a", "b"]), json_values))
def test_whatever_an_argument_is_a_constraint_only_ever_narrows_a_yes_and_doubt_never_lifts_a_no(
    constraint: Constraint, arguments: dict[str, Any]
) -> None:
    asked = call(**arguments)
    found = constraint.answer(arguments)
    yes = policy(Rule("yes", Verdict.ALLOW, "r", arguments=(constraint,)))
    no = policy(Rule("any", Verdict.ALLOW, "r"), Rule("no", Verdict.DENY, "r", arguments=(constraint,)))
    assert (evaluate(yes, asked).verdict is Verdict.ALLOW) == (found is YES)
    assert (evaluate(no, asked).verdict is Verdict.DENY) == (found is not NO)


@given(constraints, st.lists(json_values, min_size=2, max_size=4))
def test_a_decision_about_one_call_is_never_remembered_for_another(constraint: Constraint, values: list[Any]) -> None:
    rules = (Rule("ask", Verdict.ASK, "r"), Rule("no", Verdict.DENY, "r", arguments=(constraint,)))
    lasting = policy(*rules)
    for value in values:
        assert evaluate(lasting, call(a=value)) == evaluate(policy(*rules), call(a=value))


# --- in the document ------------------------------------------------------------------------------------------------

HEAD = 'version = 1\nname = "p"\ndescription = "d"\n[[rule]]\nname = "r"\neffect = "allow"\nreason = "because"\n'


def test_a_policy_file_says_what_arguments_must_be() -> None:
    text = HEAD + (
        '[rule.arguments]\npath = { under = "/home/me" }\nto = { host = ["a.example", "*.b.example"] }\n'
        'n = { at_least = 1, at_most = 5 }\nmode = { value = "r" }\nx = { absent = true }\n'
        's = { schema = { type = "string" } }\n'
    )
    (rule,) = parse_policy(text.encode(), "p.toml").rules
    good = {"path": "/home/me/a", "to": "https://c.b.example/", "n": 5, "mode": "r", "s": "t"}
    assert rule.matches(call(**good))
    for name, worse in {"path": "/etc", "to": "b.example", "n": 6, "mode": "w", "s": 1, "x": 0}.items():
        assert not rule.matches(call(**{**good, name: worse})), name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a = {}", "line [0-9]+: nothing is said about the argument 'a'"),
        ("a = { undr = '/x' }", "unknown key .*undr"),
        ("a = { under = 'x' }", "not acceptable"),
        ("a = { under = '/x/../y' }", "has no way up"),
        ("a = { absent = false }", "not acceptable"),
        ("a = { host = 'https://x' }", "not acceptable"),
        ("a = { schema = { type = 7 } }", "is no JSON Schema"),
        ("a = { schema = { '$ref' = 'https://example.com/s' } }", "takes a part from elsewhere"),
    ],
)
def test_a_mistake_about_an_argument_is_named_with_its_line(line: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_policy(f"{HEAD}[rule.arguments]\n{line}\n".encode(), "p.toml")


# --- explained --------------------------------------------------------------------------------------------------------


def test_an_explanation_names_the_rules_that_concern_a_call_and_what_keeps_each_out() -> None:
    rules = (
        Rule("below", Verdict.ALLOW, "r", arguments=(Constraint("path", "under", ("/a",)),)),
        Rule("other", Verdict.DENY, "r", server="elsewhere"),
        Rule("ask", Verdict.ASK, "r"),
    )
    found = explain(policy(*rules), call(path="/b"))
    assert (found.decision.verdict, found.decision.rule) == (Verdict.ASK, "ask")
    assert [(voice.rule, voice.fits, voice.unmet) for voice in found.voices] == [
        ("ask", True, ()),
        ("below", False, ("path",)),
    ]


def test_a_call_and_a_file_of_cases_are_read_strictly(tmp_path: Path) -> None:
    text = {"client": "c", "server": "s", "method": "tools/call", "target": "t", "arguments": {"a": 1}}
    assert parse_call(json.dumps(text).encode(), "c.json")[0].arguments == {"a": 1}
    for wrong, said in ((b"{", "is not JSON"), (json.dumps({**text, "targt": 1}).encode(), "'targt' is not accept")):
        with pytest.raises(PolicyError, match=said):
            parse_call(wrong, "c.json")
    with pytest.raises(PolicyError, match=r"cases\.toml, line 1 is not TOML"):
        parse_cases(b"[[case", "cases.toml")
    with pytest.raises(PolicyError, match=r"cases\.toml, line 1: the key 'case' is missing"):
        parse_cases(b'policy = "balanced"', "cases.toml")
