"""What a policy says that cannot be meant: a rule that no call can match, or one that another always overrules.

The strictest rule wins, so a rule whose every call a stricter one matches as well says nothing.  Whoever wrote it
believes that it does; the file is refused with both lines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from broker.model import STRICTNESS
from broker.policy.conditions import AtTimes, Labelled, Often
from broker.policy.constraints import Answer, Constraint
from broker.policy.evaluate import Rule

_VERB: Final = {"allow": "allows", "ask": "asks about", "deny": "denies"}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """`rule` says nothing; `other` is the one that overrules it, empty where it contradicts itself."""

    rule: str
    said: str
    other: str = ""


def contradictions(rules: tuple[Rule, ...]) -> Iterator[Contradiction]:
    """Every contradiction, in the order of the rules."""
    deciding = [rule for rule in rules if rule.mask is None]
    for rule in rules:
        if why := _impossible(rule):
            yield Contradiction(rule.name, f"the rule {rule.name!r} can match no call: {why}")
            continue
        if rule.mask is not None:
            continue
        for other in deciding:
            if STRICTNESS.index(other.verdict) > STRICTNESS.index(rule.verdict) and _covers(other, rule):
                said = (
                    f"the rule {rule.name!r} never counts, since {other.name!r} {_VERB[other.verdict.value]} all that "
                    f"it {_VERB[rule.verdict.value]}, and the strictest wins"
                )
                yield Contradiction(rule.name, said, other.name)
                break


def _impossible(rule: Rule) -> str:
    for condition in rule.conditions:
        if isinstance(condition, Labelled) and condition.has & condition.lacks:
            return f"a label is wanted and unwanted: {min(condition.has & condition.lacks)}"
        if isinstance(condition, AtTimes) and condition.begins == condition.ends:
            return "its hours end where they begin"
    for argument in dict.fromkeys(each.argument for each in rule.arguments):
        said = {each.kind: each for each in rule.arguments if each.argument == argument}
        if "absent" in said and len(said) > 1:
            return f"the argument {argument!r} is to be absent, and more is said about it"
        if "at_least" in said and "at_most" in said and said["at_least"].wanted > said["at_most"].wanted:
            return f"the argument {argument!r} is to be at least {said['at_least'].wanted} and at most less"
        values = said.get("value")
        if values is not None and not any(_fits(value, argument, said.values()) for value in values.wanted):
            return f"no value that is named for the argument {argument!r} is what else is said about it"
    return ""


def _fits(value: object, argument: str, constraints: Iterable[Constraint]) -> bool:
    return all(each.answer({argument: value}) is not Answer.NO for each in constraints)


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether `wide` surely matches each call that `narrow` matches."""
    if wide.origin not in ("either", narrow.origin):
        return False
    pairs = ((wide.client, narrow.client), (wide.server, narrow.server), (wide.method, narrow.method),
             (wide.target, narrow.target))  # fmt: skip
    if not all(_pattern_covers(one, other) for one, other in pairs):
        return False
    if any(isinstance(condition, Often) for condition in wide.conditions):
        return False  # what goes beyond a rate is never all of it
    return _all_in(wide.arguments, narrow.arguments) and set(wide.conditions) <= set(narrow.conditions)


def _all_in(wide: tuple[Constraint, ...], narrow: tuple[Constraint, ...]) -> bool:
    return all(any(one == other for other in narrow) for one in wide)


def _pattern_covers(wide: str, narrow: str) -> bool:
    plain = not any(character in narrow for character in "*?[")
    return wide in ("*", narrow) or (plain and fnmatchcase(narrow, wide))
