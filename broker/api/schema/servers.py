"""Servers: what they are, what is agreed to, what changed."""

from typing import Any, Literal

from pydantic import Field

from broker.api.schema.boxes import SecretPlace
from broker.api.schema.signing import SignIn
from broker.api.schema.words import MAX_WORDS, Words
from broker.model import State


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
    disabled_tools: list[str] = []
    changes: list[str] = []
    drift_digest: str = ""
    development: str = ""
    malware: list[str] = []
    vulnerabilities: list[str] = []


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


class Accept(Words):
    """A person's yes to a drifted catalog, or to a changed document of ours (`name` is then its path)."""

    name: str
    digest: str


class Servers(Words):
    servers: list[ServerView]


class ReviewItem(Words):
    """Something that drifted: a catalog (`kind` catalog) or a document of ours (`kind` document)."""

    kind: Literal["catalog", "document"]
    name: str
    digest: str
    changes: list[str]


class Review(Words):
    items: list[ReviewItem]


class Definitions(Words):
    """The agreed tools of one server, whole; `others` are the tools of those beside it, each with its server."""

    tools: list[dict[str, Any]]
    others: dict[str, str] = {}
