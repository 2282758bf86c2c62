"""Why a policy decides as it does: every rule that speaks of a call, and what about it fits or not.

A call is written as JSON or as a case of a TOML file; both are read strictly, since a misspelt key would explain
another call than the one that was meant.
"""

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from broker.errors import PolicyError
from broker.model import Call, ClientName, Decision, ServerName, SessionId, Verdict
from broker.policy.around import DAYS, NOWHERE, Around
from broker.policy.evaluate import Policy, evaluate
from broker.policy.masks import Part
from broker.toml_text import read_document

MAX_CASES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Voice:
    """One rule about one call.  `fits`: it has a say; `unmet`: arguments and conditions that keep it from that."""

    rule: str
    effect: str
    reason: str
    fits: bool
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, the rules that concern the call, and the names of those that change its answer."""

    decision: Decision
    voices: tuple[Voice, ...]
    masks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What a policy must answer.  An empty `rule` leaves open which one says so."""

    name: str
    call: Call
    verdict: Verdict
    rule: str = ""
    around: Around = NOWHERE
    masks: tuple[str, ...] = ()


def explain(policy: Policy, call: Call, around: Around = NOWHERE) -> Explanation:
    """Every rule that speaks of this kind of call, those with a say first."""
    voices = []
    for rule in policy.rules:
        if rule.concerns(call):
            fits = rule.matches(call, around)
            unmet = () if fits else rule.unmet(call, around)
            effect = rule.verdict.value if rule.mask is None else "mask"
            voices.append(Voice(rule.name, effect, rule.reason, fits, unmet))
    voices.sort(key=lambda voice: not voice.fits)
    parts: tuple[Part, ...] = ("arguments", "result")
    masks = [name for part in parts if (found := policy.masker(call, around, part)) for name in found[0]]
    return Explanation(evaluate(policy, call, around), tuple(voices), tuple(masks))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CallText(_Strict):
    client: str
    server: str
    origin: Literal["client", "server"] = "client"
    method: str
    target: str
    arguments: dict[str, Any] = {}
    workspace: str = ""
    labels: Annotated[list[Literal["P", "U", "E", "M"]] | None, Field(max_length=4)] = None
    level: Annotated[Literal["H", "L"], Field(alias="class")] = "H"
    at: Annotated[str, StringConstraints(pattern=rf"^({'|'.join(DAYS)}) ([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = None

    def call(self) -> Call:
        return Call(ClientName(self.client), ServerName(self.server), SessionId(""), self.origin, self.method,
                    self.target, self.arguments, "")  # fmt: skip

    def around(self) -> Around:
        """What the text says is around the call; what it does not say is not known."""
        found = replace(NOWHERE, workspace=self.workspace)
        if self.labels is not None:
            found = replace(found, flags=frozenset(self.labels), level=self.level, vouched=True)
        if self.at is not None:
            day, _, time = self.at.partition(" ")
            found = replace(found, weekday=DAYS.index(day), minute=int(time[:2]) * 60 + int(time[3:]))
        return found


class _CaseText(_Strict):
    name: str
    call: _CallText
    verdict: Literal["allow", "ask", "deny"]
    rule: str = ""
    masks: list[str] = []


class _CasesText(_Strict):
    policy: str
    case: Annotated[list[_CaseText], Field(min_length=1, max_length=MAX_CASES)]


def parse_call(data: bytes, source: str) -> tuple[Call, Around]:
    """Read a call: `{"client", "server", "method", "target", "arguments"}`, and what is around it.

    Raises:
        PolicyError: it is not JSON, or a key is missing or unknown.
    """
    try:
        read = _CallText.model_validate(json.loads(data))
    except ValidationError as cause:
        raise PolicyError(f"{source}: {_said(cause)}", hint=_HINT) from None
    except json.JSONDecodeError as cause:
        raise PolicyError(f"{source}, line {cause.lineno} is not JSON", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise PolicyError(f"{source} is not JSON", hint=_HINT) from None
    return read.call(), read.around()


def parse_cases(data: bytes, source: str) -> tuple[str, tuple[Case, ...]]:
    """Read a file of cases: the name or file of the policy, and what it must answer.

    Raises:
        PolicyError: it is not TOML, or a key is missing or unknown; the line is named.
    """
    document, _ = read_document(_CasesText, data, source, f"correct {source}")
    return document.policy, tuple(
        Case(case.name, case.call.call(), Verdict(case.verdict), case.rule, case.call.around(), tuple(case.masks))
        for case in document.case
    )


_HINT: Final = (
    'a call is {"client": ..., "server": ..., "method": "tools/call", "target": TOOL, "arguments": {...}}, '
    'and if wanted "workspace", "labels", "class", "at": "mon 09:30"'
)


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key!r} is not acceptable: {first['msg'][:1].lower()}{first['msg'][1:]}"
