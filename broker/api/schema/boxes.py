"""The box of a server: sandbox, hosts, paths, kept state."""

from pydantic import Field

from broker.api.schema.words import Words
from broker.model import State


class SecretPlace(Words):
    """Where the value of a variable is put in; the server holds a placeholder."""

    name: str
    header: str
    host: str
    method: list[str]
    path: str = "/*"


class Inspect(Words):
    """Look into a server's encrypted connections, or (`on` false) no more.  What is given takes the old one's place."""

    name: str
    on: bool = True
    rules: list[str] = []
    secrets: list[SecretPlace] = []


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


class RefusedCalls(Words):
    """System calls of one sort that were refused, how often, and what leads on without them; no grant gives them."""

    sort: str
    calls: list[str]
    times: int
    advice: str


class Learnt(Words):
    """What a watched server asked for in vain.  `withheld`: it exists and no server is granted it."""

    starts: int
    paths: list[ProposedPath]
    hosts: list[str]
    withheld: int
    unseen: int
    refused: list[RefusedCalls] = []


class StateView(Words):
    """What a server keeps: all of it, or that of one session."""

    server: str
    key: str
    size: int
    in_use: bool


class States(Words):
    states: list[StateView]
