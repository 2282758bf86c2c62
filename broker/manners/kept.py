"""Answers of one link that may be given again without asking its server.

Only what a person marked so is kept, for at most as long as they said and the server says, on the link it came by and
nowhere else: another client, session or server never gets it.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject

MAX_ANSWERS: Final = 256
MAX_ANSWER: Final = 256 * 1024  # bytes of one
MAX_BYTES: Final = 4 * 1024 * 1024  # of one link
_UNFINISHED: Final = frozenset({"inputRequests", "requestState", "task"})


@dataclass(slots=True)
class Kept:
    """The answers, the oldest first.  Times are seconds of a clock that never goes back."""

    _answers: OrderedDict[str, tuple[float, float, str]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, digest: str, now: float) -> tuple[JsonObject, float] | None:
        """The result a call with this digest got, and how old it is."""
        found = self._answers.get(digest)
        if found is None:
            return None
        since, until, text = found
        if now >= until:
            self._drop(digest)
            return None
        result: JsonObject = json.loads(text)
        return result, now - since

    def put(self, digest: str, result: JsonObject, seconds: float, now: float) -> None:
        """Keep `result` for `seconds`, or as long as it says itself where that is shorter."""
        if not _is_whole(result):
            return
        told = result.get("ttlMs")
        if isinstance(told, int | float) and not isinstance(told, bool):
            seconds = min(seconds, told / 1000)
        text = json.dumps(result, separators=(",", ":"))
        if seconds <= 0 or len(text) > MAX_ANSWER:
            return
        self._drop(digest)
        self._answers[digest] = now, now + seconds, text
        self._bytes += len(text)
        while len(self._answers) > MAX_ANSWERS or self._bytes > MAX_BYTES:
            self._drop(next(iter(self._answers)))

    def clear(self) -> None:
        """What the server has may be another now."""
        self._answers.clear()
        self._bytes = 0

    def _drop(self, digest: str) -> None:
        _, _, text = self._answers.pop(digest, (0.0, 0.0, ""))
        self._bytes -= len(text)


def _is_whole(result: JsonObject) -> bool:
    """It is an answer, and all of it: no failure, no question, no promise of more."""
    done = result.get("resultType", "complete") == "complete"
    return done and result.get("isError") is not True and not _UNFINISHED & result.keys()
