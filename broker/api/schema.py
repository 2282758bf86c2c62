"""The words of the front desk: what can be asked of the daemon, and what it says.

Newline-delimited JSON on `control.sock`.  A request is `{"v": 1, "id": 7, "method": "...", "params": {...}}`; the desk
answers with any number of `{"id": 7, "event": {...}}` lines and then one `{"id": 7, "result": {...}}` or
`{"id": 7, "error": {"code", "what", "hint"}}`.  Unknown keys are refused: a mistyped field never means its default.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from broker.model import State

VERSION: Final = 1
MAX_WORDS: Final = 512  # of a launch line


class Words(BaseModel):
    """Base of everything said at the desk."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- what the daemon shows ---------------------------------------------------------------------------------------


class Status(Words):
    """The daemon in one look."""

    version: str
    pid: int
    uptime: float
    home: str
    tier: str
    tier_note: str = ""
    limits: str = ""
    keychain: str
    vault: str = ""
    presence: Literal["required", "unsafe-no-presence", "throw-away home"]
    sessions: int
    links: int
    questions: int
    servers: int
    policy: str
    policy_problem: str = ""
    drifted_documents: list[str] = []
    receipts: int = 0


class QuestionView(Words):
    """An open question.  `evidence` and `detail` may hold text a server wrote; everything else is ours."""

    id: str
    kind: Literal["connection", "call", "launch", "drift", "review", "advisory", "egress", "open", "left", "sign-in"]
    client: str
    server: str
    session: str
    what: str
    why: str
    digest: str
    asked: float
    deadline: float
    evidence: list[str] = []
    detail: str = ""


class LinkView(Words):
    """One client's conversation with one server."""

    id: str
    server: str
    state: Literal["waiting for a yes", "refused", "ready", "starting", "running", "drift", "ended"]
    tier: str = ""
    limits: str = ""
    pid: int = 0
    calls: int = 0
    opened: float


class SessionView(Words):
    """One run of one client, and what it has read."""

    id: str
    client: str
    workspace: str = ""
    root_pid: int
    root_executable: str
    started: float
    links: list[LinkView] = []
    reads: list[str] = []
    effects: int = 0
    questions: int = 0
    autonomy: float = 1.0
    """The share of the effects that went without a question, since the daemon started."""


class ToolView(Words):
    """One tool of a catalog, in the server's own words."""

    name: str
    title: str = ""
    description: str = ""
    state: Literal["agreed", "added", "changed", "missing"] = "agreed"


class BlockedView(Words):
    """What a server tried to reach and may not; `grant` is the narrowest that would allow it."""

    target: str
    grant: str
    reason: str
    times: int
    last: float


class HappenedView(Words):
    """A limit that ended a server, or what one left in a folder of the user."""

    text: str
    times: int
    last: float


class ServerView(Words):
    """A registered server, its pin and its catalog."""

    name: str
    enabled: bool
    state: Literal["pinned", "not pinned", "drift"]
    argv: list[str]
    kind: str = ""
    artifact: str = ""
    version: str = ""
    tree: str = ""
    packages: int = 0
    catalog: str = ""
    pinned: str = ""
    interpreter: str = ""
    findings: list[str] = []
    tools: list[ToolView] = []
    prompts: list[str] = []
    resources: list[str] = []
    read: list[str] = []
    write: list[str] = []
    hosts: list[str] = []
    env: list[str] = []
    network: list[str] = []
    blocked: list[BlockedView] = []
    happened: list[HappenedView] = []
    boxed: bool = True
    keeps: State = "none"
    limits: dict[str, str] = {}
    changes: list[str] = []
    drift_digest: str = ""
    development: str = ""
    malware: list[str] = []
    vulnerabilities: list[str] = []


class ClientView(Words):
    name: str
    created: str
    executables: list[str] = []


class GrantView(Words):
    """A standing or session yes."""

    id: str
    kind: Literal["connection", "call"]
    client: str
    server: str
    rule: str = ""
    method: str = ""
    target: str = ""
    lifetime: Literal["session", "always"]
    session: str = ""
    executable: str = ""
    created: str = ""


class WallView(Words):
    """Classes of servers of which a session reads from one only."""

    name: str
    classes: dict[str, list[str]]


class LimitView(Words):
    """All that a client, or one session of it, may use; the session is empty, or the beginning of its id."""

    id: str
    client: str
    session: str = ""
    tools: list[str]


class Walls(Words):
    walls: list[WallView]
    limits: list[LimitView]


class Proposal(Words):
    """A prepared server, verified but not agreed to: nothing of it has run.

    `builds` is what building it would run; `unbuilt`: there is nothing to start without that.
    """

    id: str
    name: str
    digest: str
    lines: list[str]
    warnings: list[str] = []
    paths: list[str] = []
    needs: list[str] = []
    state: State = "none"
    keeps: str = ""
    builds: list[str] = []
    unbuilt: bool = False
    replaces: bool = False


class Agreed(Words):
    """What pinning a server found."""

    server: ServerView
    notes: list[str] = []


class Receipt(Words):
    """One entry of the audit chain, as it stands in the log."""

    entry: dict[str, Any]


# --- what can be asked -------------------------------------------------------------------------------------------


class Nothing(Words):
    """No parameters, or nothing to say."""


class Name(Words):
    name: str


class Prepare(Words):
    """Resolve, download and verify; progress comes as events.  Runs nothing of the server.

    `environment` holds the caller's variables that the ecosystem's tools need (see `cli.environment`).  `dev` trusts a
    local project as it is on each day, for a while.  `settings` are values a bundle's manifest asks a person for.
    """

    name: str
    argv: list[str] = Field(min_length=1, max_length=MAX_WORDS)
    environment: dict[str, str] = {}
    dev: bool = False
    settings: dict[str, str] = {}


class SignIn(Words):
    """Sign a client in at a server elsewhere.  What is None stays as it was chosen before.

    `resource` is what names the server to the authorization server: `prm` (what it says itself), `omit`, `fixed:URI`.
    `secret` goes with a client id that was registered by hand; with `key` it is a private key, and no person is needed.
    """

    client: str = "local"
    server: str = ""
    way: Literal["browser", "device"] = "browser"
    resource: str | None = Field(default=None, max_length=2048)
    client_id: str | None = Field(default=None, max_length=2048)
    secret: str | None = Field(default=None, max_length=16384)
    key: bool = False
    issuer: str | None = Field(default=None, max_length=2048)
    document: str | None = Field(default=None, max_length=2048)

    def __repr__(self) -> str:
        return f"SignIn(client={self.client!r}, server={self.server!r})"


class SecretPlace(Words):
    """Where the value of a variable is put in; the server holds a placeholder."""

    name: str
    header: str
    host: str
    method: list[str]
    path: str = "/*"


class Agree(Words):
    """A person's yes to a proposal.  Starts the server once, in its sandbox, to pin its catalog.

    `references` says where the values of variables are (`keychain:NAME`, `file:PATH`, `command:...`).  `connect` names
    clients whose connection to this server the same yes covers (an import).  `build` is a second yes, to running what
    the proposal's `builds` say.  `sign_in` is whose sign-in it is, if the server asks for one.
    `inspect` has its connections looked into from the start, under `rules`, with `secrets` put in; without it what is
    known for its name stays.
    """

    id: str
    digest: str
    read: list[str] = []
    write: list[str] = []
    hosts: list[str] = []
    env: dict[str, str] = {}
    references: dict[str, str] = Field(default={}, max_length=64)
    connect: list[str] = []
    unix_sockets: bool = False
    state: State | None = None
    limits: dict[str, str] = Field(default={}, max_length=32)
    build: bool = False
    sign_in: SignIn | None = None
    inspect: bool = False
    rules: list[str] = Field(default=[], max_length=64)
    secrets: list[SecretPlace] = Field(default=[], max_length=32)


class SignedIn(Words):
    """What came of it; `needed` is false where the server asks for no sign-in."""

    needed: bool
    issuer: str = ""
    scopes: list[str] = []


class Logout(Words):
    client: str
    server: str


class LoggedOut(Words):
    """`revoked`: the authorization server has forgotten the tokens, too."""

    revoked: bool


class Paste(Words):
    """The address that a browser on another machine could not open."""

    url: str = Field(max_length=16384)


class TokenView(Words):
    """One client's sign-in at one server; never a token.  `expires` is seconds since the epoch, 0 for not said."""

    client: str
    server: str
    url: str = ""
    issuer: str = ""
    registered: str = ""
    redirect: str = ""
    scopes: list[str] = []
    state: Literal["signed in", "sign in again", "waits for a person"]
    expires: float = 0.0
    renews: bool = False
    link: str = ""
    code: str = ""


class TokenList(Words):
    tokens: list[TokenView]


class Answered(Words):
    """A person's answer to an open question.  `digest` must be that of the question as it was shown."""

    id: str
    digest: str
    allow: bool
    lifetime: Literal["once", "session", "always"] = "once"


class Accept(Words):
    """A person's yes to a drifted catalog, or to a changed document of ours (`name` is then its path)."""

    name: str
    digest: str


class Connect(Words):
    """A person's yes to a client using a server.  The program behind the client is bound at its first link."""

    client: str
    server: str


class Endpoint(Words):
    """Where a client finds a server by HTTP.  `workspace` is the folder it works in; each has a bearer of its own."""

    client: str
    server: str
    workspace: str = Field(default="", max_length=4096)


class EndpointPort(Words):
    """The port at which clients by HTTP are let in, from now on."""

    port: int = Field(ge=1024, le=65535)


class EndpointView(Words):
    """`file` holds the bearer, owner-only; it is never said at the desk."""

    url: str
    file: str


class Verify(Words):
    """Servers to check against their pins; none means all.

    Unless `offline`, registries are asked about newer versions, with the caller's `environment`.  `sbom` asks for the
    list of what the servers consist of.
    """

    names: list[str] = []
    offline: bool = False
    environment: dict[str, str] = {}
    sbom: bool = False


class Check(Words):
    """One server checked.  `problem` is empty when every byte is as pinned; `newer` is announced, never taken.

    `evidence` says who made it, as far as that was verified when it was pinned, for the whole closure; `roots_days` how
    old the roots of trust are that it would be judged by now.
    """

    name: str
    problem: str = ""
    malware: list[str] = []
    vulnerabilities: list[str] = []
    newer: str = ""
    note: str = ""
    evidence: list[str] = []
    roots_days: int = 0


class Checks(Words):
    """`advisories` says how much is known and since when; `roots` how old the roots of trust are.

    `sbom` is a CycloneDX document.
    """

    checks: list[Check]
    advisories: str = ""
    roots: str = ""
    sbom: str = ""


class RootsRefresh(Words):
    """Fetch the newest root of trust from `source`; empty means where the installed sigstore gets its own."""

    source: str = Field(default="", max_length=2048)
    environment: dict[str, str] = {}


class RootsRefreshed(Words):
    sentence: str
    sha256: str


class AdvisoryStatus(Words):
    """What is known about packages on this machine.  `fetched` is seconds since the epoch, 0 for never."""

    sentence: str
    records: int = 0
    malware: int = 0
    fetched: float = 0.0
    newest: str = ""
    sources: list[str] = []


class AdvisoryRefresh(Words):
    """Take in a file or an address; without one, the configured sources."""

    source: str = ""
    environment: dict[str, str] = {}


class AdvisoryRefreshed(Words):
    taken: int
    unreadable: int
    sentence: str


class AdvisoryUse(Words):
    """Where advisories are fetched from each day.  None: they are not."""

    sources: list[str] = Field(default=[], max_length=8)


class StoreGc(Words):
    dry_run: bool = False


class Collected(Words):
    """Objects of the store that were (or would be) removed; `spared` are too young to be sure of."""

    trees: list[str]
    byte_count: int
    spared: int


class Inspect(Words):
    """Look into a server's encrypted connections, or (`on` false) no more.  What is given takes the old one's place."""

    name: str
    on: bool = True
    rules: list[str] = []
    secrets: list[SecretPlace] = []


class SecretValue(Words):
    """A secret for the vault.  The value goes this way only."""

    name: str
    value: str = Field(max_length=64 * 1024, repr=False)


class SecretView(Words):
    """`kept` is false for one that a server's document refers to and that is not there."""

    name: str
    kept: bool
    servers: list[str] = []


class VaultView(Words):
    """`where` its key is (`memory`: it forgets everything when the daemon stops); `problem` keeps it closed."""

    where: str
    lasts: bool
    problem: str = ""
    hint: str = ""


class SecretList(Words):
    vault: VaultView
    secrets: list[SecretView] = []


class SecretKept(Words):
    """Servers that were let go, so that their next message starts them with the new value."""

    vault: VaultView
    restarted: list[str] = []


class Passphrase(Words):
    """Empty: the keychain."""

    passphrase: str = Field(default="", max_length=1024, repr=False)


class Line(Words):
    """A launch line with its values, as a client's file has it."""

    argv: list[str] = Field(min_length=1, max_length=MAX_WORDS)
    env: dict[str, str] = Field(default={}, repr=False)


class Names(Words):
    names: list[str] = []


class Hosts(Words):
    """Hosts of one server, as they were granted."""

    name: str
    hosts: list[str] = Field(min_length=1)


class GrantPaths(Words):
    """Folders or files of the user and hosts for a server, beside those it has; `listen` are all of its ports."""

    name: str
    read: list[str] = []
    write: list[str] = []
    hosts: list[str] = []
    listen: list[int] | None = Field(default=None, max_length=8)


class SandboxChoice(Words):
    """What a person chooses about the sandbox of a server; what is not named stays."""

    name: str
    limits: dict[str, str] = Field(default={}, max_length=32)
    state: State | None = None
    boxed: bool | None = None
    unix_sockets: bool | None = None


class SandboxView(Words):
    """How a server is boxed in, and what it may use."""

    name: str
    boxed: bool
    state: State
    tier: str
    limits: dict[str, str]
    unix_sockets: bool = False


class Learn(Words):
    """Watch what a server asks for in vain, at its starts within so many seconds."""

    name: str
    seconds: int = Field(default=600, ge=1, le=3600)


class ProposedPath(Words):
    """The narrowest grant that shows what was `asked` for."""

    path: str
    writable: bool
    asked: list[str]


class Learnt(Words):
    """What a watched server asked for in vain.  `withheld`: it exists and no server is granted it."""

    starts: int
    paths: list[ProposedPath]
    hosts: list[str]
    withheld: int
    unseen: int


class StateView(Words):
    """What a server keeps: all of it, or that of one session."""

    server: str
    key: str
    size: int
    in_use: bool


class States(Words):
    states: list[StateView]


class ToolLabels(Words):
    """What a call of one tool does with data; `level` is its class, `scope` the arguments that say which part."""

    name: str
    labels: list[Literal["P", "U", "E", "M"]] = Field(max_length=4)
    level: Literal["H", "L"]
    reason: str = Field(min_length=1, max_length=500)
    scope: list[str] = Field(default=[], max_length=4)


class ProposedLabels(Words):
    """One tool: what counts now, what could be accepted, and what in its definition speaks for that."""

    now: ToolLabels
    proposed: ToolLabels
    because: list[tuple[str, str]]


class LabelsView(Words):
    """The labels of a server.  `basis` says whose word counts now; `lapsed` why what was accepted does not."""

    name: str
    basis: Literal["accepted", "shipped", "worst"]
    source: str
    lapsed: str = ""
    publisher: str
    catalog: str
    tools: list[ProposedLabels]


class LabelsAccept(Words):
    """A person's yes to labels, for the definitions with this digest.  A tool that is left out is the worst case."""

    name: str
    catalog: str
    tools: list[ToolLabels] = Field(min_length=1, max_length=1000)


class Search(Words):
    """Receipts, newest last.  Every field narrows; `oldest_first` begins at the old end, `after` a number."""

    limit: int = Field(default=50, ge=1, le=10_000)
    client: str = ""
    server: str = ""
    session: str = ""
    tool: str = ""
    kind: str = ""
    rule: str = ""
    verdict: str = ""
    story: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None
    after: int = 0
    oldest_first: bool = False


class Prune(Words):
    """Receipts to let go of: of these classes, from before a time, and the oldest beyond so many bytes."""

    classes: list[Literal["messages", "decisions", "network", "daemon"]] = ["messages", "network"]
    older_than: float | None = None
    keep: int | None = Field(default=None, ge=0)
    dry_run: bool = False


class PrunedView(Words):
    entries: int
    bytes: int
    segments: int


class PolicyUse(Words):
    """`text` is the whole document; `name` is what status calls it."""

    name: str
    text: str


class LimitChoice(Words):
    """`session`: the beginning of its id, where it is one session of the client alone."""

    client: str
    tools: list[str]
    session: str = ""


class Statuses(Words):
    status: Status


class Questions(Words):
    questions: list[QuestionView]


class Sessions(Words):
    sessions: list[SessionView]


class Servers(Words):
    servers: list[ServerView]


class Clients(Words):
    clients: list[ClientView]


class GrantList(Words):
    grants: list[GrantView]


class Receipts(Words):
    receipts: list[dict[str, Any]]


class ReviewItem(Words):
    """Something that drifted: a catalog (`kind` catalog) or a document of ours (`kind` document)."""

    kind: Literal["catalog", "document"]
    name: str
    digest: str
    changes: list[str]


class Review(Words):
    items: list[ReviewItem]


# --- what `watch` says -------------------------------------------------------------------------------------------


class Progress(Words):
    """Long work goes on."""

    event: Literal["progress"] = "progress"
    text: str


class ToDo(Words):
    """A sign-in needs its person: to answer a question, or to go to an address (with a code, on another machine)."""

    event: Literal["to do"] = "to do"
    question: str = ""
    link: str = ""
    code: str = ""
    redirect: str = ""


class Snapshot(Words):
    """Everything, once, before the changes.  `receipts` are the last ones, oldest first."""

    event: Literal["snapshot"] = "snapshot"
    status: Status
    questions: list[QuestionView]
    sessions: list[SessionView]
    servers: list[ServerView]
    grants: list[GrantView]
    receipts: list[dict[str, Any]]


class QuestionsChanged(Words):
    event: Literal["questions"] = "questions"
    questions: list[QuestionView]


class SessionsChanged(Words):
    event: Literal["sessions"] = "sessions"
    sessions: list[SessionView]


class ServersChanged(Words):
    event: Literal["servers"] = "servers"
    servers: list[ServerView]


class GrantsChanged(Words):
    event: Literal["grants"] = "grants"
    grants: list[GrantView]


class StatusChanged(Words):
    event: Literal["status"] = "status"
    status: Status


class ReceiptsAdded(Words):
    event: Literal["receipts"] = "receipts"
    receipts: list[dict[str, Any]]


WatchEvent: TypeAlias = Annotated[
    Snapshot | QuestionsChanged | SessionsChanged | ServersChanged | GrantsChanged | StatusChanged | ReceiptsAdded,
    Field(discriminator="event"),
]


class Definitions(Words):
    """The agreed tools of one server, whole; `others` are the tools of those beside it, each with its server."""

    tools: list[dict[str, Any]]
    others: dict[str, str] = {}


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
CLIENTS: Final = Route("clients", Nothing, Clients, "read")
CLIENT_ADD: Final = Route("client.add", Name, Nothing, "loosen")
CLIENT_REMOVE: Final = Route("client.remove", Name, Nothing, "tighten")
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
        REVIEW, ACCEPT, SESSIONS, SESSION_END, SESSION_NEW, CLIENTS, CLIENT_ADD, CLIENT_REMOVE, CONNECT, GRANTS,
        REVOKE, WALLS, WALL_ADD, WALL_REMOVE, LIMIT_ADD, LIMIT_REMOVE, POLICY_USE, AUDIT, AUDIT_OPEN, AUDIT_PRUNE,
        SAME, SECRETS, SECRET_SET, SECRET_REMOVE, VAULT_UNLOCK, VAULT_SEAL,
        ADVISORIES, ADVISORIES_REFRESH, ADVISORIES_USE, ROOTS_REFRESH, STORE_GC, ENDPOINT, ENDPOINT_PORT,
        LABELS, LABELS_ACCEPT, LABELS_TAKE_BACK, POLICY_NOW,
        LOGIN, LOGOUT, PASTE, TOKENS, WAITING,
    )
}  # fmt: skip
