"""The policy file as text: what may stand in it, and where exactly it is wrong.

An unknown key is an error, never ignored: a misspelt `effct = "deny"` must not become a policy without that denial.
"""

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.errors import PolicyError
from broker.model import Verdict
from broker.policy.around import DAYS, Rate
from broker.policy.conditions import AtTimes, Condition, InFolder, Labelled, Often
from broker.policy.constraints import Constraint, check_schema
from broker.policy.contradictions import contradictions
from broker.policy.evaluate import Policy, Rule
from broker.policy.masks import Mask, Part
from broker.toml_text import line_of, read_document

MAX_RULES: Final = 1000

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Version = Annotated[int, Field(ge=1, le=1)]  # not Literal[1], for which `true` would pass
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


MAX_WANTED: Final = 256

_SEVERAL: Final = Field(min_length=1, max_length=MAX_WANTED, strict=False)
Folder = Annotated[str, StringConstraints(pattern=r"^(/[^/\x00\\]+)+/?$|^/$", max_length=4096)]
Host = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[a-z0-9:]([a-z0-9_.:-]*[a-z0-9])?$", max_length=253)]
Plain = str | bool | int | float


class ArgumentText(_Strict):
    """What a rule says about one argument.  Several keys must all hold; of several values one must fit."""

    value: Plain | Annotated[tuple[Plain, ...], _SEVERAL] | None = None
    glob: Pattern | Annotated[tuple[Pattern, ...], _SEVERAL] | None = None
    under: Folder | Annotated[tuple[Folder, ...], _SEVERAL] | None = None
    host: Host | Annotated[tuple[Host, ...], _SEVERAL] | None = None
    at_most: float | None = None
    at_least: float | None = None
    absent: Literal[True] | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    def constraints(self, argument: str, where: str) -> tuple[Constraint, ...]:
        """Raises PolicyError: it says nothing, or its schema is none."""
        found: list[Constraint] = []
        for kind in ("value", "glob", "under", "host"):
            wanted = getattr(self, kind)
            if wanted is not None:
                found.append(Constraint(argument, kind, wanted if isinstance(wanted, tuple) else (wanted,)))
        for number in ("at_most", "at_least"):
            if getattr(self, number) is not None:
                found.append(Constraint(argument, number, getattr(self, number)))
        if self.absent is not None:
            found.append(Constraint(argument, "absent", True))
        if self.schema_ is not None:
            check_schema(self.schema_, f"{where}: the schema of {argument!r}")
            found.append(Constraint(argument, "schema", self.schema_))
        if any(each.kind == "under" and ".." in "/".join(each.wanted).split("/") for each in found):
            raise PolicyError(f"{where}: the folder for {argument!r} is a plain path, which has no way up")
        if not found:
            raise PolicyError(f"{where}: nothing is said about the argument {argument!r}")
        return tuple(found)


Flag = Literal["P", "U", "E", "M"]
RateText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}/(second|minute|hour|day)$")]
SECONDS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class MaskText(_Strict):
    """What is blotted out: words as they are, fields of JSON by their names, values of a known form."""

    words: Annotated[tuple[Sentence, ...], Field(max_length=MAX_WANTED, strict=False)] = ()
    fields: Annotated[tuple[Pattern, ...], Field(max_length=MAX_WANTED, strict=False)] = ()
    kinds: Annotated[tuple[Literal["mail", "card", "iban", "phone", "ip"], ...], Field(strict=False)] = ()
    of: Part = "result"

    def mask(self) -> Mask:
        return Mask(self.words, self.kinds, self.fields, self.of)


class RuleText(_Strict):
    """One `[[rule]]`.  Patterns are shell patterns (`*`, `?`, `[abc]`); upper and lower case differ.

    `tool` is short for the method tools/call and this target.  `up_to` matches the calls within a rate, `beyond` those
    over it; both count by session.
    """

    name: Name
    effect: Literal["allow", "ask", "deny", "mask"]
    reason: Sentence
    tool: Pattern | None = None
    workspace: Folder | Annotated[tuple[Folder, ...], _SEVERAL] | None = None
    labels: Annotated[tuple[Flag, ...], Field(max_length=4, strict=False)] = ()
    without: Annotated[tuple[Flag, ...], Field(max_length=4, strict=False)] = ()
    level: Annotated[Literal["H", "L"] | None, Field(alias="class")] = None
    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(strict=False)] = ()
    hours: Annotated[
        str | None,
        StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"),
    ] = None
    up_to: RateText | None = None
    beyond: RateText | None = None
    mask: MaskText | None = None
    client: Pattern = "*"
    server: Pattern = "*"
    origin: Literal["client", "server", "either"] = "either"
    method: Pattern = "*"
    target: Pattern = "*"
    arguments: Annotated[dict[str, ArgumentText], Field(max_length=64)] = {}


class PolicyText(_Strict):
    """A whole policy file.  `holds = false` switches off the cross-server hold, and every screen says so."""

    version: Version
    name: Name
    description: Sentence
    holds: bool = True
    rule: Annotated[tuple[RuleText, ...], Field(min_length=1, max_length=MAX_RULES, strict=False)]


def parse_policy(data: bytes, source: str) -> Policy:
    """Read a policy.  `source` names the file in errors.

    Raises:
        PolicyError: it is not TOML, has an unknown or missing key or a wrong value, two rules share a name, or what it
            says contradicts itself; the line is named.
    """
    hint = f"correct {source}, then: bulkhead policy check {source}"
    document, text = read_document(PolicyText, data, source, hint)
    names = [rule.name for rule in document.rule]
    for number, name in enumerate(names):
        if name in names[:number]:
            line = line_of(text, ("rule", number, "name"))
            raise PolicyError(f"{source}, line {line}: two rules are named {name!r}", hint=hint)
    rules = tuple(_rule(rule, source, text, number) for number, rule in enumerate(document.rule))
    for found in contradictions(rules):
        at = [line_of(text, ("rule", names.index(name), "name")) for name in (found.rule, found.other) if name]
        said = found.said if len(at) < 2 else f"{found.said} (line {at[1]})"
        raise PolicyError(f"{source}, line {at[0]}: a contradiction: {said}", hint=hint)
    return Policy(document.name, document.description, rules, document.holds, hashlib.sha256(data).hexdigest())


def _rule(rule: RuleText, source: str, text: str, number: int) -> Rule:
    def refuse(key: str, why: str) -> PolicyError:
        hint = f"correct {source}, then: bulkhead policy check {source}"
        return PolicyError(f"{source}, line {line_of(text, ('rule', number, key))}: {why}", hint=hint)

    method, target = rule.method, rule.target
    if rule.tool is not None:
        if {"method", "target"} & rule.model_fields_set:
            raise refuse("tool", "'tool' stands for a method and a target, so neither is named beside it")
        method, target = "tools/call", rule.tool
    if (rule.effect == "mask") != (rule.mask is not None):
        raise refuse("effect", "the effect mask and what it masks (mask = {words, fields, kinds, of}) go together")
    if rule.mask is not None and not rule.mask.model_fields_set - {"of"}:
        raise refuse("mask", "it masks nothing")
    if rule.up_to is not None and rule.effect != "allow":
        raise refuse("up_to", "a rule that asks, denies or masks counts what goes 'beyond' a rate")
    if rule.beyond is not None and rule.effect == "allow":
        raise refuse("beyond", "a rule that allows counts 'up_to' a rate")
    verdict = Verdict.DENY if rule.effect == "mask" else Verdict(rule.effect)
    return Rule(
        rule.name, verdict, rule.reason, rule.client, rule.server, rule.origin, method, target,
        _constraints(rule, source, text, number), _conditions(rule), rule.mask.mask() if rule.mask else None,
    )  # fmt: skip


def _conditions(rule: RuleText) -> tuple[Condition, ...]:
    """The cheap ones first; a rate last, so that only a call that fits otherwise is counted."""
    found: list[Condition] = []
    if rule.labels or rule.without or rule.level:
        found.append(Labelled(frozenset(rule.labels), frozenset(rule.without), rule.level or ""))
    if rule.workspace is not None:
        found.append(InFolder(rule.workspace if isinstance(rule.workspace, tuple) else (rule.workspace,)))
    if rule.days or rule.hours:
        begins, _, ends = (rule.hours or "00:00-24:00").partition("-")
        found.append(AtTimes(tuple(sorted({DAYS.index(day) for day in rule.days})), _minute(begins), _minute(ends)))
    for text, beyond in ((rule.up_to, False), (rule.beyond, True)):
        if text is not None:
            calls, _, unit = text.partition("/")
            found.append(Often(Rate(int(calls), SECONDS[unit]), beyond))
    return tuple(found)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _constraints(rule: RuleText, source: str, text: str, number: int) -> tuple[Constraint, ...]:
    where = f"{source}, line {line_of(text, ('rule', number, 'arguments'))}"
    found = (said.constraints(argument, where) for argument, said in rule.arguments.items())
    return tuple(constraint for each in found for constraint in each)
