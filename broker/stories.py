"""Which requests of one link a receipt belongs to, so that all of what happened to one can be told as a story.

A request's story is named after its link and its number there.  What nobody can tell apart, such as a connection of a
server that works on two calls at once, belongs to both.
"""

from typing import Final

from broker.model import Fact, LinkId, Verdict

MAX_OPEN: Final = 1024  # above what a conversation keeps open
_BEGINS: Final = frozenset({"request", "decision", "handshake"})
_UNASKED: Final = frozenset({"egress", "notification", "violation", "stderr"})


class Stories:
    """The requests of one link that are under way."""

    def __init__(self, link: LinkId) -> None:
        self._link = link
        self._open: dict[int, str] = {}  # their digests
        self._sent: dict[int, None] = {}
        self._launching = 0

    def of(self, fact: Fact, turn: int) -> tuple[str, ...]:
        """The stories of `fact`, which is recorded now; `turn` is what the conversation says of it."""
        if turn:
            self._note(fact, turn)
            return (self._name(turn),)
        if fact.kind == "launch":
            return (self._name(self._launching),) if self._launching else ()
        if fact.kind == "grant":  # a yes that lasts is asked for by its call
            return tuple(self._name(turn) for turn, digest in self._open.items() if digest == fact.digest)
        if fact.side == "server" and fact.kind in _UNASKED:
            return tuple(map(self._name, self._sent))
        return ()

    def _name(self, turn: int) -> str:
        return f"{self._link}.{turn}"

    def _note(self, fact: Fact, turn: int) -> None:
        if fact.kind == "launch":
            self._launching = turn
        elif fact.kind == "result" or (fact.kind == "notification" and fact.method == "notifications/cancelled"):
            self._open.pop(turn, None)
            self._sent.pop(turn, None)
        elif fact.kind in _BEGINS and (turn in self._open or len(self._open) < MAX_OPEN):
            self._open[turn] = fact.digest
            if fact.side == "client" and (fact.decision is None or fact.decision.verdict is Verdict.ALLOW):
                self._sent[turn] = None
