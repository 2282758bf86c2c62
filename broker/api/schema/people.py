"""Questions and answers, sessions, clients, and what they may use."""

from typing import Literal

from pydantic import Field

from broker.api.schema.words import Words


class QuestionView(Words):
    """An open question.  `evidence` and `detail` may hold text a server wrote; everything else is ours."""

    id: str
    kind: Literal["connection", "call", "launch", "drift", "review", "advisory", "egress", "open", "sign-in", "entry"]
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
    numbered: bool = False
    """A yes has to repeat the number that a page in the person's browser shows."""
    reach: str = ""
    """How far a yes for always would reach, in words; text of the call stands in it."""


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
    memory: int = 0
    """Bytes of all its processes."""


class ReadView(Words):
    """What a session has read by one call.  `id` names exactly this: once more was read so, it is another one.

    `kept` says why it cannot be declassified; empty where it can.
    """

    id: str
    server: str
    what: str
    part: str = ""
    labels: list[Literal["P", "U", "E", "M"]]
    times: int
    last: float
    digest: str
    clean: bool = False
    kept: str = ""


class Declassify(Words):
    """A person's word that one read of one session is harmless there."""

    read: str


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
    readings: list[ReadView] = []
    effects: int = 0
    questions: int = 0
    autonomy: float = 1.0
    """The share of the effects that went without a question, since the daemon started."""


class ClientView(Words):
    name: str
    created: str
    executables: list[str] = []
    answers: bool = False
    """What the policy asks about its calls may be answered inside it."""


class ClientAnswers(Words):
    """Whether what the policy asks about a client's calls may be answered inside it."""

    name: str
    on: bool


class ApplicationView(Words):
    """One configuration file of an AI application.

    `through` entries go through Bulkhead, those in `past` could and do not; `came_back`: they were moved in before.
    """

    client: str
    label: str
    path: str
    problem: str = ""
    through: int = 0
    past: list[str] = []
    came_back: bool = False
    project_files: list[str] = []


class GrantView(Words):
    """A standing or session yes.  `sign-in`: what an application by HTTP was let in with, until `expires`."""

    id: str
    kind: Literal["connection", "call", "sign-in"]
    client: str
    server: str
    rule: str = ""
    method: str = ""
    target: str = ""
    lifetime: Literal["session", "always"]
    session: str = ""
    executable: str = ""
    created: str = ""
    expires: str = ""
    reach: str = ""


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


class Answered(Words):
    """A person's answer to an open question.  `digest` must be that of the question as it was shown."""

    id: str
    digest: str
    allow: bool
    lifetime: Literal["once", "session", "always"] = "once"
    number: str = Field(default="", max_length=8)


class Connect(Words):
    """A person's yes to a client using a server.  The program behind the client is bound at its first link."""

    client: str
    server: str


class Endpoint(Words):
    """Where a client finds a server by HTTP.  `workspace` is the folder it works in; each has a bearer of its own."""

    client: str
    server: str
    workspace: str = Field(default="", max_length=4096)
    signs_in: bool = False
    """The client insists on OAuth: it gets an address without a bearer, and a person is asked when it signs in."""


class EndpointPort(Words):
    """The port at which clients by HTTP are let in, from now on."""

    port: int = Field(ge=1024, le=65535)


class EndpointView(Words):
    """`file` holds the bearer, owner-only; it is never said at the desk.  It is empty where there is none."""

    url: str
    file: str


class LimitChoice(Words):
    """`session`: the beginning of its id, where it is one session of the client alone."""

    client: str
    tools: list[str]
    session: str = ""


class Questions(Words):
    questions: list[QuestionView]


class Sessions(Words):
    sessions: list[SessionView]


class Clients(Words):
    clients: list[ClientView]


class GrantList(Words):
    grants: list[GrantView]
