"""Refusals of one client, so many in full and the rest as a number: a client in a loop fills no disk.

Nothing that was refused happened, so a count says enough about the hundredth time; what is allowed is always on record
in full.  A daemon that is killed loses at most the counts of one window.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from broker.model import Fact, Origin, Verdict

IN_FULL: Final = 32  # in one window; a person who looks for a mistake needs a few
WINDOW_SECONDS: Final = 60.0
MAX_WORD: Final = 64  # characters of a method that tell two refusals apart; a longer one is no method of ours
MAX_KINDS: Final = 4096  # of refusals in one window, of all clients; beyond that they are all of one kind

_Key: TypeAlias = tuple[str, str, str, str, str, str]
_OTHER: Final = ""


@dataclass(slots=True)
class _Window:
    """What was refused in the same way since `began`.  `last` is what the count will be told with."""

    began: float
    origin: Origin
    last: Fact
    in_full: int = 0
    counted: int = 0


class Refusals:
    """Counts of one home.  `clock` never goes back."""

    def __init__(self, clock: Callable[[], float], *, is_method: Callable[[str], bool] = lambda _: True) -> None:
        self._clock = clock
        self._is_method = is_method
        self._windows: dict[_Key, _Window] = {}

    def counts(self, origin: Origin, fact: Fact) -> bool:
        """Whether this fact was counted and needs no receipt of its own."""
        if not _is_refusal(fact):
            return False
        key = self._key(origin, fact)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(self._clock(), origin, fact)
        if window.in_full < IN_FULL:
            window.in_full += 1
            return False
        window.counted, window.origin, window.last = window.counted + 1, origin, fact
        return True

    def due(self, *, everything: bool = False) -> list[tuple[Origin, Fact]]:
        """The counts of the windows that are over, once."""
        now = self._clock()
        over = [key for key, window in self._windows.items() if everything or now - window.began >= WINDOW_SECONDS]
        ended = [self._windows.pop(key) for key in over]
        return [(window.origin, _count(window)) for window in ended if window.counted]

    def _key(self, origin: Origin, fact: Fact) -> _Key:
        """What counts as the same: not its words, which a loop could change each time."""
        method = fact.method if self._is_method(fact.method) else _OTHER
        rule = fact.decision.rule if fact.decision is not None else _OTHER
        key = (origin.client, origin.server, fact.kind, fact.side, method[:MAX_WORD], rule)
        crowded = len(self._windows) >= MAX_KINDS and key not in self._windows
        return (origin.client, _OTHER, _OTHER, _OTHER, _OTHER, _OTHER) if crowded else key


def _count(window: _Window) -> Fact:
    body = {"repeated": window.counted, "seconds": int(WINDOW_SECONDS)}
    return replace(window.last, request=None, size=0, digest="", body=body, durable=False)


def _is_refusal(fact: Fact) -> bool:
    """A no to a client, the answer that tells it, or something of it that went nowhere."""
    body = fact.body or {}
    if fact.side == "client":
        dropped = fact.kind == "notification" and "dropped" in body
        denied = fact.decision is not None and fact.decision.verdict is Verdict.DENY
        return denied or dropped or fact.kind == "violation"
    if fact.side != "broker" or fact.kind != "result":
        return False
    answer = body.get("result")
    return "error" in body or (isinstance(answer, dict) and answer.get("isError") is True)
