"""What may be answered inside a client, and what such an answer counts for.

Only where a person turned that on for the client, only what the policy alone asks (what the ledger holds is never
answered there), and once: by a name that was made for exactly this question.
"""

from typing import Final

from broker.house import House
from broker.model import Call, ClientName, Decision, Verdict
from broker.policy.tokens import RULE
from broker.sentences import sentence

LEDGER_RULES: Final = frozenset({"R2", "R3", "R4", "R7", "R8"})
MAX_READ: Final = 2000  # characters of a call's arguments that a person reads in a form


class Inside:
    """The questions that one client may show."""

    def __init__(self, house: House, client: ClientName) -> None:
        self._house = house
        self._client = client

    def offer(self, call: Call, asked: Decision, caveat: str) -> tuple[str, str] | None:
        """A name for the answer and the question, where it is short enough to be read whole."""
        house = self._house
        if asked.rule in LEDGER_RULES or not house.registry.clients.answers(self._client):
            return None
        shown = house.audit.redactor.json({"arguments": call.arguments, **call.extra})
        if len(shown) > MAX_READ:
            return None
        text = f"{sentence(call)}\n{asked.rule}: {asked.reason}{caveat}\n{shown}"
        return house.tokens.offer(call, asked, house.waits.question), text

    def said(self, call: Call, asked: Decision, mark: str, allowed: bool) -> Decision:
        """What an answer counts for; the caller records it."""
        house = self._house
        if not house.tokens.redeem(mark, call, asked) or not house.registry.clients.answers(self._client):
            reason = "what was answered in the client came too late, or was for something else"
            return Decision(Verdict.DENY, asked.rule, reason, asked.evidence)
        if not allowed:
            return Decision(Verdict.DENY, asked.rule, f"{asked.reason}; denied in {self._client}", asked.evidence)
        reason = f"allowed in {self._client}, once ({RULE} token {house.tokens.mint(call, asked)})"
        return Decision(Verdict.ALLOW, f"person:{asked.rule}", reason, asked.evidence)
