"""The states of a conversation and the moves that are legal, one table each.

Nothing waits in a state without a way out: every state of the server leads back to `ABSENT` when its instance ends.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from broker.model import Era


class Admission(Enum):
    """Whether this client may use this server at all."""

    UNDECIDED = "undecided"  # the client's messages wait
    DELAYED = "delayed"  # nobody answered in time: empty lists, until somebody does
    ADMITTED = "admitted"
    REFUSED = "refused"


class Phase(Enum):
    """What is known of the server's instance."""

    ABSENT = "absent"
    LAUNCHING = "launching"  # asked for; nothing may be sent yet
    OPENING = "opening"  # it was sent the client's opening
    COMPARING = "comparing"  # its lists are being fetched; calls wait
    READY = "ready"


MOVES: Final[Mapping[Phase, frozenset[Phase]]] = MappingProxyType(
    {
        Phase.ABSENT: frozenset({Phase.LAUNCHING}),
        Phase.LAUNCHING: frozenset({Phase.OPENING, Phase.ABSENT}),
        Phase.OPENING: frozenset({Phase.COMPARING, Phase.ABSENT}),
        Phase.COMPARING: frozenset({Phase.READY, Phase.ABSENT}),
        Phase.READY: frozenset({Phase.COMPARING, Phase.ABSENT}),
    }
)

ANSWERS: Final[Mapping[Admission, frozenset[Admission]]] = MappingProxyType(
    {
        Admission.UNDECIDED: frozenset({Admission.DELAYED, Admission.ADMITTED, Admission.REFUSED}),
        Admission.DELAYED: frozenset({Admission.ADMITTED, Admission.REFUSED}),
        Admission.REFUSED: frozenset({Admission.ADMITTED}),
        Admission.ADMITTED: frozenset(),  # taking it back ends the link instead
    }
)

BEFORE_OPENING: Final[Mapping[Era, frozenset[str]]] = MappingProxyType(
    {
        "legacy": frozenset({"initialize", "ping"}),
        # A modern request carries everything with it, so each may be the first.
        "modern": frozenset(),
    }
)
"""Requests a client may make in an era that was not settled on yet; empty means any."""

AFTER_OPENING: Final[Mapping[Era, frozenset[str]]] = MappingProxyType(
    {"legacy": frozenset({"initialize"}), "modern": frozenset()}
)
"""Requests it may not make again once the era is settled."""


def may_request(era: Era, method: str, *, settled: bool) -> bool:
    """Whether a client may make this request at this point of the conversation."""
    if settled:
        return method not in AFTER_OPENING[era]
    return not BEFORE_OPENING[era] or method in BEFORE_OPENING[era]
