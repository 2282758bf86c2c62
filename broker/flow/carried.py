"""R4: what a call carries is held where only strangers wrote it before, or where it is another compartment's secret.

It looks at content, so it can be evaded; R3 cannot.  What it adds is evidence and the calls that R3 lets pass.
"""

from collections.abc import Collection
from typing import Final

from broker.flow.fingerprint import leaves
from broker.flow.labels import Labels
from broker.flow.ledger import MAX_EVIDENCE, NO_EFFECT
from broker.flow.provenance import Match, Provenance
from broker.model import Call, Decision, Verdict

RULE: Final = "R4"
MAX_SNIPPET: Final = 80  # letters that a person reads
FOLLOWS: Final = frozenset({"resources/read", "resources/subscribe", "completion/complete"})
"""Asks a server for what it pointed at itself.  Its own pointer steers nobody to anything it does not hold already."""

_NAMED: Final = frozenset({"tools/call", "tasks/update"})  # their target is the server's own name for what is meant


def carried(
    call: Call, labels: Labels, provenance: Provenance, scope: str = "", ignore: Collection[int] = ()
) -> tuple[Decision, tuple[Match, ...]] | None:
    """Ask about an effect that carries something from a read; None where R4 has nothing to say.

    The matches are for the screen: their snippets belong in no record.
    """
    if call.origin != "client" or call.method in NO_EFFECT or not labels.flags & {"E", "M"}:
        return None
    texts = [*leaves(call.arguments), *(() if call.method in _NAMED else (call.target,))]
    here = (call.server, scope)
    leaves_here = "E" in labels.flags
    words = leaves_here or labels.level == "H"  # running text in a note on the user's own disk steers nobody yet
    matches = provenance.trace(texts, here, leaves=leaves_here, words=words, ignore=ignore)
    if call.method in FOLLOWS:
        matches = tuple(match for match in matches if match.private or not _is_own(match, call))
    if not matches:
        return None
    first = max(matches, key=lambda match: (match.private, len(match.snippet)))
    why = (
        "and would carry private text of it out"
        if first.private
        else "and what strangers may have written there stands in it"
    )
    if first.origin.blind:
        why = "where too much was read to be compared"
    reason = f"a value in this call to {call.server} came from {first.origin.server}, call {first.origin.number}, {why}"
    return Decision(Verdict.ASK, RULE, reason, _evidence(matches)), matches


def _is_own(match: Match, call: Call) -> bool:
    return match.origin.server == call.server and not match.origin.blind


def snippets(matches: tuple[Match, ...]) -> tuple[str, ...]:
    """What came from where, in the letters of the call: for a screen, never for a record."""
    return tuple(
        f"this value came from {match.origin.server}, call {match.origin.number}: {match.snippet[:MAX_SNIPPET]}"
        for match in matches[:MAX_EVIDENCE]
        if match.snippet
    )


def _evidence(matches: tuple[Match, ...]) -> tuple[str, ...]:
    """The first line names every origin: a yes for the session is bound to it."""
    numbers = sorted({(match.origin.server, match.origin.number) for match in matches})
    sources = ", ".join(f"{server} call {number}" for server, number in numbers[:32])
    lines = [f"carries text of: {sources}"]
    for match in matches[: MAX_EVIDENCE - 1]:
        what = "private text" if match.private else "text strangers may have written"
        tool = f" ({match.origin.target[:80]})" if match.origin.target else ""
        lines.append(f"{what} from {match.origin.server}, call {match.origin.number}{tool}")
    return tuple(lines)
