"""What a session has read, and whether that holds what it wants to do next.

The rule R3: once a session has read from one server, an effect on another server needs a person's yes.  It does not
look at the content, so no wording and no encoding gets around it.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from broker.flow.labels import Flag, Labels
from broker.model import Call, Decision, ServerName, Verdict

RULE: Final = "R3"
ANSWER_RULE: Final = "R7"
MAX_READS: Final = 256  # different (server, method, target); beyond, a server's reads are kept as one
MAX_EVIDENCE: Final = 8  # lines a person reads; the first names every source
EVERYTHING: Final = "*"
"""The target of a read that stands for several."""
INHERITED: Final = "bulkhead/earlier"
"""The method of reads that earlier sessions of the same client made."""

NO_EFFECT: Final = frozenset({
    "initialize", "server/discover", "ping", "logging/setLevel", "subscriptions/listen", "resources/unsubscribe",
    "tools/list", "prompts/list", "resources/list", "resources/templates/list",
    "tasks/get", "tasks/result", "tasks/list", "tasks/cancel",
    "bulkhead/connection",
})  # fmt: skip
"""What tells a server nothing but that somebody is there."""

SAMPLING: Final = "sampling/createMessage"
WISHES: Final = {
    SAMPLING: "an answer of your client's model", "elicitation/create": "to ask you something through your client",
    "roots/list": "the list of your client's folders",
}  # fmt: skip
"""What a server may want of a client, in the words of a question."""

_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Read:
    """Something a session has read: from which compartment (a server, and `scope` in it), by which call.

    `scope` is a keyed hash of a value from the arguments; empty is the whole server.  `digest` is a keyed hash of the
    last text read so, never the text; `when` is seconds since the epoch.
    """

    server: ServerName
    method: str
    target: str
    flags: frozenset[Flag]
    digest: str
    when: float
    count: int = 1
    scope: str = ""
    clean: bool = False
    """A person declassified it (R6): what was read so until then holds nothing any more."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The reads of one session in the order of their first time.  It only ever grows."""

    reads: tuple[Read, ...] = ()

    def kept_as(self, read: Read) -> Read:
        """`read` as the ledger keeps it: what finds no room of its own stands as one of its server's reads."""
        if len(self.reads) < MAX_READS or any(_same_call(known, read) for known in self.reads):
            return read
        return replace(read, method=EVERYTHING, target=EVERYTHING, scope=EVERYTHING if read.scope else "")

    def with_read(self, read: Read) -> "Ledger":
        """The ledger after `read`.  The same call read again only counts up."""
        kept = self.kept_as(read)
        for place, known in enumerate(self.reads):
            if _same_call(known, kept):
                merged = replace(kept, flags=known.flags | kept.flags, count=known.count + kept.count)
                return Ledger((*self.reads[:place], merged, *self.reads[place + 1 :]))
        return Ledger((*self.reads, kept))

    def knows(self, read: Read) -> bool:
        """Whether `read` would change nothing that a rule looks at."""
        kept = self.kept_as(read)
        return any(_same_call(known, kept) and known.flags >= kept.flags and not known.clean for known in self.reads)

    def declassified(self, read: Read) -> "Ledger":
        """The ledger after a person declassified what was read so until now; the next read of it counts again."""
        return Ledger(tuple(replace(one, clean=True) if _same_call(one, read) else one for one in self.reads))

    def elsewhere(self, server: ServerName, scope: str = "") -> tuple[Read, ...]:
        """What was read from other compartments than this one, and not declassified."""
        return tuple(read for read in self.reads if (read.server, read.scope) != (server, scope) and not read.clean)


def _same_call(one: Read, other: Read) -> bool:
    kind = (one.server, one.scope, one.method, one.target)
    return kind == (other.server, other.scope, other.method, other.target)


def hold(call: Call, labels: Labels, ledger: Ledger, scope: str = "") -> Decision | None:
    """Ask about an effect in one compartment after something was read in another; None where R3 has nothing to say."""
    if call.origin != "client" or call.method in NO_EFFECT or labels.level != "H":
        return None
    others = ledger.elsewhere(call.server, scope)
    if not others:
        return None
    servers = sorted({read.server for read in others})
    first = others[-1]
    by = f" ({first.target})" if first.method == "tools/call" and _PLAIN.fullmatch(first.target) else ""
    more = f" and {len(servers) - 1} more" if len(servers) > 1 else ""
    reason = (
        f"this session has read from {first.server}{by}{more}; what it read could steer this call to {call.server} "
        f"or leave through it"
    )
    return Decision(Verdict.ASK, RULE, reason, _evidence(servers, others))


def answered(call: Call, ledger: Ledger, *, asked: bool = False) -> Decision | None:
    """R7: ask before a server is given anything of its client, until a person enables that for the session.

    What a client's model answers is made from all it has read, so each server it read from is a question of its own.
    `asked`: the policy asks about the call anyway, and needs nobody beside it to ask the same.
    """
    if call.origin != "server" or call.method not in WISHES:
        return None
    others = tuple(read for read in ledger.reads if read.server != call.server and not read.clean)
    if others and call.method == SAMPLING:
        servers = sorted({read.server for read in others})
        reason = (
            f"what your client's model answers {call.server} could carry what it read from {', '.join(servers[:8])}"
        )
        return Decision(Verdict.ASK, ANSWER_RULE, reason, _evidence(servers, others))
    if asked:
        return None
    wish = WISHES[call.method]
    reason = f"{call.server} wants {wish}, and nobody enabled that for it in this session"
    return Decision(Verdict.ASK, ANSWER_RULE, reason, (f"wants {wish}",))


def _evidence(servers: list[ServerName], others: tuple[Read, ...]) -> tuple[str, ...]:
    """The first line is the same for the same sources: a yes for the session is bound to it."""
    lines = [f"sources: {', '.join(servers)}"]
    for read in others[-(MAX_EVIDENCE - 1) :]:
        what = "several calls" if read.target == EVERYTHING else f"{read.method} {read.target[:80]}"
        what = "an earlier session of this client" if read.method == INHERITED else what
        times = f", {read.count} times" if read.count > 1 else ""
        lines.append(f"read from {read.server}: {what} [{_words(read.flags)}]{times}")
    return tuple(lines)


def _words(flags: frozenset[Flag]) -> str:
    words = [word for flag, word in (("P", "private"), ("U", "written by others")) if flag in flags]
    return ", ".join(words) or "harmless"
