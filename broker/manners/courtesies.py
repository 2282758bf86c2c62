"""The manners of one link: what its conversation asks about trying again and giving again, and what is counted."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from broker.manners.book import MannersBook
from broker.manners.rules import Bounds
from broker.model import Call, Decision, Fact, JsonObject, ServerName

LEAST: Final = 30.0  # seconds; many servers call their lists stale at once, and tell of changes all the same


class Courtesies:
    """Of one link with `server`; implements `broker.protocol.courtesy.Courtesy`."""

    def __init__(self, book: MannersBook, server: ServerName, clock: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._clock = clock
        self._calls = book.calls(server)
        self._fresh: dict[str, float] = {}

    def judged(self, call: Call) -> Decision | None:
        """Why a call that may go may not go now."""
        if call.method != "tools/call" or call.origin != "client":
            return None
        return self._calls.judged(call, self._book.bounds(call), self._clock())

    def room(self, call: Call) -> int | None:
        """How many bytes the answer to a call may have."""
        return self._calls.room(call)

    def heard(self, fact: Fact, turn: int) -> None:
        self._calls.heard(fact, turn, self._clock())

    def overdue(self) -> list[tuple[int, float]]:
        return self._calls.overdue(self._clock())

    def due(self) -> list[int]:
        return self._calls.due(self._clock())

    def went(self, call: Call) -> None:
        """A call goes to the server: after one that may change something, no earlier answer is given again."""
        if call.method == "tools/call" and not self._bounds(call).kept:
            self._calls.kept.clear()

    def _bounds(self, call: Call) -> Bounds:
        return self._calls.bounds(call) or self._book.bounds(call)

    # --- what a conversation asks ---

    def may_again(self, call: Call) -> bool:
        return self._calls.may_again(call)

    def again(self, call: Call) -> tuple[int, float] | None:
        return self._calls.again(call, self._clock())

    def kept(self, call: Call) -> tuple[JsonObject, float] | None:
        return self._calls.kept.get(call.digest, self._clock()) if self._bounds(call).kept else None

    def keep(self, call: Call, result: JsonObject) -> None:
        """Of any method: what matters is that a person marked it."""
        if seconds := self._bounds(call).kept:
            self._calls.kept.put(call.digest, result, seconds, self._clock())

    def forget(self) -> None:
        self._calls.kept.clear()

    def listed(self, lifetimes: Mapping[str, float]) -> None:
        now = self._clock()
        self._fresh |= {name: now + max(LEAST, told / 1000) for name, told in lifetimes.items()}

    def is_old(self, name: str) -> bool:
        if self._clock() < self._fresh.get(name, float("inf")):
            return False
        del self._fresh[name]
        return True
