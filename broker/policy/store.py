"""The policy and the grants that are in force.

Both come from documents that count only as a person last agreed to them (the `documents` given here see to that).
A policy that cannot be read keeps the daemon from starting; one that goes bad later leaves the last good one in force.
"""

import importlib.resources
from collections.abc import Callable
from typing import Final, Protocol

from broker.errors import BulkheadError, ConfigError, PolicyError
from broker.model import Call, ClientName, Decision, Lifetime, ServerName, SessionId, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, connection, evaluate
from broker.policy.fleet import FLEET, read_subscription, tightened
from broker.policy.grants import Grant, GrantKind, format_grants, grant_for, parse_grants

POLICY: Final = "policy.toml"
GRANTS: Final = "grants.toml"
DEFAULT: Final = "balanced"
STRICTEST: Final = "strict"
"""What is in force where nothing can be believed to be agreed."""
SHIPPED: Final = ("balanced", "strict", "observe")
MAX_SESSION_GRANTS: Final = 10_000


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...

    def write(self, name: str, data: bytes) -> None: ...


def shipped(name: str) -> bytes:
    """The text of a policy that comes with Bulkhead.

    Raises:
        PolicyError: there is none of this name.
    """
    if name not in SHIPPED:
        raise PolicyError(f"there is no policy named {name!r}", hint=f"the shipped ones are {', '.join(SHIPPED)}")
    return importlib.resources.files("policies").joinpath(f"{name}.toml").read_bytes()


class PolicyStore:
    """Holds the policy in force: the agreed one, else the shipped default."""

    def __init__(self, documents: Documents, default: str = DEFAULT) -> None:
        """Read the policy; `default` names the shipped one that is in force where none was agreed to.

        Raises:
            PolicyError: it is not acceptable; the daemon must not start with another one instead.
        """
        self._documents = documents
        self._default = default
        self._current, self._text = self._read()
        self._problem = ""

    @property
    def current(self) -> Policy:
        return self._current

    @property
    def text(self) -> str:
        """The document in force, as it was agreed to."""
        return self._text

    @property
    def problem(self) -> str:
        """Why the newest policy is not in force; empty when it is."""
        return self._problem

    def reload(self) -> str:
        """Put the agreed policy in force, or keep the last good one and return why."""
        try:
            self._current, self._text = self._read()
            self._problem = ""
        except (PolicyError, ConfigError) as error:
            self._problem = f"{error}; the last good policy ({self._current.name}) stays in force"
        return self._problem

    def use(self, data: bytes, source: str) -> Policy:
        """Put a policy that a person chose in force, for good.

        Raises:
            PolicyError: it is not acceptable; the old one stays in force.
        """
        policy = parse_policy(data, source)
        self._documents.write(POLICY, data)
        self._current, self._text, self._problem = self._tightened(policy), data.decode(), ""
        return policy

    def _read(self) -> tuple[Policy, str]:
        data, name = self._documents.load(POLICY), POLICY
        if data is None:
            data, name = shipped(self._default), f"{self._default}.toml"
        return self._tightened(parse_policy(data, name)), data.decode()

    def _tightened(self, own: Policy) -> Policy:
        """With what the user's organisation adds, where they subscribed to it."""
        fleet = self._documents.load(FLEET)
        return tightened(own, read_subscription(fleet).policy) if fleet is not None else own


class GrantBook:
    """Every yes that lasts: standing ones on disk, those of a session in memory."""

    def __init__(self, documents: Documents, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        """Read the standing grants.

        Raises:
            PolicyError: their document is not acceptable.
        """
        self._documents = documents
        self._clock = clock
        self._new_id = new_id
        data = documents.load(GRANTS)
        self._standing: tuple[Grant, ...] = parse_grants(data, GRANTS) if data is not None else ()
        self._sessions: dict[SessionId, tuple[Grant, ...]] = {}

    def all(self) -> tuple[Grant, ...]:
        """Every grant, the oldest first."""
        of_sessions = (grant for grants in self._sessions.values() for grant in grants)
        return tuple(sorted((*self._standing, *of_sessions), key=lambda grant: grant.created))

    def settle(self, call: Call, decision: Decision) -> Decision:
        """Turn a question into a yes where a grant answers it.  A denial and a yes stay as they are."""
        if decision.verdict is not Verdict.ASK:
            return decision
        for grant in (*self._sessions.get(call.session, ()), *self._standing):
            if grant.matches(call, decision):
                reason = f"you allowed it ({'for this session' if grant.lifetime == 'session' else 'always'})"
                return Decision(Verdict.ALLOW, f"grant:{grant.id}", reason, decision.evidence)
        return decision

    def connected(self, client: ClientName, server: ServerName, session: SessionId, policy: Policy) -> Decision:
        """Whether this client may use this server: by the policy, or by a grant where the policy asks."""
        call = connection(client, server, session)
        return self.settle(call, evaluate(policy, call))

    def connect(self, client: ClientName, server: ServerName, policy: Policy) -> Grant | None:
        """Grant the connection for good, as an import does.  None where the policy does not ask for it."""
        call = connection(client, server, SessionId(""))
        decision = self.settle(call, evaluate(policy, call))
        return self.add("connection", call, decision, "always") if decision.verdict is Verdict.ASK else None

    def add(self, kind: GrantKind, call: Call, decision: Decision, lifetime: Lifetime) -> Grant | None:
        """Keep a person's yes to `decision` about `call`; None for "once", of which nothing is kept.

        Raises:
            PolicyError: `decision` asks nothing, or there are too many grants.
            ConfigError: the grant cannot be written; it is then not in force either.
        """
        if decision.verdict is not Verdict.ASK:
            raise PolicyError("only a question can be granted; a denial stays a denial")
        if lifetime == "once":
            return None
        grant = grant_for(self._new_id(), kind, call, decision, lifetime, self._clock())
        if grant.lifetime == "session":
            of_session = self._sessions.get(grant.session, ())
            if sum(map(len, self._sessions.values())) >= MAX_SESSION_GRANTS:
                raise PolicyError("there are too many grants for sessions", hint="end old ones: bulkhead sessions")
            self._sessions[grant.session] = (*of_session, grant)
        else:
            self._keep((*self._standing, grant))
        return grant

    def revoke(self, id: str) -> Grant | None:
        """Take a yes back.  Returns what was taken back, None if there is no such grant."""
        found = next((grant for grant in self.all() if grant.id == id), None)
        if found is None:
            return None
        if found.lifetime == "session":
            self._sessions[found.session] = tuple(g for g in self._sessions[found.session] if g != found)
        else:
            self._keep(tuple(grant for grant in self._standing if grant != found))
        return found

    def forget(self, *, client: str = "", server: str = "") -> tuple[Grant, ...]:
        """Take back everything that was granted to this client, or about this server: it was removed."""
        gone = tuple(g for g in self.all() if (client and g.client == client) or (server and g.server == server))
        self._sessions = {name: tuple(g for g in held if g not in gone) for name, held in self._sessions.items()}
        if any(grant in gone for grant in self._standing):
            self._keep(tuple(grant for grant in self._standing if grant not in gone))
        return gone

    def end_session(self, session: SessionId) -> None:
        """A session is over, and what was granted for it."""
        self._sessions.pop(session, None)

    def reload(self) -> str:
        """Read the standing grants again; a document that is not acceptable leaves no standing grant in force."""
        try:
            data = self._documents.load(GRANTS)
            self._standing = parse_grants(data, GRANTS) if data is not None else ()
        except BulkheadError as error:
            self._standing = ()
            return str(error)
        return ""

    def _keep(self, standing: tuple[Grant, ...]) -> None:
        data = format_grants(standing)
        parse_grants(data, GRANTS)  # what we could not read again is not written
        self._documents.write(GRANTS, data)
        self._standing = standing
