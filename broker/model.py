"""The nouns every room shares.  Values only: nothing here does anything.

A value that carries a proof (`VerifiedArtifact`, `SandboxSpec`) is made by exactly one function, named in
its docstring, so that holding one means the check was made.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType, TypeAlias

ServerName = NewType("ServerName", str)
ClientName = NewType("ClientName", str)
SessionId = NewType("SessionId", str)
LinkId = NewType("LinkId", str)
QuestionId = NewType("QuestionId", str)

JsonObject: TypeAlias = dict[str, Any]
Side: TypeAlias = Literal["client", "server"]
Era: TypeAlias = Literal["legacy", "modern"]
"""`legacy` opens with `initialize` (2024-11-05 to 2025-11-25), `modern` with `server/discover` (2026-07-28)."""


class Verdict(Enum):
    """What may happen to a call, from lax to strict."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


STRICTNESS: tuple[Verdict, ...] = (Verdict.ALLOW, Verdict.ASK, Verdict.DENY)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing one side wants the other to do, as policy sees it.

    `target` is what it is about: a tool's name, a resource's URI, a prompt's name, else the method.
    `arguments` is the judged object itself (never mutated).  `digest` is the SHA-256 (hex) of the canonical
    JSON of `{"method", "params"}` without `_meta`: two calls with one digest ask for the same thing.
    """

    client: ClientName
    server: ServerName
    session: SessionId
    origin: Side
    method: str
    target: str
    arguments: JsonObject
    digest: str
    extra: JsonObject = field(default_factory=dict)
    """What the request says beside its arguments: whoever is asked about the call sees it too."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, by which rule, and a sentence for a person.

    `durable`: what it allows may do lasting harm, so it is on the disk before anything happens.
    """

    verdict: Verdict
    rule: str
    reason: str
    evidence: tuple[str, ...] = ()
    durable: bool = field(default=False, compare=False)


Lifetime: TypeAlias = Literal["once", "session", "always"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person (or the deadline) said to a question."""

    allowed: bool
    lifetime: Lifetime = "once"
    by: str = "deadline"


QuestionKind: TypeAlias = Literal[
    "connection", "call", "launch", "drift", "review", "advisory", "egress", "open", "sign-in", "entry"
]


@dataclass(frozen=True, slots=True)
class Question:
    """A decision waiting for a person.

    `digest` is the SHA-256 (hex) of what exactly is asked; an answer must repeat it.  `deadline` is seconds
    since the epoch.  Texts written by servers stand only in `evidence` and `detail`.
    """

    id: QuestionId
    kind: QuestionKind
    client: ClientName
    server: ServerName
    session: SessionId
    what: str
    why: str
    digest: str
    asked: float
    deadline: float
    evidence: tuple[str, ...] = ()
    detail: str = ""
    numbered: bool = False
    """A yes has to repeat a number that stands on a page."""
    reach: str = ""
    """How far a yes for always would reach; empty where the kind of question says it."""


State: TypeAlias = Literal["none", "session", "server"]
"""What a server keeps: nothing, a folder for each session of a client, or one for all its links, one at a time."""


@dataclass(frozen=True, slots=True)
class Injection:
    """Where the value of the variable `name` is put in: one header of declared requests to one host."""

    name: str
    header: str
    host: str
    methods: tuple[str, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """That a server's encrypted connections are looked into: what it may ask, as `sandbox.inspection` reads it."""

    rules: tuple[str, ...] = ()
    secrets: tuple[Injection, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use.  Bytes, counts, and seconds of processor time per hour."""

    memory: int = 2 << 30
    processor: int = 1800
    processes: int = 256
    open_files: int = 4096
    file_size: int = 4 << 30
    home_size: int = 256 << 20
    tmp_size: int = 256 << 20
    shm_size: int = 64 << 20
    state_size: int = 1 << 30
    connections: int = 128
    bytes_out: int = 8 << 30
    message: int = 4 << 20
    """Of its link, either way."""
    idle: int = 0
    """Seconds without use after which it is stopped until it is needed again; 0: as its label says."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Folders and files of the user a server may see, and hosts it may reach.

    Paths are real and absolute, no links in them; hosts are written as `sandbox.hosts.parse_rule` reads them.
    `limits` is how much of the machine it may use, `state` what it may keep from run to run; what is not `boxed` runs
    outside of every sandbox.  `unix_sockets`: it may make such sockets, between its own processes.  `listen` are ports
    at which this machine reaches what it listens on.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    state: State = "none"
    boxed: bool = True
    inspection: Inspection | None = None
    unix_sockets: bool = False
    listen: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the host shown inside a sandbox.  Read-only unless `writable`."""

    source: Path
    target: Path
    writable: bool = False


ArtifactKind: TypeAlias = Literal["npm", "pypi", "script", "binary", "project", "bundle", "image", "remote"]


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """A verified image that is the whole file system of its server: read-only, and `scratch` is writable and empty.

    `places` says where inside a folder of the user is shown; a folder that is not in it cannot be.
    """

    source: Path
    scratch: tuple[Path, ...] = ()
    places: tuple[tuple[Path, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class NamedArtifact:
    """What a pin names, and nobody has looked at: enough to build a sandbox around, not to let anything run in it.

    `argv` is absolute as seen inside the sandbox; `mounts` are all read-only; `env` holds only names the
    ecosystem needs (no user secrets).  `cwd` lies in one of the mounts, or in `image`.
    """

    server: ServerName
    kind: ArtifactKind
    tree: str
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    image: ImageRoot | None = None


@dataclass(frozen=True, slots=True)
class VerifiedArtifact(NamedArtifact):
    """Bytes that match their pin, checked just now.  Only `trust.store.verified` makes one."""


Proof: TypeAlias = Callable[[], Awaitable[VerifiedArtifact]]
"""Asked at the gate of a finished sandbox: nothing in it runs before it answers, and nothing at all if it raises."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """How one server instance will be boxed in.  Only `sandbox.plan` makes one; back ends start it.

    `tool` marks what gets packages for the user and is no server: nobody grants it hosts, its configuration names them.
    `secrets` are values the daemon puts in; the server itself holds placeholders.
    """

    server: ServerName
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    mounts: tuple[Mount, ...]
    limits: Limits
    unix_sockets: bool = False
    listen: tuple[int, ...] = ()
    state: Path | None = None
    boxed: bool = True
    hosts: tuple[str, ...] = ()
    tool: bool = False
    inspection: Inspection | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    image: ImageRoot | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a socket, as the kernel says it.  Recorded, and used to refuse, never to trust."""

    pid: int
    uid: int
    gid: int
    executable: str = ""
    root_pid: int = 0
    root_executable: str = ""
    root_started: int = 0
    cwd: str = ""


FactKind: TypeAlias = Literal[
    "link-opened", "link-closed", "handshake", "request", "notification", "result", "decision", "question",
    "answer", "launch", "exit", "drift", "violation", "pin", "grant", "policy", "daemon", "egress",
    "stderr",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is about to happen, to be recorded before it does.

    `size` is bytes of the encoded message, `digest` its SHA-256 (hex) or that of the call.  `body` is what may be
    kept of it after redaction (params, a question, a launch command); None keeps nothing.  `durable` asks for
    fdatasync before the batch goes on: high-risk effects, consents, launches.
    """

    kind: FactKind
    side: Side | Literal["broker", "person"]
    method: str = ""
    target: str = ""
    request: str | int | None = None
    decision: Decision | None = None
    size: int = 0
    digest: str = ""
    body: JsonObject | None = None
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose fact it is: the columns every receipt can be searched by.  Empty where it does not apply.

    `stories` are the requests it belongs to, each under a name that no other request of this home has; several where
    several were under way.  `labels` are those of what was read, as letters.
    """

    client: str = ""
    server: str = ""
    session: str = ""
    link: str = ""
    pin: str = ""
    tier: str = ""
    stories: tuple[str, ...] = ()
    labels: str = ""
