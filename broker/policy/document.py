"""The policy file as text: what may stand in it, and where exactly it is wrong.

An unknown key is an error, never ignored: a misspelt `effct = "deny"` must not become a policy without that denial.
"""

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.errors import PolicyError
from broker.model import Verdict
from broker.policy.constraints import Constraint, check_schema
from broker.policy.evaluate import Policy, Rule
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


class RuleText(_Strict):
    """One `[[rule]]`.  Patterns are shell patterns (`*`, `?`, `[abc]`); upper and lower case differ."""

    name: Name
    effect: Literal["allow", "ask", "deny"]
    reason: Sentence
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
        PolicyError: it is not TOML, has an unknown or missing key or a wrong value, or two rules share a name.
    """
    hint = f"correct {source}, then: bulkhead policy check {source}"
    document, text = read_document(PolicyText, data, source, hint)
    names = [rule.name for rule in document.rule]
    for number, name in enumerate(names):
        if name in names[:number]:
            line = line_of(text, ("rule", number, "name"))
            raise PolicyError(f"{source}, line {line}: two rules are named {name!r}", hint=hint)
    rules = tuple(
        Rule(rule.name, Verdict(rule.effect), rule.reason, rule.client, rule.server, rule.origin, rule.method,
             rule.target, _constraints(rule, source, text, number))
        for number, rule in enumerate(document.rule)
    )  # fmt: skip
    return Policy(document.name, document.description, rules, document.holds, hashlib.sha256(data).hexdigest())


def _constraints(rule: RuleText, source: str, text: str, number: int) -> tuple[Constraint, ...]:
    where = f"{source}, line {line_of(text, ('rule', number, 'arguments'))}"
    found = (said.constraints(argument, where) for argument, said in rule.arguments.items())
    return tuple(constraint for each in found for constraint in each)
