"""R8: what a server itself sends to a host is asked about when it carries private text of another compartment.

A server's messages never show what it sends by itself; this is for whoever sees its requests.
"""

from collections.abc import Collection
from typing import Final

from broker.flow.provenance import Match, Provenance
from broker.model import Decision, ServerName, Verdict

RULE: Final = "R8"


def sources_of(
    server: ServerName, url: str, body: bytes, provenance: Provenance, ignore: Collection[int] = ()
) -> tuple[Match, ...]:
    """What of a request is private text of another server; marks in `ignore` were answered for already."""
    texts = (url, body.decode("utf-8", "replace"))
    return tuple(match for match in provenance.trace(texts, (server, ""), leaves=True, ignore=ignore) if match.private)


def egress(server: ServerName, host: str, method: str, private: Collection[Match]) -> Decision:
    """May this request go out with this in it?  The reason names its sources and none of its text."""
    if not private:
        return Decision(Verdict.ALLOW, RULE, "it carries nothing private that was read elsewhere")
    sources = sorted({f"{match.origin.server} call {match.origin.number}" for match in private})
    reason = f"{server} wants to send ({method} to {host[:253]}) what came from {', '.join(sources[:8])}"
    return Decision(Verdict.ASK, RULE, reason, (f"carries text of: {', '.join(sources[:32])}",))
