"""What arrived on one link and waits its turn, in order and with a bound.

Reading stops while it is full; what happens to the conversation from outside is always taken, because there is little
of it and nobody would say it again.
"""

from collections import deque
from typing import Final

from broker.model import Side
from broker.protocol.events import Batch, Event, FromClient, FromServer, Garbled
from broker.protocol.frames import Frame

MAX_QUEUED: Final = 256  # events waiting behind one fdatasync; more are left in the pipes
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024  # four of the largest messages


class Inbox:
    """Events in the order in which they happened."""

    def __init__(self) -> None:
        self._events: deque[Event | Batch] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def has_room(self) -> bool:
        return len(self._events) <= MAX_QUEUED and self.bytes <= MAX_QUEUED_BYTES

    def arrived(self, side: Side, frames: list[Frame]) -> None:
        """One side said this."""
        event = FromClient if side == "client" else FromServer
        for frame in frames:
            self.bytes += frame.size
            if frame.message is not None:
                self._events.append(event(frame.message, frame.size, frame.line))
            elif frame.fault is not None:
                fault = frame.fault
                self._events.append(Garbled(side, str(fault.error), fault.reply, frame.size, fault.overlong))
            elif frame.batch:
                self._events.append(Batch(side, frame.batch, frame.size))

    def put(self, event: Event) -> None:
        """Something that nobody said happened."""
        self._events.append(event)

    def take(self) -> Event | Batch:
        """The oldest event."""
        event = self._events.popleft()
        self.bytes -= event.size if isinstance(event, FromClient | FromServer | Garbled | Batch) else 0
        return event

    def holds(self, kind: type[Event]) -> bool:
        """Whether an event of this kind waits."""
        return any(isinstance(event, kind) for event in self._events)
