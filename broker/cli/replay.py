"""`replay`: recorded sessions through a policy, before it is adopted.  It decides nothing and starts nothing."""

import secrets
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.files import read_bounded
from broker.flow.labels import UNLABELLED, ServerLabels
from broker.flow.proposal import proposal
from broker.laws import violations
from broker.model import JsonObject, ServerName, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy
from broker.policy.store import SHIPPED, shipped
from broker.replay import Judged, held, receipts, replay, worst
from broker.traces import Trace, read_traces
from broker.trust.definitions import read_definitions

MAX_POLICY = 1024 * 1024


@dataclass(slots=True)
class Tally:
    """What the summary says."""

    counts: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, trace: Trace, judged: tuple[Judged, ...]) -> None:
        stopped = {one.index for one in judged if one.decision.verdict is not Verdict.ALLOW}
        effects = sum(one.effect for one in judged)
        self.counts.update(traces=1, calls=len(judged), effects=effects)
        self.counts.update(one.decision.verdict.value for one in judged)
        self.rules.update(one.decision.rule for one in judged if one.index in stopped)
        if trace.attack is False:
            self.counts.update(benign=1, benign_questions=len(stopped), benign_unasked=not stopped)
            self.counts.update(benign_effects=effects)
        elif trace.marked:
            self.counts.update(attacks=1, attacks_held=bool(stopped & trace.marked))

    def summary(self) -> JsonObject:
        counts = self.counts
        said: JsonObject = {name: counts[name] for name in ("traces", "calls", "effects")}
        said |= {"holds": counts["ask"], "denies": counts["deny"], "rules": dict(sorted(self.rules.items()))}
        if counts["benign"]:
            asked = counts["benign_questions"]
            said["benign"] = {
                "traces": counts["benign"],
                "questions": asked,
                "questions_per_trace": round(asked / counts["benign"], 3),
                "traces_without": counts["benign_unasked"],
                "autonomy": round(1 - asked / counts["benign_effects"], 3) if counts["benign_effects"] else 1.0,
            }
        if counts["attacks"]:
            said["attacks"] = {"traces": counts["attacks"], "held": counts["attacks_held"]}
        return said


async def command(args: Namespace, _: Context) -> int:
    """One line a trace, and a summary; 1 where something went against the laws (`broker.laws`)."""
    policy, other = _policy(args.policy), _policy(args.against) if args.against else None
    labels = worst if args.labels == "worst" else _proposed(args.tools)
    key, tally, beside, changed, broken = secrets.token_bytes(16), Tally(), Tally(), 0, 0
    for trace in read_traces(Path(args.traces)):
        judged = replay(trace.events, labels, policy, key, trace.id)
        tally.add(trace, judged)
        row = _row(trace, judged)
        if other is not None:
            again = replay(trace.events, labels, other, key, trace.id)
            beside.add(trace, again)
            row["changed"] = [
                {"index": one.index, "policy": _ruled(one), "against": _ruled(two)}
                for one, two in zip(judged, again, strict=True)
                if one.decision.verdict is not two.decision.verdict
            ]
            changed += len(row["changed"])
        if against := _against_the_laws(trace, judged, policy):
            row["broken"] = against
            broken += 1
        if args.json:
            output.show_line(row)
        else:
            _show(row)
    summary: JsonObject = {"policy": policy.name, "labels": args.labels, **tally.summary(), "laws_broken": broken}
    if other is not None:
        summary |= {"against": {"policy": other.name, **beside.summary()}, "changed": changed}
    if args.json:
        output.show_line({"summary": summary})
    else:
        _show_summary(summary)
    return NO if broken else DONE


def _against_the_laws(trace: Trace, judged: tuple[Judged, ...], policy: Policy) -> list[str]:
    """What went against them: in what was on record, and in what this policy would have let go."""
    on_record = [f"on record: {line}" for line in violations(trace.receipts)]
    if not policy.holds:
        return on_record
    return [*on_record, *violations(receipts(trace.events, judged))]


def _ruled(one: Judged) -> JsonObject:
    return {"verdict": one.decision.verdict.value, "rule": one.decision.rule}


def _policy(name: str) -> Policy:
    text = shipped(name) if name in SHIPPED else read_bounded(Path(name), MAX_POLICY)
    return parse_policy(text, name)


def _proposed(tools: str | None) -> Callable[[ServerName], ServerLabels]:
    """Labels from definitions, as if a person had accepted them; a server without any is the worst case."""
    found: defaultdict[str, list[JsonObject]] = defaultdict(list)
    for definition in read_definitions(Path(tools)) if tools else ():
        found[definition.server].append(definition.tool)
    made = {server: proposal(definitions) for server, definitions in found.items()}
    return lambda server: made.get(server, UNLABELLED)


def _row(trace: Trace, judged: tuple[Judged, ...]) -> JsonObject:
    return {
        "id": trace.id,
        "calls": len(judged),
        "holds": [_said(one) for one in held(judged, Verdict.ASK)],
        "denies": [_said(one) for one in held(judged, Verdict.DENY)],
    }


def _said(one: Judged) -> JsonObject:
    decision = one.decision
    evidence = [*decision.evidence, *one.shown]
    return {"index": one.index, "rule": decision.rule, "reason": decision.reason, "evidence": evidence}


def _show(row: JsonObject) -> None:
    for word in ("holds", "denies"):
        for one in row[word]:
            output.show(f"{row['id']}: call {one['index'] + 1} {word[:-1]}: {one['rule']}: {one['reason']}")
    for one in row.get("changed", ()):
        now, other = one["policy"], one["against"]
        was, instead = f"{now['verdict']} ({now['rule']})", f"{other['verdict']} ({other['rule']})"
        output.show(f"{row['id']}: call {one['index'] + 1}: {was}, and against that {instead}")
    for line in row.get("broken", ()):
        output.show(f"{row['id']}: against the laws: {line}")


def _show_summary(summary: JsonObject) -> None:
    output.show(
        f"{summary['traces']} traces, {summary['calls']} calls: {summary['holds']} held, {summary['denies']} denied"
    )
    output.show(f"{summary['laws_broken']} of them went against the laws")
    if "against" in summary:
        beside = summary["against"]
        output.show(
            f"against {beside['policy']}: {beside['holds']} held, {beside['denies']} denied; "
            f"{summary['changed']} calls would go otherwise"
        )
    if "benign" in summary:
        benign = summary["benign"]
        output.show(f"benign: {benign['questions_per_trace']} questions a trace, autonomy {benign['autonomy']:.0%}")
    if "attacks" in summary:
        output.show(f"attacks: {summary['attacks']['held']} of {summary['attacks']['traces']} held")
