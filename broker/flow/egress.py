"""R8: what a server itself sends to a host is asked about when it carries private text of another compartment.

A server's messages never show what it sends by itself; this is for whoever sees its requests.
"""

from typing import Final

from broker.flow.provenance import Provenance
from broker.model import Decision, ServerName, Verdict

RULE: Final = "R8"


def egress(server: ServerName, host: str, method: str, url: str, body: bytes, provenance: Provenance) -> Decision:
    """May this request go out?  The reason names its sources and none of its text."""
    texts = (url, body.decode("utf-8", "replace"))
    private = [match for match in provenance.trace(texts, (server, ""), leaves=True) if match.private]
    if not private:
        return Decision(Verdict.ALLOW, RULE, "it carries nothing private that was read elsewhere")
    sources = sorted({f"{match.origin.server} call {match.origin.number}" for match in private})
    reason = f"{server} wants to send ({method} to {host[:253]}) what came from {', '.join(sources[:8])}"
    return Decision(Verdict.ASK, RULE, reason, (f"carries text of: {', '.join(sources[:32])}",))
