"""What can happen to a conversation.  Values only."""

from dataclasses import dataclass, field
from typing import TypeAlias

from broker.model import Decision, JsonObject, Side
from broker.protocol.catalog import Catalog


@dataclass(frozen=True, slots=True)
class FromClient:
    """The client sent this (strictly decoded) message.  `size` is its length on the wire in bytes.

    `line` is what `frames.encode` makes of it, where that is known; else it is empty.
    """

    message: JsonObject
    size: int = 0
    line: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FromServer:
    message: JsonObject
    size: int = 0
    line: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """One line with several messages.  Taken apart before a conversation hears of it."""

    who: Side
    messages: tuple[JsonObject, ...]
    size: int = 0


@dataclass(frozen=True, slots=True)
class Garbled:
    """A line that is no message.  `what` is what `FrameDecoder` says about it, `reply` the JSON-RPC error it deserves.

    A client is told and its link lives on; a server's line is dropped and counted against it.  `overlong` is a line
    that nobody read because it was longer than `size`.
    """

    who: Side
    what: str
    reply: JsonObject
    size: int = 0
    overlong: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A question asked with `Ask` was answered, or its deadline passed (then `decision` is a denial)."""

    question: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody answered whether this client may use this server at all."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AdmissionDelayed:
    """Nobody answered in time for the client's handshake: it is answered with empty lists now."""


@dataclass(frozen=True, slots=True)
class Started:
    """The instance asked for with `Launch` runs and reads its standard input."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """It could not be started.  `reason` is a sentence for the client, without any text from the server."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerGone:
    """The running instance ended or broke the rules of the wire; open requests to it are answered with errors."""

    reason: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """The answer to request number `turn` did not come within `seconds`, which is as long as may be waited."""

    turn: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Due:
    """Request number `turn`, which got no answer, may be tried again."""

    turn: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The link is over for a reason outside of the conversation: whoever still waits is told it, and nothing else."""

    reason: str


@dataclass(frozen=True, slots=True)
class DriftAccepted:
    """A person agreed to `live`, as a `Drift` showed it; from now on it counts as the pinned one.

    What the server shows by now may be something else again: then that is what is held.  Without `live` it is the
    catalog of the latest `Drift`, which is right only where no other can have come since the person looked.
    """

    live: Catalog | None = None


@dataclass(frozen=True, slots=True)
class OffersChanged:
    """What of the lists is this client's to see is not what it was: it is told to ask again."""


@dataclass(frozen=True, slots=True)
class Tick:
    """About a second went by."""


Event: TypeAlias = (
    FromClient
    | FromServer
    | Garbled
    | Answered
    | Admitted
    | AdmissionDelayed
    | Started
    | NotStarted
    | ServerGone
    | Overdue
    | Due
    | Closing
    | DriftAccepted
    | OffersChanged
    | Tick
)
