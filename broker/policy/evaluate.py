"""May this happen?  Total, deterministic and pure: every call gets exactly one decision.

The strictest matching rule wins and the order of the rules means nothing, so adding a denial never permits more and
nobody has to simulate precedence.  Nothing matched means no.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final, Literal, TypeAlias

from broker.model import STRICTNESS, Call, ClientName, Decision, ServerName, SessionId, Side, Verdict
from broker.policy.constraints import Answer, Constraint, all_of

CONNECTION: Final = "bulkhead/connection"
"""The method of the call that asks whether a client may use a server at all.  No peer can send it."""

MAX_REMEMBERED: Final = 4096  # decisions; a session uses a few dozen different ones
MAX_REMEMBERED_TARGET: Final = 256  # characters; a hostile URI may be megabytes long

_Key: TypeAlias = tuple[str, str, Side, str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.  Each pattern is a shell pattern; all of them must match, and all constraints of the arguments hold.

    Where that cannot be said of the arguments, a rule that allows does not match, and one that asks or denies does.
    """

    name: str
    verdict: Verdict
    reason: str
    client: str = "*"
    server: str = "*"
    origin: Literal["client", "server", "either"] = "either"
    method: str = "*"
    target: str = "*"
    arguments: tuple[Constraint, ...] = ()
    _tests: tuple[Callable[[str], object], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = (self.client, self.server, self.method, self.target)
        object.__setattr__(self, "_tests", tuple(_test_of(pattern) for pattern in patterns))

    def matches(self, call: Call) -> bool:
        return self.concerns(call) and (not self.arguments or self._holds(call))

    def concerns(self, call: Call) -> bool:
        """Whether it matches but for what it says about arguments."""
        if self.origin not in ("either", call.origin):
            return False
        client, server, method, target = self._tests
        return bool(method(call.method) and target(call.target) and server(call.server) and client(call.client))

    def unmet(self, call: Call) -> tuple[Constraint, ...]:
        """What it says about arguments that this call does not meet, or does not surely meet."""
        return tuple(each for each in self.arguments if each.answer(call.arguments) is not Answer.YES)

    def _holds(self, call: Call) -> bool:
        answer = all_of(self.arguments, call.arguments)
        return answer is Answer.YES or (answer is Answer.UNSURE and self.verdict is not Verdict.ALLOW)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy.  `digest` is the SHA-256 of its file; `holds` whether the cross-server hold is in force."""

    name: str
    description: str
    rules: tuple[Rule, ...]
    holds: bool = True
    digest: str = ""
    _known: dict[_Key, Decision] = field(default_factory=dict, init=False, repr=False, compare=False)

    def reads_arguments(self, call: Call) -> bool:
        """Whether the decision may be another for a call that differs in its arguments alone."""
        return any(rule.arguments and rule.concerns(call) for rule in self.rules)


def evaluate(policy: Policy, call: Call) -> Decision:
    """The decision of the strictest rule that matches; among equals that of the first name in the alphabet."""
    key = (call.client, call.server, call.origin, call.method, call.target)
    decision = policy._known.get(key)
    if decision is None:
        decision = _evaluate(policy, call)
        if len(call.target) <= MAX_REMEMBERED_TARGET and not policy.reads_arguments(call):
            if len(policy._known) >= MAX_REMEMBERED:
                policy._known.clear()  # a decision is cheap to make again; which ones are wanted is not worth knowing
            policy._known[key] = decision
    return decision


def strictest(first: Decision, *others: Decision | None) -> Decision:
    """The strictest of several decisions about one call; among equals the first given."""
    decision = first
    for other in others:
        if other is not None and STRICTNESS.index(other.verdict) > STRICTNESS.index(decision.verdict):
            decision = other
    return decision


def connection(client: ClientName, server: ServerName, session: SessionId) -> Call:
    """The call that stands for "this client uses this server"."""
    return Call(client, server, session, "client", CONNECTION, server, {}, "")


def _evaluate(policy: Policy, call: Call) -> Decision:
    matching = [rule for rule in policy.rules if rule.matches(call)]
    if not matching:
        return Decision(Verdict.DENY, "default", f"no rule of the policy {policy.name} allows it")
    rule = min(matching, key=lambda rule: (-STRICTNESS.index(rule.verdict), rule.name))
    return Decision(rule.verdict, rule.name, rule.reason)


def _test_of(pattern: str) -> Callable[[str], object]:
    """How to match `pattern` quickly.  The same answers as `fnmatch.fnmatchcase`."""
    if pattern == "*":
        return _anything
    if not any(character in pattern for character in "*?["):
        return pattern.__eq__
    return re.compile(translate(pattern)).match


def _anything(_: str) -> object:
    return True
