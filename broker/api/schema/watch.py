"""What `watch` says."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from broker.api.schema.daemon import AlertView, Status, VitalView
from broker.api.schema.people import ApplicationView, GrantView, QuestionView, SessionView
from broker.api.schema.servers import ServerView
from broker.api.schema.words import Words


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
    applications: list[ApplicationView] = []
    alerts: list[AlertView] = []
    vitals: list[VitalView] = []


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


class ApplicationsChanged(Words):
    event: Literal["applications"] = "applications"
    applications: list[ApplicationView]


class AlertsChanged(Words):
    event: Literal["alerts"] = "alerts"
    alerts: list[AlertView]


class VitalsAdded(Words):
    event: Literal["vitals"] = "vitals"
    vitals: list[VitalView]


WatchEvent: TypeAlias = Annotated[
    Snapshot
    | QuestionsChanged
    | SessionsChanged
    | ServersChanged
    | GrantsChanged
    | StatusChanged
    | ReceiptsAdded
    | ApplicationsChanged
    | AlertsChanged
    | VitalsAdded,
    Field(discriminator="event"),
]
