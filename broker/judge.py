"""Whether a call of one link may happen: policy and ledger, each answered by its own grants, and then a person.

The stricter of two opinions counts, and a yes that lasts is on the disk before it counts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.cards import destinations, edits
from broker.consent import Ticket
from broker.flow.carried import RULE as CARRIED
from broker.flow.carried import carried, snippets
from broker.flow.compartments import of_arguments, scope_of, spelled
from broker.flow.fingerprint import leaves
from broker.flow.labels import Labels, ServerLabels
from broker.flow.ledger import answered, hold
from broker.flow.provenance import Match
from broker.house import House
from broker.inside import Inside
from broker.labelling import standing
from broker.manners.courtesies import Courtesies
from broker.model import Call, ClientName, Decision, Fact, JsonObject, Lifetime, SessionId, Verdict
from broker.pin import Pin
from broker.policy.around import NOWHERE, Around
from broker.policy.evaluate import evaluate, strictest
from broker.policy.grants import lasting_reach
from broker.policy.masks import MASKED, Part
from broker.policy.tokens import RULE as TOKEN_RULE
from broker.policy.walls import permitted
from broker.protocol.sight import Masked
from broker.registry import Server
from broker.sentences import sentence
from broker.trust import pins

TOKEN: Final = f"{TOKEN_RULE} token"
MAX_SHOWN: Final = 256  # questions whose evidence is still to be shown
MAX_KNOWN: Final = 256  # kinds of calls whose labels are remembered, and characters of a target that is
MAX_ANSWERED: Final = 65_536  # marks of values that were let into a tool


class Judge:
    """One link's judge.  `server` is the document that holds now; whoever changes it says so with `server_changed`."""

    def __init__(
        self,
        house: House,
        client: ClientName,
        session: SessionId,
        server: Server,
        pin: Pin,
        record_durably: Callable[[Fact], Awaitable[None]],
        workspace: str = "",
    ) -> None:
        """`workspace` is the folder the client works in; the root and the home of its user say nothing about that."""
        self.client = client
        self.workspace = "" if workspace in ("", "/", str(Path.home())) else workspace
        self.session = session
        self.server = server
        self.labels = standing(house, server, pin).labels
        self._known: tuple[ServerLabels, dict[tuple[str, str], Labels]] = self.labels, {}
        self._house = house
        self._pin = pin
        self._record_durably = record_durably
        self._shown: dict[str, tuple[Match, ...]] = {}
        self._answered: dict[tuple[str, str], set[int]] = {}
        self._just_answered: dict[str, tuple[Call, tuple[Match, ...]]] = {}
        self._tickets: dict[str, list[Ticket]] = {}
        self._inside = Inside(house, client)
        self.courtesy = Courtesies(house.manners, server.name)

    def server_changed(self, server: Server) -> None:
        """The server's document, its catalog or its labels changed: what holds from now on."""
        self.server = server
        now = self._house.registry.pin(server.name)
        if now is not None:  # the bytes this link runs stay; labels are for definitions
            self._pin = replace(self._pin, catalog=now.catalog)
        self.labels = standing(self._house, server, self._pin).labels

    @property
    def caveat(self) -> str:
        """What every question about a server that is not verified says too."""
        said = pins.development(self._pin.artifact)
        return f"; {self.server.name} is a {said}" if said else ""

    def lasting(self, lifetime: Lifetime) -> Lifetime:
        """How long a yes lasts here: code that changes from day to day gets no standing one."""
        return "session" if self._pin.launch.dev and lifetime == "always" else lifetime

    def judge(self, call: Call) -> Decision:
        """Policy and ledger, each answered by its own grants, and the stricter of both."""
        if call.method == "tools/call" and call.target in self.server.disabled_tools:
            return Decision(Verdict.DENY, "disabled", "you switched this tool off")
        scope = self.scope(call.method, call.target, call.arguments) if call.origin == "client" else ""
        kept_apart = permitted(self._house.walls.current, call) or self.crossing(scope)
        if kept_apart is not None:
            return kept_apart
        grants, policy = self._house.grants, self._house.policy.current
        by_policy = evaluate(policy, call, self._around(call))
        decision = grants.settle(call, by_policy)
        if policy.holds:
            for held in self._held(call, scope, by_policy):
                decision = _both(decision, grants.settle(call, held))
        decision = self._placed(call, decision)
        if decision.verdict is Verdict.ALLOW:
            decision = self.courtesy.judged(call) or decision
        return replace(decision, durable=True) if self._may_harm(call) else decision

    def room(self, call: Call) -> int | None:
        """How many bytes the answer to a call may have."""
        return self.courtesy.room(call)

    def _may_harm(self, call: Call) -> bool:
        """Whether a call is of class H, and its box has a door: what can leave it, or stay after it."""
        if call.method != "tools/call" or call.origin != "client" or self.labels_of(call).level != "H":
            return False
        grants = self.server.grants
        open_box = grants.write or grants.hosts or grants.state != "none" or not grants.boxed
        return bool(open_box) or self._pin.artifact.kind == "remote"

    async def ask(self, call: Call, decision: Decision) -> Decision:
        """Put a call to a person and wait; whoever is cancelled meanwhile has withdrawn the question."""
        shown = {"arguments": call.arguments, **call.extra} if call.extra else call.arguments
        redactor = self._house.audit.redactor
        changes = redactor.text(edits(call.arguments))
        ticket = self._house.consent.ask(
            kind="call",
            client=self.client,
            server=self.server.name,
            session=self.session,
            what=sentence(call),
            why=f"{decision.rule}: {decision.reason}{self._way_out(call)}{self.caveat}",
            digest_of={"call": call.digest, "rule": decision.rule, "evidence": list(decision.evidence)},
            evidence=(*decision.evidence, *self._snippets(call), *map(redactor.text, destinations(call.arguments))),
            detail=f"{changes}\n\n{redactor.json(shown)}" if changes else redactor.json(shown),
            wait_seconds=self._house.waits.question,
            reach=redactor.text(lasting_reach(call, decision)),
        )
        self._tickets.setdefault(call.digest, []).append(ticket)
        counted = self._house.autonomy.of(self.session)
        counted.questions += self._is_effect(call)
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        finally:
            self._tickets[call.digest].remove(ticket)
            if not self._tickets[call.digest]:
                del self._tickets[call.digest]
        matches = self._shown.pop(call.digest, ())
        lifetime = self.lasting(answer.lifetime)
        if not answer.allowed:
            counted.effects += self._is_effect(call)
            said = "nobody answered in time" if answer.by == "deadline" else f"denied by {answer.by}"
            return Decision(Verdict.DENY, decision.rule, f"{decision.reason}; {said}", decision.evidence)
        if lifetime != "once":  # what lasts is on the disk before it counts; the answer itself is the relay's
            body = {"question": ticket.question.id, "for": lifetime, "by": answer.by, "rule": decision.rule,
                    "reach": ticket.question.reach if lifetime == "always" else ""}  # fmt: skip
            fact = Fact("grant", "person", call.method, call.target, digest=call.digest, body=body, durable=True)
            await self._record_durably(fact)
            self._house.grants.add("call", call, decision, lifetime)
            self._house.changed()
        self._just_answered[call.digest] = call, matches
        token = self._house.tokens.mint(call, decision)
        reason = f"allowed by {answer.by}, {lifetime} ({TOKEN} {token})"
        allowed = Decision(Verdict.ALLOW, f"person:{decision.rule}", reason, decision.evidence)
        if ticket.late:  # the relay has nobody to tell, and would record nothing
            fact = Fact("answer", "person", call.method, call.target, None, allowed, 0, call.digest, durable=True)
            await self._record_durably(fact)
        return allowed

    def offer(self, call: Call, asked: Decision) -> tuple[str, str] | None:
        return self._inside.offer(call, asked, self.caveat)

    def said(self, call: Call, asked: Decision, mark: str, allowed: bool) -> Decision:
        """An answer given inside the client; it was counted as a question where it is on the desk too."""
        effect = self._is_effect(call)
        answer = self._inside.said(call, asked, mark, allowed)
        counted = self._house.autonomy.of(self.session)
        counted.questions += effect and call.digest not in self._tickets
        counted.effects += effect and answer.verdict is not Verdict.ALLOW
        return answer

    def gave_up(self, call: Call) -> None:
        """The client waits no longer: a yes that comes now lets the same call through once, if it comes again soon."""
        waiting = [ticket for ticket in self._tickets.get(call.digest, ()) if not ticket.late]
        if waiting:
            waiting[0].late = True

    def went(self, call: Call) -> None:
        """A call goes to the server."""
        self.courtesy.went(call)
        self._house.autonomy.of(self.session).effects += self._is_effect(call)

    def _is_effect(self, call: Call) -> bool:
        return call.origin == "client" and bool(self.labels_of(call).flags & {"E", "M"})

    def allowed(self, call: Call, asked: Decision) -> Decision | None:
        """A yes that was given for exactly this and not used up."""
        if not self._house.tokens.answers(call, asked):
            return None
        return self._yes(call, asked, "a person said yes; it counts when the server is there")

    def spend(self, call: Call, asked: Decision, _consent: Decision) -> Decision | None:
        """Use a yes up, now that its call goes; unless manners keep it back, for which the yes is not used up."""
        if (ill_mannered := self.courtesy.judged(call)) is not None:
            return ill_mannered
        token = self._house.tokens.spend(call, asked)
        return self._yes(call, asked, f"a person said yes ({TOKEN} {token})") if token else None

    def _yes(self, call: Call, asked: Decision, reason: str) -> Decision:
        return self._placed(call, Decision(Verdict.ALLOW, f"person:{asked.rule}", reason, asked.evidence))

    def _placed(self, call: Call, decision: Decision) -> Decision:
        """What goes is recorded with its class and compartment, so that the record alone shows that the rules held."""
        if decision.verdict is not Verdict.ALLOW or call.origin != "client":
            return decision
        part = self._house.ledgers.scope_mark(self.scope(call.method, call.target, call.arguments))
        place = f"class {self.labels_of(call).level} in {self.server.name}{f' part {part}' if part else ''}"
        evidence = (*decision.evidence, place)
        return Decision(decision.verdict, decision.rule, decision.reason, evidence, decision.durable)

    def _way_out(self, call: Call) -> str:
        """What a person can do about questions that come only because nobody vouches for a tool."""
        if call.method != "tools/call" or self.labels.of_call(call).vouched:
            return ""
        return f"; nobody vouches for what this tool does (to look: bulkhead labels {self.server.name})"

    def let_in(self) -> frozenset[int]:
        """Marks of what a person let into a tool of this server: through it, that may leave."""
        just = (match.marks for _, matches in self._just_answered.values() for match in matches)
        return frozenset().union(*self._answered.values(), *just)

    def _snippets(self, call: Call) -> tuple[str, ...]:
        """What of the call came from where, for the screen alone."""
        redactor = self._house.audit.redactor
        return tuple(redactor.text(line) for line in snippets(self._shown.get(call.digest, ())))

    def labels_for(self, method: str, target: str) -> Labels:
        """The labels of such a call, whatever its arguments are."""
        if self._known[0] is not self.labels:
            self._known = self.labels, {}
        known = self._known[1]
        found = known.get((method, target))
        if found is None:
            found = self.labels.of(method, target)
            if len(known) < MAX_KNOWN and len(target) <= MAX_KNOWN:
                known[method, target] = found
        return found

    def labels_of(self, call: Call) -> Labels:
        """The labels of this very call: its arguments may make it graver than its tool is."""
        return of_arguments(self.labels_for(call.method, call.target), call.arguments)

    def scope(self, method: str, target: str, arguments: JsonObject) -> str:
        """Which part of the server a call with these arguments is about."""
        return scope_of(self.labels_for(method, target), arguments)

    def masked(self, call: Call, answer: JsonObject) -> Masked | None:
        """The answer as the policy in force lets the client see it."""
        return self._masked(call, answer, "result")

    def sent(self, call: Call, params: JsonObject) -> Masked | None:
        """What the policy in force lets its server have of a call."""
        return self._masked(call, params, "arguments")

    def _masked(self, call: Call, words: JsonObject, of: Part) -> Masked | None:
        policy = self._house.policy.current
        found = policy.masker(call, self._around(call), of) if policy.masking else None
        if found is None:
            return None
        rules, masker = found
        shown, places = dict(words), 0
        for part in MASKED[of]:
            if part in words:
                shown[part], count = masker.applied(words[part])
                places += count
        return Masked(shown, rules, places) if places else None

    def _around(self, call: Call) -> Around:
        """What is around a call, for a policy that asks for it."""
        if not self._house.policy.current.looks_around:
            return NOWHERE
        labels, now = self.labels_of(call), time.localtime()
        return Around(
            self.workspace, labels.flags, labels.level, labels.vouched, now.tm_wday, now.tm_hour * 60 + now.tm_min,
            time.monotonic(), self._house.rates,
        )  # fmt: skip

    def crossing(self, scope: str) -> Decision | None:
        """R2: why nothing of this part of the server may reach the session."""
        walls, ledgers = self._house.walls.current, self._house.ledgers
        if not walls.walls:
            return None
        reads = ((read.server, read.scope) for read in ledgers.view(self.session).reads)
        return walls.crossing(
            self.server.name, ledgers.scope_mark(scope), reads, lambda part: ledgers.scope_mark(spelled(part))
        )

    def bars(self, method: str, target: str, arguments: JsonObject) -> Decision | None:
        """Why what such a request brings may not reach the session any more."""
        return self.crossing(self.scope(method, target, arguments)) if self._house.walls.current.walls else None

    def offers(self, method: str, target: str) -> bool:
        """Whether a list shows this to the client, or says nothing of it: what it is limited to."""
        walls = self._house.walls.current
        return walls.beyond(self.client, self.session, self.server.name, method, target) is None

    def _held(self, call: Call, scope: str, by_policy: Decision) -> list[Decision]:
        """What the ledger has to say: an effect here after a read elsewhere, and what it carries of a read."""
        if call.origin == "server":  # its words are no words of the client
            asks = by_policy.verdict is Verdict.ASK
            asked = answered(call, self._house.ledgers.view(self.session), asked=asks)
            return [asked] if asked is not None else []
        ledgers, labels = self._house.ledgers, self.labels_of(call)
        scope = ledgers.scope_mark(scope)
        provenance = ledgers.provenance(self.session)
        self._learn_answers(call)
        ignored = self._answered.get((call.method, call.target), ())
        found = carried(call, labels, provenance, scope, ignored)
        provenance.wrote(leaves(call.arguments))
        if found is not None:
            while len(self._shown) >= MAX_SHOWN:
                self._shown.pop(next(iter(self._shown)))
            self._shown[call.digest] = found[1]
        holds = [found[0] if found is not None else None, hold(call, labels, ledgers.view(self.session), scope)]
        return [held for held in holds if held is not None]

    def _learn_answers(self, call: Call) -> None:
        """A value that a person let into a tool is not asked about again there: from the next call on, since the one
        that was asked about is judged again before it goes."""
        for digest, (asked, matches) in tuple(self._just_answered.items()):
            if digest != call.digest:
                kept = self._answered.setdefault((asked.method, asked.target), set())
                if len(kept) < MAX_ANSWERED:  # what finds no room is asked about again
                    kept.update(mark for match in matches for mark in match.marks)
                del self._just_answered[digest]


def _both(by_policy: Decision, held: Decision) -> Decision:
    """The stricter of two decisions; where both ask, one question that shows both reasons, under the later name."""
    if by_policy.verdict is held.verdict is Verdict.ASK:
        also = "" if by_policy.rule == CARRIED else f"the policy asks ({by_policy.rule}): "
        reason = f"{held.reason}; and {also}{by_policy.reason}"
        return Decision(Verdict.ASK, held.rule, reason, (*held.evidence, *by_policy.evidence))
    return strictest(held, by_policy)
