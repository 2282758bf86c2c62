"""What a conversation wants done.  Values only; the relay performs a list of them in order.

"Recorded before forwarded" is something a test reads off the list: a `Record` stands before the `Forward` it is about.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from broker.model import Call, Decision, Fact, JsonObject, Side
from broker.protocol.catalog import Catalog, Change


@dataclass(frozen=True, slots=True)
class Record:
    """`turn` says which request of the link it is about, counted from 1; 0 is none."""

    fact: Fact
    turn: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this message.  It is encoded from this very object, which is the one that was judged."""

    to: Side
    message: JsonObject


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """Send these answers as one batch.  Each was recorded when it came."""

    to: Side
    messages: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Put the question to a person.  `question` numbers are the conversation's own; the call is parked."""

    question: int
    call: Call
    decision: Decision


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody needs to answer any more: the call was cancelled by its sender, or the question `answered` elsewhere."""

    question: int
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the server.  Asked for at most once until `Started`, `NotStarted` or `ServerGone` comes back."""


@dataclass(frozen=True, slots=True)
class Read:
    """The session is about to read something of this server.  Goes into the ledger before the result is forwarded."""

    method: str
    target: str
    text: JsonObject
    arguments: JsonObject = field(default_factory=dict, compare=False)
    """Of the call it answers: they say which part of the server it is about."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The live catalog is not the pinned one.  New and changed items are held until a person agrees to `live`."""

    changes: tuple[Change, ...]
    live: Catalog


@dataclass(frozen=True, slots=True)
class End:
    """Close the link.  `blame` says whose fault it was ("client", "server") or that it was nobody's ("")."""

    reason: str
    blame: str = ""


Effect: TypeAlias = Record | Forward | ForwardBatch | Ask | Withdraw | Launch | Read | Drift | End
