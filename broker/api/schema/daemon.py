"""The daemon in one look."""

from typing import Literal

from broker.api.schema.words import Words


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


class Statuses(Words):
    status: Status
