"""`replay`: recorded sessions through a policy, before it is adopted.  It decides nothing and starts nothing."""

import secrets
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.cli import output
from broker.cli.context import DONE, Context
from broker.files import read_bounded
from broker.flow.labels import UNLABELLED, ServerLabels
from broker.flow.proposal import proposal
from broker.model import JsonObject, ServerName, Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy
from broker.policy.store import SHIPPED, shipped
from broker.replay import Judged, held, replay, worst
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
    """One line a trace, and a summary."""
    policy = _policy(args.policy)
    labels = worst if args.labels == "worst" else _proposed(args.tools)
    key, tally = secrets.token_bytes(16), Tally()
    for trace in read_traces(Path(args.traces)):
        judged = replay(trace.events, labels, policy, key, trace.id)
        tally.add(trace, judged)
        row = _row(trace, judged)
        if args.json:
            output.show_line(row)
        else:
            _show(row)
    summary = {"summary": {"policy": policy.name, "labels": args.labels, **tally.summary()}}
    if args.json:
        output.show_line(summary)
    else:
        _show_summary(summary["summary"])
    return DONE


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


def _show_summary(summary: JsonObject) -> None:
    output.show(
        f"{summary['traces']} traces, {summary['calls']} calls: {summary['holds']} held, {summary['denies']} denied"
    )
    if "benign" in summary:
        benign = summary["benign"]
        output.show(f"benign: {benign['questions_per_trace']} questions a trace, autonomy {benign['autonomy']:.0%}")
    if "attacks" in summary:
        output.show(f"attacks: {summary['attacks']['held']} of {summary['attacks']['traces']} held")
