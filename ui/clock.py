"""Time as an argument, and the pause before a card may be answered.

A key meant for one question must never answer another: after a card changes, answer keys stay dead for a moment.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

DEAD_SECONDS: Final = 0.7  # long enough for a key already on its way, short enough not to be noticed by a reader


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall` counts since the epoch, as deadlines do; `steady` only goes forward.  `zone` None means the user's own."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    zone: tzinfo | None = None


class DeadTime:
    """Tells whether answer keys are still dead.  Dead until started, and for `DEAD_SECONDS` after."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._shown_at: float | None = None

    def stop_keys(self) -> None:
        """The card changed; nothing counts before it was painted."""
        self._shown_at = None

    def painted(self) -> None:
        self._shown_at = self._steady()

    @property
    def started(self) -> bool:
        return self._shown_at is not None

    @property
    def over(self) -> bool:
        return self._shown_at is not None and self._steady() - self._shown_at >= DEAD_SECONDS
