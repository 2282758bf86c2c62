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


class VitalView(Words):
    """Two seconds of the daemon that ended `at`.  Waits are seconds, memory bytes (of the daemon, of servers)."""

    at: float
    answers: int
    errors: int
    denials: int
    holds: int
    half: float
    most: float
    memory: float
    servers: float


class AlertView(Words):
    """Something a person should hear of, in our own words."""

    number: int
    rule: Literal["errors", "denied", "issuer", "drift", "malware", "bypass"]
    server: str
    client: str = ""
    text: str
    at: float
    last: float
    times: int = 1


class Statuses(Words):
    status: Status
