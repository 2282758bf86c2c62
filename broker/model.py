"""The nouns every room shares.  Values only: nothing here does anything.

A value that carries a proof (`VerifiedArtifact`, `SandboxSpec`) is made by exactly one function, named in
its docstring, so that holding one means the check was made.
"""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, by which rule, and a sentence for a person."""

    verdict: Verdict
    rule: str
    reason: str
    evidence: tuple[str, ...] = ()


Lifetime: TypeAlias = Literal["once", "session", "always"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person (or the deadline) said to a question."""

    allowed: bool
    lifetime: Lifetime = "once"
    by: str = "deadline"


QuestionKind: TypeAlias = Literal["connection", "call", "launch", "drift", "review"]


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


@dataclass(frozen=True, slots=True)
class Grants:
    """Folders and files of the user a server may see, and hosts it may reach.

    Paths are real and absolute, no links in them; hosts are written as `sandbox.hosts.parse_rule` reads them.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use.  Bytes, counts."""

    processes: int = 256
    open_files: int = 4096
    file_size: int = 4 << 30
    home_size: int = 256 << 20
    tmp_size: int = 256 << 20
    shm_size: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the host shown inside a sandbox.  Read-only unless `writable`."""

    source: Path
    target: Path
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The program that runs a server's code: real path, version text, SHA-256 (hex), and the folder of its runtime.

    `prefix` is None when the runtime lies under /usr, which every sandbox sees read-only anyway.
    """

    path: Path
    version: str
    sha256: str
    prefix: Path | None = None


EvidenceKind: TypeAlias = Literal["signature", "publication", "provenance"]
EvidenceState: TypeAlias = Literal["verified", "missing", "unavailable", "invalid"]
"""`missing`: the index says there is none; `unavailable`: it cannot say; `invalid` never turns into either of them."""


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """What speaks for a package: the registry's signature, its word on who published, or how it was built."""

    kind: EvidenceKind
    state: EvidenceState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who built a package, as its certificate says, and when (seconds since the epoch), as the transparency log does.

    The ids are the forge's own numbers and are never given to somebody else; names and addresses can be.
    """

    issuer: str
    subject: str
    repository: str = ""
    repository_id: str = ""
    owner_id: str = ""
    workflow: str = ""
    ref: str = ""
    commit: str = ""
    runner: str = ""
    log_index: int = 0
    signed_at: int = 0


@dataclass(frozen=True, slots=True)
class PackageRef:
    """A package: `integrity` is `sha256:<hex>` or npm's `sha512-<base64>`, `signature` the state of the registry's."""

    name: str
    version: str
    integrity: str
    note: str = ""
    signature: EvidenceState = "unavailable"


@dataclass(frozen=True, slots=True)
class GitSource:
    """The one commit a package was taken from, and what the line called it when it was resolved.

    `sha256` is the tree hash of the commit's files (of `folder`, if one is named); `tag` the tag object of an annotated
    tag; `signature` says what is signed and how (`tag: SSH`), which is not a word on whether it holds.
    """

    url: str
    ref: str
    commit: str
    sha256: str
    tag: str = ""
    folder: str = ""
    signature: str = ""


ArtifactKind: TypeAlias = Literal["npm", "pypi", "script", "binary", "project", "bundle"]


@dataclass(frozen=True, slots=True)
class PinnedArtifact:
    """What a pin says about bytes.

    For `npm`, `pypi` and `bundle`, `tree` is the tree hash of the store object and `entry` the path of the program
    inside it; `program` is what a bundle's manifest has run, and `git` the commit a package came from if it is of none.
    For `script`, `files` names the script and its hash; for `binary`, the program and its hash.
    For `project`, `folders` names folders of this machine and the hash of all that is in them (empty for a development
    folder, which is not verified), `program` is what the interpreter is given before the server's own arguments,
    `tree`, if any, the store object of the project's dependencies, and `until` the time (ISO 8601) at which the trust
    in a development folder ends.
    `evidence` and `publisher` speak of the package that is run; `maintainers` and `released` are claims of the index.
    """

    kind: ArtifactKind
    name: str
    version: str
    tree: str = ""
    entry: str = ""
    file_count: int = 0
    byte_count: int = 0
    packages: tuple[PackageRef, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, str], ...] = ()
    program: tuple[str, ...] = ()
    until: str = ""
    interpreter: Interpreter | None = None
    findings: tuple[str, ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    publisher: Publisher | None = None
    maintainers: tuple[str, ...] = ()
    released: str = ""
    git: GitSource | None = None


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What `trust.launch_spec.parse` understood of a launch line.

    `requirement` is what the ecosystem resolves (`name@range`, `name==1`), `args` what the server itself receives,
    `paths` the arguments that name existing or absolute paths (proposed as grants), `floating` whether the
    requirement may mean other bytes tomorrow.  `module` is run in place of a program; `cwd` is the folder the line
    starts the server in.  `dev` trusts a local project as it is on each day, for a while.
    """

    argv: tuple[str, ...]
    runner: str
    kind: ArtifactKind
    requirement: str
    args: tuple[str, ...] = ()
    bin: str | None = None
    extra: tuple[str, ...] = ()
    python: str | None = None
    registry: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    paths: tuple[str, ...] = ()
    floating: bool = False
    warnings: tuple[str, ...] = ()
    module: str | None = None
    cwd: str | None = None
    dev: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """What the user agreed to run.  `catalog` is the digest of everything advertised, by era and capabilities."""

    server: ServerName
    created: str
    launch: LaunchRequest
    artifact: PinnedArtifact
    catalog: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedArtifact:
    """Bytes that match their pin, checked just now.  Only `trust.store.verified` makes one.

    `argv` is absolute as seen inside the sandbox; `mounts` are all read-only; `env` holds only names the
    ecosystem needs (no user secrets).  `cwd` lies in one of the mounts.
    """

    server: ServerName
    kind: ArtifactKind
    tree: str
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """How one server instance will be boxed in.  Only `sandbox.plan.plan` makes one; back ends start it."""

    server: ServerName
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    mounts: tuple[Mount, ...]
    limits: Limits
    unix_sockets: bool = False
    hosts: tuple[str, ...] = ()


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
    """Whose fact it is: the columns every receipt can be searched by.  Empty where it does not apply."""

    client: str = ""
    server: str = ""
    session: str = ""
    link: str = ""
    pin: str = ""
    tier: str = ""
