"""What a person said yes to for longer than once, as values and as text.

A grant answers a question that a rule would ask; it never lifts a denial.  It is bound to exactly what was asked:
client, server, method, target and the name of the rule that asked.
"""

import tomllib
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from broker.errors import PolicyError
from broker.model import Call, ClientName, Decision, Lifetime, ServerName, SessionId, Verdict
from broker.policy.constraints import Constraint
from broker.policy.narrowing import MAX_LISTED, Reach, reach_of

MAX_GRANTS: Final = 10_000

GrantKind: TypeAlias = Literal["connection", "call"]

FLOW_RULES: Final = frozenset({"R3", "R4", "R7"})
"""Their questions are about where data came from: a yes holds for the sources that were shown, in this session."""

_NO_SESSION: Final = SessionId("")


@dataclass(frozen=True, slots=True)
class Grant:
    """A standing yes.

    `kind` connection: the client may use the server.  `kind` call: this call may happen although `rule` asks.  A
    non-empty `basis` is the evidence that the person saw, and a non-empty `digest` the only call it is for.
    `created` is seconds since the epoch; `session` is set where `lifetime` is "session".
    """

    id: str
    kind: GrantKind
    client: ClientName
    server: ServerName
    lifetime: Lifetime
    created: float
    method: str = ""
    target: str = ""
    rule: str = ""
    digest: str = ""
    basis: str = ""
    session: SessionId = _NO_SESSION
    reach: Reach | None = None
    """Where the calls go that it is for; None: wherever."""

    def matches(self, call: Call, decision: Decision) -> bool:
        """Whether this grant answers what `decision` asks about `call`."""
        if decision.verdict is not Verdict.ASK or (call.client, call.server) != (self.client, self.server):
            return False
        if self.lifetime == "session" and call.session != self.session:
            return False
        exact = (self.method, self.target, self.rule) == (call.method, call.target, decision.rule)
        if not exact or self.digest not in ("", call.digest) or self.basis not in ("", basis_of(decision)):
            return False
        return self.reach is None or self.reach.exact or self.reach.covers(call.arguments)


def basis_of(decision: Decision) -> str:
    """What a yes to a question about data flow rests on: its first line of evidence, which names the sources."""
    return decision.evidence[0] if decision.rule in FLOW_RULES and decision.evidence else ""


def lasting_reach(call: Call, decision: Decision) -> str:
    """How far a yes for always would reach, for a person; empty where a yes lasts for the session at most."""
    return "" if decision.rule in FLOW_RULES else str(reach_of(call.arguments))


def grant_for(id: str, kind: GrantKind, call: Call, decision: Decision, lifetime: Lifetime, created: float) -> Grant:
    """The grant that a yes to `decision` about `call` makes.

    A yes for always to a question about data flow becomes one for the session: what a session has read is no lasting
    property of a tool.  Any other one reaches as far as the call that was shown (`narrowing`).
    """
    if decision.rule in FLOW_RULES and lifetime == "always":
        lifetime = "session"
    session = call.session if lifetime == "session" else _NO_SESSION
    reach = reach_of(call.arguments) if kind == "call" and lifetime == "always" else None
    return Grant(id, kind, call.client, call.server, lifetime, created, call.method, call.target, decision.rule,
                 digest=call.digest if reach is not None and reach.exact else "",
                 basis=basis_of(decision), session=session, reach=reach)  # fmt: skip


_Short = Annotated[str, StringConstraints(max_length=256)]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class _WhereText(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    argument: _Word
    kind: Literal["value", "under", "host"]
    wanted: bool | int | str | list[str]


class _GrantText(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: _Word
    kind: GrantKind
    client: _Word
    server: _Word
    created: float
    method: _Short = ""
    target: Annotated[str, StringConstraints(max_length=8192)] = ""
    rule: _Short = ""
    digest: _Short = ""
    narrow: bool = False
    where: Annotated[list[_WhereText], Field(max_length=MAX_LISTED)] = []


class _GrantsText(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[int, Field(ge=1, le=1)]
    grant: Annotated[list[_GrantText], Field(max_length=MAX_GRANTS)] = []


def parse_grants(data: bytes, source: str) -> tuple[Grant, ...]:
    """Read standing grants.

    Raises:
        PolicyError: the text is not what `format_grants` writes.
    """
    try:
        document = _GrantsText.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        why = first["msg"][:1].lower() + first["msg"][1:]
        raise PolicyError(f"{source}: {key!r} is not acceptable: {why}") from None
    except (ValueError, RecursionError) as cause:
        raise PolicyError(f"{source} is not TOML: {cause}") from cause
    return tuple(
        Grant(g.id, g.kind, ClientName(g.client), ServerName(g.server), "always", g.created, g.method, g.target, g.rule,
              g.digest, reach=_reach(g))
        for g in document.grant
    )  # fmt: skip


def format_grants(grants: tuple[Grant, ...]) -> bytes:
    """The text of the standing ones among `grants`."""
    rows = []
    for grant in grants:
        if grant.lifetime == "always":
            row = {"id": grant.id, "kind": grant.kind, "client": grant.client, "server": grant.server,
                   "created": float(grant.created), "method": grant.method, "target": grant.target,
                   "rule": grant.rule, "digest": grant.digest,
                   "narrow": True if grant.reach is not None else "",
                   "where": _where(grant.reach) if grant.reach is not None and grant.reach.where else ""}  # fmt: skip
            rows.append({key: value for key, value in row.items() if value != ""})
    return tomli_w.dumps({"version": 1, "grant": rows}).encode("utf-8")


def _reach(text: _GrantText) -> Reach | None:
    if not text.narrow:
        return None
    where = tuple(Constraint(one.argument, one.kind, (one.wanted,)) for one in text.where)
    return Reach(where, exact=bool(text.digest))


def _where(reach: Reach) -> list[dict[str, object]]:
    return [{"argument": one.argument, "kind": one.kind, "wanted": one.wanted[0]} for one in reach.where]
