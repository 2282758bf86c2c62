"""R6: a person marks one read of one session as harmless, and from then on it holds nothing there.

Never by a rule, a server or a client.  It covers what was read by one call until then, shown by its name: what the same
call brings later counts again, and so does all of it in the client's next session.  A wall (R2) still sees it.
"""

from typing import Final

from broker.flow.ledger import EVERYTHING, INHERITED, Read

RULE: Final = "R6"
NAMED: Final = frozenset({"tools/call", "prompts/get"})
"""Methods whose target is a name from the agreed catalog.  Any other target may itself be private."""


def origin_target(read: Read) -> str:
    """How a read is told apart from others of its compartment where values are traced; a prompt is no tool."""
    if read.method == "tools/call":
        return read.target
    return f"{read.method} {read.target}" if read.method in NAMED else read.method


def objection(read: Read) -> str:
    """Why a person cannot vouch for this read; empty when they can."""
    if read.clean:
        return "it is declassified already, and was not read again since"
    if read.method == INHERITED:
        return "it stands for all that an earlier session read there (to begin with nothing: bulkhead session new)"
    if EVERYTHING in (read.method, read.target, read.scope):
        return "it stands for several calls that are not told apart any more"
    if read.method not in NAMED:
        return "only a result of a tool or a prompt is kept by a name, and nobody can look at what has none"
    return ""
