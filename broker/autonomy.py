"""How much of what a session did went without asking a person: the share that tells whether questions stay rare.

Counted since the daemon started, for live sessions; it decides nothing.
"""

from dataclasses import dataclass

from broker.model import SessionId


@dataclass(slots=True)
class Autonomy:
    """What one session wanted to have done that changes something or lets data leave, and how often it was asked."""

    effects: int = 0
    questions: int = 0

    @property
    def share(self) -> float:
        """Of the effects, those without a question; 1 where there was none."""
        return max(0.0, 1 - self.questions / self.effects) if self.effects else 1.0


class AutonomyBook:
    """Every session's."""

    def __init__(self) -> None:
        self._sessions: dict[SessionId, Autonomy] = {}

    def of(self, session: SessionId) -> Autonomy:
        return self._sessions.setdefault(session, Autonomy())

    def end_session(self, session: SessionId) -> None:
        self._sessions.pop(session, None)
