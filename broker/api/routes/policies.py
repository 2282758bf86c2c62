"""Policies at the desk: what one says, why, what it would have done, and what could be learned.

Looking changes nothing: only `policy.use` does.  What is learned or tried holds nobody until a person uses it.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from broker.api import schema
from broker.api.premises import Premises
from broker.api.routes.receipts import PAGE, opened
from broker.api.wire import Caller, Handler
from broker.audit.index import Wanted
from broker.errors import DeskError
from broker.flow.compartments import of_arguments
from broker.flow.labels import UNLABELLED, ServerLabels
from broker.flow.proposal import scope_arguments
from broker.labelling import standing
from broker.model import Call, Decision, JsonObject, Origin, ServerName
from broker.policy.around import Around
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy, Rule
from broker.policy.explain import explain
from broker.policy.learn import learn
from broker.policy.store import DEFAULT, SHIPPED, shipped
from broker.policy.text import policy_text
from broker.recorded import Recorded, call_of, recorded
from broker.replay import replay

LEARNED: Final = "learned"
MAX_SEEN: Final = 20_000  # calls that are learned from
MAX_REPLAYED: Final = 1_000  # calls of one session that a person looks through
MAX_ENTRIES: Final = 8 * MAX_REPLAYED  # receipts read for them


class PolicyRoutes:
    """What can be asked of policies."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.POLICY_USE.method: self._use,
            schema.POLICY_NOW.method: self._now,
            schema.POLICY_SHOW.method: self._show,
            schema.POLICY_EXPLAIN.method: self._explain,
            schema.POLICY_REPLAY.method: self._replay,
            schema.POLICY_LEARN.method: self._learn,
        }

    async def _use(self, _caller: Caller, params: schema.PolicyUse) -> schema.Nothing:
        parse_policy(params.text.encode(), params.name)  # a bad one is refused before anything is on record
        await self._at.did("policy", "policy.use", params.name, Origin())
        self._at.house.policy.use(params.text.encode(), params.name)
        self._at.house.changed()
        return schema.Nothing()

    async def _now(self, _caller: Caller, _params: schema.Nothing) -> schema.PolicyUse:
        policy = self._at.house.policy
        return schema.PolicyUse(name=policy.current.name, text=policy.text)

    async def _show(self, _caller: Caller, params: schema.PolicyChoice) -> schema.PolicyView:
        policy, text = self._chosen(params)
        return schema.PolicyView(
            name=policy.name,
            text=text,
            description=policy.description,
            holds=policy.holds,
            rules=[_rule_view(rule) for rule in policy.rules],
            shipped=list(SHIPPED),
        )

    async def _explain(self, _caller: Caller, params: schema.PolicyExplain) -> schema.Explained:
        policy, _ = self._chosen(params.policy)
        [entry] = await asyncio.to_thread(self._at.index.page, Wanted(after=params.receipt - 1), 1) or [{}]
        if entry.get("seq") != params.receipt or entry.get("kind") != "decision" or entry.get("side") != "client":
            raise DeskError(
                f"receipt {params.receipt} is not about a call of a client", hint="choose a decision", code="usage"
            )
        call = call_of(opened(self._at, [entry])[0])
        found = explain(policy, call, self._around(call))
        return schema.Explained(
            about=f"{call.client} on {call.server}: {call.method} {call.target}",
            ruled=_ruled(found.decision),
            masks=list(found.masks),
            voices=[
                schema.Voice(rule=v.rule, effect=v.effect, reason=v.reason, fits=v.fits, unmet=list(v.unmet))
                for v in found.voices
            ],
        )

    async def _replay(self, _caller: Caller, params: schema.PolicyReplay) -> schema.Replayed:
        other, _ = self._chosen(params.policy)
        now = self._at.house.policy.current
        live = [session.id for session in self._at.sessions.all() if session.id.startswith(params.session)]
        session = live[0] if len(live) == 1 else params.session
        calls = [one for one in await self._recorded(Wanted(session=session)) if one.call.method == "tools/call"]
        if not calls:
            raise DeskError(
                f"no call of a session {params.session[:12]} is on record", hint="bulkhead audit tail", code="unknown"
            )
        shown, key = calls[:MAX_REPLAYED], secrets.token_bytes(16)
        events = [one.event for one in shown]
        judged = [
            await asyncio.to_thread(replay, events, self._labels, policy, key, session) for policy in (now, other)
        ]
        return schema.Replayed(
            now=now.name,
            other=other.name,
            calls=[
                schema.ReplayedCall(
                    receipt=one.receipt, server=one.call.server, tool=one.call.target,
                    then=" ".join(word for word in (one.verdict, one.rule) if word),
                    now=_ruled(before.decision), other=_ruled(after.decision),
                )
                for one, before, after in zip(shown, *judged, strict=True)
            ],
            left_out=len(calls) - len(shown),
        )  # fmt: skip

    async def _learn(self, _caller: Caller, params: schema.PolicyLearn) -> schema.PolicyLearned:
        wanted = Wanted(session=params.session, kind="decision", verdict="allow", since=params.since)
        seen = [one.seen for one in await self._recorded(wanted, MAX_SEEN)]
        base = self._at.house.policy.current
        if not base.holds:  # a policy that holds nothing is no measure
            base = parse_policy(shipped(DEFAULT), f"{DEFAULT}.toml")
        found = await asyncio.to_thread(learn, seen, base, scope_arguments)
        text = policy_text(LEARNED, f"learned from {len(seen)} calls, beside the rules of {base.name}", found.rules)
        if found.new:
            parse_policy(text.encode(), LEARNED)  # what could not be read again is not proposed
        return schema.PolicyLearned(
            name=LEARNED,
            text=text if found.new else "",
            base=base.name,
            seen=len(seen),
            rules=[
                schema.LearnedRule(
                    name=rule.name, client=rule.client, server=rule.server, method=rule.method, target=rule.target,
                    evidence=evidence,
                )
                for rule, evidence in found.rules[: found.new]
            ],
            left_out=list(found.left_out),
        )  # fmt: skip

    # --- what they look at ---

    def _chosen(self, choice: schema.PolicyChoice) -> tuple[Policy, str]:
        """The policy and its text.

        Raises:
            PolicyError: the text is none, or no policy is shipped under that name.
        """
        if choice.text:
            return parse_policy(choice.text.encode(), choice.name or "the text"), choice.text
        if not choice.name:
            return self._at.house.policy.current, self._at.house.policy.text
        data = shipped(choice.name)
        return parse_policy(data, choice.name), data.decode()

    async def _recorded(self, wanted: Wanted, most: int = MAX_ENTRIES) -> tuple[Recorded, ...]:
        """What is on record, page by page, the oldest first."""
        entries: list[JsonObject] = []
        while len(entries) < most:
            page = await asyncio.to_thread(self._at.index.page, wanted, PAGE)
            if not page:
                break
            entries += opened(self._at, page)
            wanted = replace(wanted, after=page[-1]["seq"])
        return recorded(entries)

    def _labels(self, server: ServerName) -> ServerLabels:
        """What counts now; nobody speaks for a server that is no longer here."""
        registry = self._at.house.registry
        pin = registry.pin(server) if registry.has_server(server) else None
        return standing(self._at.house, registry.server(server), pin).labels if pin is not None else UNLABELLED

    def _around(self, call: Call) -> Around:
        known = of_arguments(self._labels(call.server).of_call(call), call.arguments)
        return Around("", known.flags, known.level, known.vouched)


def _ruled(decision: Decision) -> schema.Ruled:
    return schema.Ruled(verdict=decision.verdict.value, rule=decision.rule, reason=decision.reason)


def _rule_view(rule: Rule) -> schema.RuleView:
    who = f"{rule.client} → {rule.server}"
    about = (
        f"{who}: {rule.method} {rule.target}"
        if rule.origin != "server"
        else f"{who}, what the server asks for: {rule.method}"
    )
    return schema.RuleView(
        name=rule.name,
        effect="mask" if rule.mask is not None else rule.verdict.value,
        about=about,
        when=[*(f"{each.argument} {each.kind} {each.wanted}" for each in rule.arguments), *map(str, rule.conditions)],
        reason=rule.reason,
    )
