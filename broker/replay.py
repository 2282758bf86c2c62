"""A recorded session, judged call by call by a policy and the rules on data flow, as if every held call were allowed.

Nothing is granted on the way: R3 asks each time, and R4 once for each value and tool.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.flow.carried import carried, snippets
from broker.flow.compartments import of_arguments, scope_of
from broker.flow.fingerprint import Marker, leaves
from broker.flow.labels import UNLABELLED, ServerLabels
from broker.flow.ledger import Ledger, Read, hold
from broker.flow.provenance import Origin, Provenance
from broker.model import Call, ClientName, Decision, JsonObject, ServerName, SessionId, Verdict
from broker.policy.around import Around
from broker.policy.evaluate import Policy, evaluate, strictest

CLIENT: Final = ClientName("replay")


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded call and what came back.  `tool` is what it was about: of other methods, a prompt or a URI."""

    server: ServerName
    tool: str
    arguments: JsonObject
    result: str
    method: str = "tools/call"


@dataclass(frozen=True, slots=True)
class Judged:
    """The decision about the `index`th call of a trace; `decision` allows where nothing held it.

    `shown` is evidence with text of the call in it, `place` its class and compartment.
    """

    index: int
    decision: Decision
    effect: bool
    shown: tuple[str, ...] = ()
    place: str = ""


def replay(
    events: Iterable[Event], labels: Callable[[ServerName], ServerLabels], policy: Policy, key: bytes, id: str
) -> tuple[Judged, ...]:
    """What would have happened to each call."""
    ledger, provenance = Ledger(), Provenance(Marker(key))
    answered: dict[tuple[ServerName, str, str], set[int]] = {}
    judged: list[Judged] = []
    for index, event in enumerate(events):
        call = _call(event, SessionId(id))
        known = of_arguments(labels(event.server).of_call(call), event.arguments)
        scope = scope_of(known, event.arguments)
        decision = evaluate(policy, call, Around("", known.flags, known.level, known.vouched))
        shown: tuple[str, ...] = ()
        if policy.holds:
            ignore = answered.setdefault((event.server, event.method, event.tool), set())
            found = carried(call, known, provenance, scope, ignore)
            if found is not None:
                ignore.update(mark for match in found[1] for mark in match.marks)
                decision, shown = strictest(decision, found[0]), snippets(found[1])
            decision = strictest(decision, hold(call, known, ledger, scope))
        place = f"class {known.level} in {event.server}{f' part {_short(scope)}' if scope else ''}"
        judged.append(Judged(index, decision, bool(known.flags & {"E", "M"}), shown, place))
        provenance.wrote(leaves(event.arguments))
        origin = Origin(index + 1, event.server, scope, event.tool, known.flags)
        provenance.read(origin, provenance.marker.of_read((event.result,)))
        ledger = ledger.with_read(Read(event.server, event.method, event.tool, known.flags, "", 0.0, scope=scope))
    return tuple(judged)


def receipts(events: Sequence[Event], judged: Sequence[Judged]) -> Iterator[JsonObject]:
    """What would be on record of it, had a person said yes to every call that was held: for `broker.laws`."""
    for event, one in zip(events, judged, strict=True):
        token = _short(f"{one.index}")
        row: JsonObject = {
            "session": "replay", "client": CLIENT, "server": event.server, "link": event.server, "request": one.index,
            "method": event.method, "target": event.tool, "digest": token, "time": "", "body": {}, "side": "client",
            "kind": "decision", "verdict": one.decision.verdict.value, "rule": one.decision.rule,
            "reason": one.decision.reason, "evidence": [*one.decision.evidence, one.place],
        }  # fmt: skip
        if one.decision.verdict is Verdict.ASK:
            yes = {"verdict": "allow", "rule": f"person:{one.decision.rule}", "reason": f"R5 token {token}"}
            yield {**row, **yes, "kind": "answer", "side": "person"}
            yield {**row, **yes}
        else:
            yield row
        if one.decision.verdict is not Verdict.DENY:
            yield {**row, "kind": "result", "side": "server", "verdict": None, "evidence": []}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _call(event: Event, session: SessionId) -> Call:
    params: Mapping[str, object] = {"name": event.tool, "arguments": event.arguments}
    body = json.dumps({"method": event.method, "params": params}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return Call(CLIENT, event.server, session, "client", event.method, event.tool, event.arguments, digest)


def worst(_: ServerName) -> ServerLabels:
    """Labels where nothing is believed of anybody."""
    return UNLABELLED


def held(judged: Iterable[Judged], verdict: Verdict) -> tuple[Judged, ...]:
    return tuple(one for one in judged if one.decision.verdict is verdict)
