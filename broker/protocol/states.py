"""The opaque states a modern server hands to a client to carry, and which call each belongs to.

A state comes back once, for the very call it was handed out for, to the server it came from; anything else is refused
before the server sees it.
"""

import hashlib
from collections import OrderedDict
from typing import Final

MAX_STATES: Final = 256  # calls of one link that wait for input; the oldest is forgotten and has to start again
MAX_STATE: Final = 256 * 1024  # characters; it is meant to hold what a server would keep about one call


class RequestStates:
    """States given out and not yet used.  Keeps digests, never the states."""

    def __init__(self) -> None:
        self._given: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def give(self, state: str, method: str, target: str) -> None:
        self._given[_key(state, method, target)] = None
        if len(self._given) > MAX_STATES:
            self._given.popitem(last=False)

    def redeem(self, state: str, method: str, target: str) -> bool:
        """True once for each state given."""
        key = _key(state, method, target)
        if key not in self._given:
            return False
        del self._given[key]
        return True


def _key(state: str, method: str, target: str) -> tuple[str, str, str]:
    return hashlib.sha256(state.encode("utf-8")).hexdigest(), method, target
