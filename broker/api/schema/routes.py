"""Every request there is, what it takes and answers, and the access it needs."""

from typing import Final, Literal, TypeAlias

from broker.api.schema.boxes import GrantPaths, Hosts, Inspect, Learn, Learnt, SandboxChoice, SandboxView, States
from broker.api.schema.daemon import Statuses
from broker.api.schema.packages import (
    AdvisoryRefresh,
    AdvisoryRefreshed,
    AdvisoryStatus,
    AdvisoryUse,
    Checks,
    Collected,
    RootsRefresh,
    RootsRefreshed,
    StoreGc,
    Verify,
)
from broker.api.schema.people import (
    Answered,
    ClientAnswers,
    Clients,
    Connect,
    Declassify,
    Endpoint,
    EndpointPort,
    EndpointView,
    GrantList,
    LimitChoice,
    LimitView,
    Questions,
    ReadView,
    Sessions,
    Walls,
    WallView,
)
from broker.api.schema.record import Prune, PrunedView, Receipts, Search
from broker.api.schema.rules import (
    Explained,
    FleetSubscribe,
    FleetView,
    LabelsAccept,
    LabelsView,
    PolicyChoice,
    PolicyExplain,
    PolicyLearn,
    PolicyLearned,
    PolicyReplay,
    PolicyUse,
    PolicyView,
    Replayed,
)
from broker.api.schema.secrets import Passphrase, SecretKept, SecretList, SecretValue, UndoSeal, VaultView
from broker.api.schema.servers import Accept, Agree, Agreed, Definitions, Prepare, Proposal, Review, Servers
from broker.api.schema.signing import LoggedOut, Logout, Paste, SignedIn, SignIn, TokenList
from broker.api.schema.words import Line, Name, Names, Nothing, Words

Access: TypeAlias = Literal["read", "tighten", "loosen"]
"""What a route does to the user's safety.  `loosen` needs a person (presence); the others only the control socket."""


class Route:
    """One thing that can be asked: its parameters, its answer, the access it needs."""

    __slots__ = ("access", "answer", "method", "params")

    def __init__(self, method: str, params: type[Words], answer: type[Words], access: Access) -> None:
        self.method = method
        self.params = params
        self.answer = answer
        self.access = access


STATUS: Final = Route("status", Nothing, Statuses, "read")
WATCH: Final = Route("watch", Nothing, Nothing, "read")
STOP: Final = Route("stop", Nothing, Nothing, "tighten")
PENDING: Final = Route("pending", Nothing, Questions, "read")
APPROVE: Final = Route("approve", Answered, Nothing, "loosen")
DENY: Final = Route("deny", Answered, Nothing, "tighten")
SERVERS: Final = Route("servers", Nothing, Servers, "read")
DEFINITIONS: Final = Route("server.definitions", Name, Definitions, "read")
PREPARE: Final = Route("server.prepare", Prepare, Proposal, "loosen")
AGREE: Final = Route("server.agree", Agree, Agreed, "loosen")
REMOVE: Final = Route("server.remove", Name, Nothing, "tighten")
ENABLE: Final = Route("server.enable", Name, Nothing, "loosen")
DISABLE: Final = Route("server.disable", Name, Nothing, "tighten")
VERIFY: Final = Route("server.verify", Verify, Checks, "read")
ROOTS_REFRESH: Final = Route("roots.refresh", RootsRefresh, RootsRefreshed, "loosen")
ADVISORIES: Final = Route("advisories", Nothing, AdvisoryStatus, "read")
ADVISORIES_REFRESH: Final = Route("advisories.refresh", AdvisoryRefresh, AdvisoryRefreshed, "loosen")
ADVISORIES_USE: Final = Route("advisories.use", AdvisoryUse, Nothing, "loosen")
STORE_GC: Final = Route("store.gc", StoreGc, Collected, "tighten")
INSPECT: Final = Route("server.inspect", Inspect, Nothing, "loosen")
FORBID: Final = Route("server.forbid", Hosts, Nothing, "tighten")
SAME: Final = Route("server.same", Line, Names, "loosen")  # whoever may ask could guess values
SECRETS: Final = Route("secrets", Nothing, SecretList, "read")
SECRET_SET: Final = Route("secret.set", SecretValue, SecretKept, "loosen")
SECRET_REMOVE: Final = Route("secret.remove", Name, SecretKept, "tighten")
UNDO_SEAL: Final = Route("undo.seal", Nothing, UndoSeal, "read")
VAULT_UNLOCK: Final = Route("vault.unlock", Passphrase, VaultView, "loosen")
VAULT_SEAL: Final = Route("vault.seal", Passphrase, VaultView, "loosen")
GRANT_PATHS: Final = Route("server.grant", GrantPaths, Nothing, "loosen")
SANDBOX: Final = Route("server.sandbox.show", Name, SandboxView, "read")
SANDBOX_SET: Final = Route("server.sandbox", SandboxChoice, SandboxView, "loosen")
LEARN: Final = Route("server.learn", Learn, Nothing, "loosen")  # names of files become known
LEARNT: Final = Route("server.learnt", Name, Learnt, "loosen")
STATES: Final = Route("states", Nothing, States, "read")
STATE_CLEAR: Final = Route("state.clear", Name, Nothing, "loosen")  # what it kept is gone for good
LABELS: Final = Route("labels", Name, LabelsView, "read")
LABELS_ACCEPT: Final = Route("labels.accept", LabelsAccept, LabelsView, "loosen")
LABELS_TAKE_BACK: Final = Route("labels.take-back", Name, LabelsView, "loosen")  # they may be stricter than the shipped
REVIEW: Final = Route("review", Nothing, Review, "read")
ACCEPT: Final = Route("review.accept", Accept, Nothing, "loosen")
SESSIONS: Final = Route("sessions", Nothing, Sessions, "read")
SESSION_END: Final = Route("session.end", Name, Nothing, "loosen")  # what it has read is forgotten
SESSION_NEW: Final = Route("session.new", Name, Nothing, "loosen")  # by a client's name: all its sessions are forgotten
DECLASSIFY: Final = Route("session.declassify", Declassify, ReadView, "loosen")
CLIENTS: Final = Route("clients", Nothing, Clients, "read")
CLIENT_ADD: Final = Route("client.add", Name, Nothing, "loosen")
CLIENT_REMOVE: Final = Route("client.remove", Name, Nothing, "tighten")
CLIENT_ANSWERS: Final = Route("client.answers", ClientAnswers, Nothing, "loosen")
CONNECT: Final = Route("grant.connect", Connect, Nothing, "loosen")
ENDPOINT: Final = Route("endpoint", Endpoint, EndpointView, "loosen")
ENDPOINT_PORT: Final = Route("endpoint.port", EndpointPort, Nothing, "loosen")
GRANTS: Final = Route("grants", Nothing, GrantList, "read")
REVOKE: Final = Route("grant.revoke", Name, Nothing, "tighten")
WALLS: Final = Route("walls", Nothing, Walls, "read")
WALL_ADD: Final = Route("wall.add", WallView, Nothing, "tighten")
WALL_REMOVE: Final = Route("wall.remove", Name, Nothing, "loosen")
LIMIT_ADD: Final = Route("limit.add", LimitChoice, LimitView, "tighten")  # beside what there is: it only takes away
LIMIT_REMOVE: Final = Route("limit.remove", Name, Nothing, "loosen")
POLICY_NOW: Final = Route("policy.now", Nothing, PolicyUse, "read")
POLICY_USE: Final = Route("policy.use", PolicyUse, Nothing, "loosen")
POLICY_SHOW: Final = Route("policy.show", PolicyChoice, PolicyView, "read")
POLICY_EXPLAIN: Final = Route("policy.explain", PolicyExplain, Explained, "loosen")  # these open what peers said:
POLICY_REPLAY: Final = Route("policy.replay", PolicyReplay, Replayed, "loosen")  # who may ask could guess
POLICY_LEARN: Final = Route("policy.learn", PolicyLearn, PolicyLearned, "loosen")
FLEET: Final = Route("fleet", Nothing, FleetView, "read")
FLEET_REFRESH: Final = Route("fleet.refresh", Nothing, FleetView, "tighten")
FLEET_SUBSCRIBE: Final = Route("fleet.subscribe", FleetSubscribe, FleetView, "loosen")  # instead of another
FLEET_LEAVE: Final = Route("fleet.leave", Nothing, Nothing, "loosen")
LOGIN: Final = Route("login", SignIn, SignedIn, "loosen")
LOGOUT: Final = Route("logout", Logout, LoggedOut, "tighten")
PASTE: Final = Route("login.paste", Paste, Nothing, "loosen")
TOKENS: Final = Route("tokens", Nothing, TokenList, "read")
WAITING: Final = Route("login.waiting", Nothing, TokenList, "loosen")  # with the links, which belong to a person
AUDIT: Final = Route("audit", Search, Receipts, "read")
AUDIT_PRUNE: Final = Route("audit.prune", Prune, PrunedView, "loosen")  # what happened is known to nobody any more
AUDIT_OPEN: Final = Route("audit.open", Search, Receipts, "loosen")  # what peers said to each other becomes known
ROUTES: Final[dict[str, Route]] = {
    route.method: route
    for route in (
        STATUS, WATCH, STOP, PENDING, APPROVE, DENY, SERVERS, DEFINITIONS, PREPARE, AGREE, REMOVE, ENABLE, DISABLE,
        VERIFY,
        INSPECT, FORBID,
        GRANT_PATHS, SANDBOX, SANDBOX_SET, LEARN, LEARNT, STATES, STATE_CLEAR,
        REVIEW, ACCEPT, SESSIONS, SESSION_END, SESSION_NEW, DECLASSIFY, CLIENTS, CLIENT_ADD, CLIENT_REMOVE,
        CLIENT_ANSWERS, CONNECT, GRANTS,
        REVOKE, WALLS, WALL_ADD, WALL_REMOVE, LIMIT_ADD, LIMIT_REMOVE, POLICY_USE, AUDIT, AUDIT_OPEN, AUDIT_PRUNE,
        SAME, SECRETS, SECRET_SET, SECRET_REMOVE, VAULT_UNLOCK, VAULT_SEAL, UNDO_SEAL,
        ADVISORIES, ADVISORIES_REFRESH, ADVISORIES_USE, ROOTS_REFRESH, STORE_GC, ENDPOINT, ENDPOINT_PORT,
        LABELS, LABELS_ACCEPT, LABELS_TAKE_BACK, POLICY_NOW, POLICY_SHOW, POLICY_EXPLAIN, POLICY_REPLAY, POLICY_LEARN,
        FLEET, FLEET_REFRESH, FLEET_SUBSCRIBE, FLEET_LEAVE, LOGIN, LOGOUT, PASTE, TOKENS, WAITING,
    )
}  # fmt: skip
