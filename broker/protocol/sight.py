"""What a conversation asks about its client besides its calls: what lists show, what may be delivered, what goes by a
yes that was given."""

from dataclasses import dataclass
from typing import Final, Protocol

from broker.model import Call, Decision, JsonObject, Verdict
from broker.protocol.courtesy import PLAIN, Courtesy


class Sight(Protocol):
    """Asked for every list and before every delivery, since what holds changes while a link lives."""

    @property
    def courtesy(self) -> Courtesy:
        """What may be tried again and given again."""

    def offers(self, method: str, target: str, /) -> bool:
        """Whether lists show what `method` uses under this name."""

    def bars(self, method: str, target: str, arguments: JsonObject, /) -> Decision | None:
        """Why what such a request brings may not reach the client."""

    def allowed(self, call: Call, asked: Decision, /) -> Decision | None:
        """The yes by which a call may go although `asked`, if one was given before."""

    def offer(self, call: Call, asked: Decision, /) -> tuple[str, str] | None:
        """Where the client's own person may answer: a name for the answer that nobody can guess, and the question."""

    def said(self, call: Call, asked: Decision, mark: str, allowed: bool, /) -> Decision:
        """What such an answer counts for; one that comes late, twice, or to something else is a no."""

    def spend(self, call: Call, asked: Decision, consent: Decision, /) -> Decision | None:
        """Use up the yes `consent`, now that the call goes; None when it counts no more."""

    def room(self, call: Call, /) -> int | None:
        """How many bytes the answer to a call may have; None is as many as any."""

    def masked(self, call: Call, answer: JsonObject, /) -> "Masked | None":
        """The answer as the client may see it; None where it may see it as it is."""

    def sent(self, call: Call, params: JsonObject, /) -> "Masked | None":
        """The params of a client's call as its server may see them; None where it may see them as they are."""

    def went(self, call: Call, /) -> None:
        """A client's call goes to the server now."""


@dataclass(frozen=True, slots=True)
class Masked:
    """An answer, or the params of a call, with something blotted out: by which rules, and in how many places."""

    answer: JsonObject
    rules: tuple[str, ...]
    places: int


class _Clear:
    courtesy = PLAIN

    def offers(self, _method: str, _target: str, /) -> bool:
        return True

    def bars(self, _method: str, _target: str, _arguments: JsonObject, /) -> Decision | None:
        return None

    def allowed(self, _call: Call, _asked: Decision, /) -> Decision | None:
        return None

    def offer(self, _call: Call, _asked: Decision, /) -> tuple[str, str] | None:
        return None

    def said(self, _call: Call, asked: Decision, _mark: str, _allowed: bool, /) -> Decision:
        return Decision(Verdict.DENY, asked.rule, "nobody was asked inside the client")

    def spend(self, _call: Call, _asked: Decision, consent: Decision, /) -> Decision | None:
        return consent

    def room(self, _call: Call, /) -> int | None:
        return None

    def sent(self, _call: Call, _params: JsonObject, /) -> Masked | None:
        return None

    def masked(self, _call: Call, _answer: JsonObject, /) -> Masked | None:
        return None

    def went(self, _call: Call, /) -> None:
        pass


CLEAR: Final[Sight] = _Clear()
"""Nothing is kept from the client."""
