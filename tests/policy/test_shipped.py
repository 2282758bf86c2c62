"""The shipped policies answer every shipped case as it says."""

import importlib.resources
import tomllib
from typing import Any, Final

import pytest

from broker.model import Call, ClientName, ServerName, SessionId, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, evaluate
from broker.policy.store import DEFAULT, SHIPPED, shipped

CASES: Final = importlib.resources.files("policies").joinpath("cases")


def cases() -> list[Any]:
    found = []
    for file in sorted(CASES.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            document = tomllib.loads(file.read_text())
            assert set(document) == {"policy", "case"}
            found += [pytest.param(document["policy"], case, id=f"{document['policy']}: {case['name']}")
                      for case in document["case"]]  # fmt: skip
    return found


def policy(name: str) -> Policy:
    return parse_policy(shipped(name), f"{name}.toml")


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_shipped_policy_answers_as_its_case_says(name: str, case: dict[str, Any]) -> None:
    asked = case["call"]
    call = Call(ClientName(asked["client"]), ServerName(asked["server"]), SessionId("s"), asked["origin"],
                asked["method"], asked["target"], {}, "")  # fmt: skip
    decision = evaluate(policy(name), call)
    assert (decision.verdict, decision.rule) == (Verdict(case["verdict"]), case["rule"])
    assert decision.reason


@pytest.mark.parametrize("name", SHIPPED)
def test_every_rule_of_a_shipped_policy_has_a_case(name: str) -> None:
    in_cases = {case.values[1]["rule"] for case in cases() if case.values[0] == name}
    assert {rule.name for rule in policy(name).rules} <= in_cases


@pytest.mark.parametrize("name", SHIPPED)
def test_every_judged_method_is_decided_by_a_rule_with_a_reason(name: str) -> None:
    from broker.protocol.methods import METHODS

    for method, row in METHODS.items():
        for side in sorted(row.legacy | row.modern):
            if row.judged:
                call = Call(ClientName("c"), ServerName("s"), SessionId("s"), side, method, "t", {}, "")
                assert evaluate(policy(name), call).rule != "default", method


def test_the_default_is_balanced_and_every_policy_bears_its_own_name() -> None:
    assert DEFAULT == "balanced"
    assert [policy(name).name for name in SHIPPED] == list(SHIPPED)


def test_only_the_policy_that_watches_holds_nothing_and_its_description_says_so() -> None:
    assert [name for name in SHIPPED if not policy(name).holds] == ["observe"]
    assert "holds nothing" in policy("observe").description


@pytest.mark.claim("C30")
@pytest.mark.parametrize("name", ["balanced", "strict"])
def test_no_policy_that_protects_lets_a_new_client_in_unasked(name: str) -> None:
    call = Call(ClientName("new"), ServerName("any"), SessionId("s"), "client", "bulkhead/connection", "any", {}, "")
    assert evaluate(policy(name), call).verdict is Verdict.ASK
