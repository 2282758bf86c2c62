"""May this happen?  Total, deterministic and pure: every call gets exactly one decision.

The strictest matching rule wins and the order of the rules means nothing, so adding a denial never permits more and
nobody has to simulate precedence.  Nothing matched means no.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final, Literal, TypeAlias

from broker.model import STRICTNESS, Call, ClientName, Decision, ServerName, SessionId, Side, Verdict
from broker.policy.around import NOWHERE, Around
from broker.policy.conditions import Condition, Often
from broker.policy.constraints import Answer, Constraint
from broker.policy.masks import Mask, Masker, Part

CONNECTION: Final = "bulkhead/connection"
"""The method of the call that asks whether a client may use a server at all.  No peer can send it."""

MAX_REMEMBERED: Final = 4096  # decisions; a session uses a few dozen different ones
MAX_REMEMBERED_TARGET: Final = 256  # characters; a hostile URI may be megabytes long

_Key: TypeAlias = tuple[str, str, Side, str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.  Each pattern is a shell pattern; all of them must match, and all constraints and conditions hold.

    Where that cannot be said for sure, a rule that allows does not match, and one that asks, denies or masks does.  A
    rule with a `mask` has no say in whether a call may happen: it changes what comes back, or what is sent.
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
    conditions: tuple[Condition, ...] = ()
    mask: Mask | None = None
    _tests: tuple[Callable[[str], object], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = (self.client, self.server, self.method, self.target)
        object.__setattr__(self, "_tests", tuple(_test_of(pattern) for pattern in patterns))

    @property
    def fixed(self) -> bool:
        """Whether it says the same of every call that it concerns."""
        return not (self.arguments or self.conditions)

    def matches(self, call: Call, around: Around = NOWHERE) -> bool:
        return self.concerns(call) and (self.fixed or self.holds(call, around))

    def concerns(self, call: Call) -> bool:
        """Whether it matches but for what it says about arguments and about what is around the call.

        Whether a client may use a server at all is said by the rules that look at nothing else.
        """
        if self.origin not in ("either", call.origin) or (self.conditions and call.method == CONNECTION):
            return False
        client, server, method, target = self._tests
        return bool(method(call.method) and target(call.target) and server(call.server) and client(call.client))

    def unmet(self, call: Call, around: Around = NOWHERE) -> tuple[str, ...]:
        """What keeps it from this call, or does not surely hold: names of arguments, and of conditions."""
        arguments = [each.argument for each in self.arguments if each.answer(call.arguments) is not Answer.YES]
        others = [str(each) for each in self.conditions if each.answer(call, around, self.name) is not Answer.YES]
        return tuple(dict.fromkeys((*arguments, *others)))

    def holds(self, call: Call, around: Around) -> bool:
        """Whether what it says about arguments, and about what is around the call, holds."""
        for answer in self._answers(call, around):
            if answer is Answer.NO or (answer is Answer.UNSURE and self.verdict is Verdict.ALLOW):
                return False
        return True

    def _answers(self, call: Call, around: Around) -> Iterator[Answer]:
        """The cheap ones first; rates last, since a call takes room only where everything else fits."""
        for condition in self.conditions:
            if not isinstance(condition, Often):
                yield condition.answer(call, around, self.name)
        for constraint in self.arguments:
            yield constraint.answer(call.arguments)
        for condition in self.conditions:
            if isinstance(condition, Often):
                yield condition.answer(call, around, self.name)

    def masks(self, call: Call, around: Around) -> bool:
        """Whether it blots something out of this call, or of the answer to it.

        What becomes of a task is asked for by the task's own id: nobody knows of which tool it is.
        """
        if self.mask is None:
            return False
        client, server, _, _ = self._tests
        if call.method.startswith("tasks/"):
            return bool(server(call.server) and client(call.client))
        return self.matches(call, around)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a policy says to one kind of call: the decision of its fixed rules, and the others, the strictest first.

    Of the others only those are kept that would decide in the place of the fixed ones.
    """

    decision: Decision | None
    stricter: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy.  `digest` is the SHA-256 of its file; `holds` whether the cross-server hold is in force."""

    name: str
    description: str
    rules: tuple[Rule, ...]
    holds: bool = True
    digest: str = ""
    masking: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    looks_around: bool = field(init=False, repr=False, compare=False)
    """Whether any rule asks for more than the call itself."""
    _deciding: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _known: dict[_Key, _Known] = field(default_factory=dict, init=False, repr=False, compare=False)
    _maskers: dict[tuple[str, ...], Masker] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "masking", tuple(rule for rule in self.rules if rule.mask is not None))
        object.__setattr__(self, "looks_around", any(rule.conditions for rule in self.rules))
        object.__setattr__(self, "_deciding", tuple(rule for rule in self.rules if rule.mask is None))

    def masker(
        self, call: Call, around: Around = NOWHERE, of: Part = "result"
    ) -> tuple[tuple[str, ...], Masker] | None:
        """The rules that change what comes back from this call, or is sent by it; None where nothing is changed."""
        masking = (rule for rule in self.masking if rule.mask is not None and rule.mask.of == of)
        rules = tuple(rule for rule in masking if rule.masks(call, around))
        if not rules:
            return None
        names = tuple(rule.name for rule in rules)
        found = self._maskers.get(names)
        if found is None:
            found = self._maskers[names] = Masker(rule.mask for rule in rules if rule.mask is not None)
        return names, found


def evaluate(policy: Policy, call: Call, around: Around = NOWHERE) -> Decision:
    """The decision of the strictest rule that matches; among equals that of the first name in the alphabet."""
    key = (call.client, call.server, call.origin, call.method, call.target)
    known = policy._known.get(key)
    if known is None:
        concerned = [rule for rule in policy._deciding if rule.concerns(call)]
        fixed = _first(rule for rule in concerned if rule.fixed)
        bar = _rank(fixed.verdict, fixed.name) if fixed else _LAST
        others = sorted((rule for rule in concerned if not rule.fixed), key=lambda rule: _rank(rule.verdict, rule.name))
        stricter = tuple(rule for rule in others if _rank(rule.verdict, rule.name) < bar)
        known = _Known(_said(fixed) if fixed else None, stricter)
        if len(call.target) <= MAX_REMEMBERED_TARGET:
            if len(policy._known) >= MAX_REMEMBERED:
                policy._known.clear()  # it is cheap to find out again; which ones are wanted is not worth knowing
            policy._known[key] = known
    for rule in known.stricter:
        if rule.holds(call, around):
            return _said(rule)
    if known.decision is None:
        return Decision(Verdict.DENY, "default", f"no rule of the policy {policy.name} allows it")
    return known.decision


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


_LAST: Final = (1, "")


def _rank(verdict: Verdict, name: str) -> tuple[int, str]:
    """The strictest first."""
    return -STRICTNESS.index(verdict), name


def _first(rules: Iterable[Rule]) -> Rule | None:
    return min(rules, key=lambda rule: _rank(rule.verdict, rule.name), default=None)


def _said(rule: Rule) -> Decision:
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
