"""A circuit breaker: after so many failures in a row nothing is asked of a server, and then one call tries it again.

Closed, open, half open, closed: time is an argument, so every step can be tried without waiting.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]


@dataclass(slots=True)
class Breaker:
    """Of one server, for all of its links.  `failures` in a row open it for `seconds`."""

    failures: int = 5
    seconds: float = 30.0
    failed: int = 0
    opened: float = 0.0
    trying: bool = False

    def state(self, now: float) -> State:
        if self.failed < self.failures:
            return "closed"
        return "open" if now < self.opened + self.seconds else "half-open"

    def admits(self, now: float) -> bool:
        """Whether a call may go now; when half open, the first that asks is the trial."""
        state = self.state(now)
        if state == "half-open" and not self.trying:
            self.trying = True
            return True
        return state == "closed"

    def left(self, now: float) -> float:
        """Seconds until the next trial."""
        return max(0.0, self.opened + self.seconds - now)

    def worked(self) -> None:
        """The server answered: whatever it said, it is there."""
        self.failed, self.trying = 0, False

    def broke(self, now: float) -> None:
        """A call got no answer of the server."""
        self.failed, self.trying = self.failed + 1, False
        if self.failed >= self.failures:
            self.opened = now

    def withdrawn(self) -> None:
        """The trial was given up by its client and says nothing."""
        self.trying = False
