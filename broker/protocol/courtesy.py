"""What a conversation asks about how often and how long, beside who may do what: trying again, and giving again.

Nothing of it happens by default: somebody agreed to it for this very tool, and to the definition that makes it safe.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from broker.model import Call, JsonObject
from broker.protocol.catalog import View


class Courtesy(Protocol):
    """The manners of one link (`broker.manners.courtesies`)."""

    def may_again(self, call: Call, /) -> bool:
        """Whether a call that gets no answer may be tried once more."""

    def again(self, call: Call, /) -> tuple[int, float] | None:
        """It got none: the number of the next try and the seconds until then; None where there is none.  Whoever
        asked says `Due` when they have gone by."""

    def kept(self, call: Call, /) -> tuple[JsonObject, float] | None:
        """What the server answered to the same call before, and how many seconds ago, where that may be given again."""

    def keep(self, call: Call, result: JsonObject, /) -> None:
        """The server answered."""

    def forget(self) -> None:
        """The server says that what it has is not what it was."""

    def listed(self, lifetimes: Mapping[str, float], /) -> None:
        """These lists were read just now; milliseconds for which the server calls each of them fresh."""

    def is_old(self, name: str, /) -> bool:
        """Whether a list was read longer ago than its server calls it fresh; true once."""


class _Plain:
    def may_again(self, _call: Call, /) -> bool:
        return False

    def again(self, _call: Call, /) -> tuple[int, float] | None:
        return None

    def kept(self, _call: Call, /) -> tuple[JsonObject, float] | None:
        return None

    def keep(self, _call: Call, _result: JsonObject, /) -> None:
        pass

    def forget(self) -> None:
        pass

    def listed(self, _lifetimes: Mapping[str, float], /) -> None:
        pass

    def is_old(self, _name: str, /) -> bool:
        return False


PLAIN: Final[Courtesy] = _Plain()
"""Everything goes once, and is asked anew."""


def is_repeatable(agreed: View, tool: str) -> bool:
    """Whether the definition a person agreed to says that doing it twice does what doing it once does."""
    found = next((item for item in agreed.tools if item["name"] == tool), {})
    notes = found.get("annotations")
    return isinstance(notes, dict) and (notes.get("idempotentHint") is True or notes.get("readOnlyHint") is True)
