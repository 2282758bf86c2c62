"""Why a policy decides as it does: every rule that speaks of a call, and what about it fits or not.

A call is written as JSON or as a case of a TOML file; both are read strictly, since a misspelt key would explain
another call than the one that was meant.
"""

import json
import tomllib
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import PolicyError
from broker.model import Call, ClientName, Decision, ServerName, SessionId, Verdict
from broker.policy.evaluate import Policy, evaluate

MAX_CASES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Voice:
    """One rule about one call.  `fits`: it has a say; `unmet`: the names of the arguments that keep it from that."""

    rule: str
    verdict: Verdict
    reason: str
    fits: bool
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and the rules that concern the call."""

    decision: Decision
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What a policy must answer.  An empty `rule` leaves open which one says so."""

    name: str
    call: Call
    verdict: Verdict
    rule: str = ""


def explain(policy: Policy, call: Call) -> Explanation:
    """Every rule that speaks of this kind of call, those with a say first."""
    voices = []
    for rule in policy.rules:
        if rule.concerns(call):
            fits = rule.matches(call)
            unmet = () if fits else tuple(dict.fromkeys(each.argument for each in rule.unmet(call)))
            voices.append(Voice(rule.name, rule.verdict, rule.reason, fits, unmet))
    voices.sort(key=lambda voice: not voice.fits)
    return Explanation(evaluate(policy, call), tuple(voices))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CallText(_Strict):
    client: str
    server: str
    origin: Literal["client", "server"] = "client"
    method: str
    target: str
    arguments: dict[str, Any] = {}

    def call(self) -> Call:
        return Call(ClientName(self.client), ServerName(self.server), SessionId(""), self.origin, self.method,
                    self.target, self.arguments, "")  # fmt: skip


class _CaseText(_Strict):
    name: str
    call: _CallText
    verdict: Literal["allow", "ask", "deny"]
    rule: str = ""


class _CasesText(_Strict):
    policy: str
    case: Annotated[list[_CaseText], Field(min_length=1, max_length=MAX_CASES)]


def parse_call(data: bytes, source: str) -> Call:
    """Read a call: `{"client", "server", "method", "target", "arguments"}`.

    Raises:
        PolicyError: it is not JSON, or a key is missing or unknown.
    """
    try:
        return _CallText.model_validate(json.loads(data)).call()
    except ValidationError as cause:
        raise PolicyError(f"{source}: {_said(cause)}", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise PolicyError(f"{source} is not JSON", hint=_HINT) from None


def parse_cases(data: bytes, source: str) -> tuple[str, tuple[Case, ...]]:
    """Read a file of cases: the name or file of the policy, and what it must answer.

    Raises:
        PolicyError: it is not TOML, or a key is missing or unknown.
    """
    try:
        document = _CasesText.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as cause:
        raise PolicyError(f"{source}: {_said(cause)}") from None
    except (ValueError, RecursionError) as cause:
        raise PolicyError(f"{source} is not TOML: {cause}") from None
    return document.policy, tuple(
        Case(case.name, case.call.call(), Verdict(case.verdict), case.rule) for case in document.case
    )


_HINT: Final = 'a call is {"client": ..., "server": ..., "method": "tools/call", "target": TOOL, "arguments": {...}}'


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key!r} is not acceptable: {first['msg'][:1].lower()}{first['msg'][1:]}"
