"""Policies at the desk: what one says, why, what it would have done to a recorded session, and what is learned."""

from pathlib import Path

import pytest

from broker.api import schema
from broker.errors import BulkheadError, DeskError
from broker.model import Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import evaluate
from broker.policy.store import shipped
from broker.recorded import call_of
from tests.api.test_routes import Office, office
from tests.house import OPEN
from tests.protocol.stage import INITIALIZE, INITIALIZED, call

pytestmark = pytest.mark.anyio
STRICT_ONE = b"""version = 1
name = "no-writing"
description = "for tests"
[[rule]]
name = "all"
effect = "allow"
reason = "fine"
[[rule]]
name = "not-write"
effect = "deny"
reason = "nothing is written"
tool = "write"
arguments = { text = { value = "secret plan" } }
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def one_call(at: Office, text: str = "secret plan") -> str:
    """A session in which `write` was called once; its whole id."""
    _, far = at.rooms.enter()
    await far.say(INITIALIZE, INITIALIZED)
    await far.hear()
    await far.say(call(1, text=text))
    await far.hear()
    far.close()
    return str(at.rooms.sessions.all()[0].id)


def decision_of(at: Office) -> int:
    return max(int(entry["seq"]) for entry in at.rooms.receipts() if entry["kind"] == "decision")


async def test_the_policy_in_force_a_shipped_one_and_a_text_are_shown_rule_by_rule(tmp_path: Path) -> None:
    async with office(tmp_path, policy=OPEN) as at:
        now: schema.PolicyView = await at.ask(schema.POLICY_SHOW)
        assert (now.name, [rule.name for rule in now.rules]) == ("open", ["all"])
        strict: schema.PolicyView = await at.ask(schema.POLICY_SHOW, name="strict")
        assert len(strict.rules) == len(parse_policy(shipped("strict"), "strict").rules)
        own: schema.PolicyView = await at.ask(schema.POLICY_SHOW, name="mine.toml", text=STRICT_ONE.decode())
        assert own.rules[1].effect == "deny" and own.rules[1].about.endswith("tools/call write")
        assert own.rules[1].when == ["text value ('secret plan',)"]
        for name, text in (("nowhere", ""), ("mine.toml", "version = 2")):
            with pytest.raises(BulkheadError):
                await at.ask(schema.POLICY_SHOW, name=name, text=text)
        assert at.rooms.house.policy.current.name == "open"  # looking changed nothing


async def test_a_recorded_call_is_explained_by_every_rule_that_speaks_of_it(tmp_path: Path) -> None:
    async with office(tmp_path, policy=OPEN) as at:
        await one_call(at)
        said: schema.Explained = await at.ask(schema.POLICY_EXPLAIN, receipt=decision_of(at))
        assert said.about == "desk on notes: tools/call write" and said.ruled.verdict == "allow"
        mine = {"name": "mine", "text": STRICT_ONE.decode()}
        other: schema.Explained = await at.ask(schema.POLICY_EXPLAIN, receipt=decision_of(at), policy=mine)
        assert (other.ruled.verdict, other.ruled.rule) == ("deny", "not-write")
        assert {voice.rule: voice.fits for voice in other.voices} == {"all": True, "not-write": True}
        assert ("", "audit-open") in at.receipts("daemon")  # what was said was opened, and that is on record
        for number in (1, 10_000):
            with pytest.raises(DeskError, match="is not about a call of a client"):
                await at.ask(schema.POLICY_EXPLAIN, receipt=number)


async def test_a_recorded_session_is_judged_by_the_policy_in_force_and_by_another_side_by_side(tmp_path: Path) -> None:
    async with office(tmp_path, policy=OPEN) as at:
        session = await one_call(at)
        mine = {"name": "mine", "text": STRICT_ONE.decode()}
        for named in (session, session[:12]):
            found: schema.Replayed = await at.ask(schema.POLICY_REPLAY, session=named, policy=mine)
            [one] = found.calls
            assert (one.server, one.tool) == ("notes", "write")
            assert (one.then, one.now.verdict, one.other.verdict) == ("allow all", "allow", "deny")
            assert (found.now, found.other) == ("open", "no-writing")
        with pytest.raises(DeskError, match="no call of a session nobody"):
            await at.ask(schema.POLICY_REPLAY, session="nobody", policy=mine)


async def test_what_is_learned_permits_what_was_seen_and_holds_nobody_before_a_yes(tmp_path: Path) -> None:
    async with office(tmp_path, policy=OPEN) as at:
        nothing: schema.PolicyLearned = await at.ask(schema.POLICY_LEARN)
        assert (nothing.rules, nothing.text) == ([], "")
        await one_call(at)
        found: schema.PolicyLearned = await at.ask(schema.POLICY_LEARN)
        assert [(rule.server, rule.target) for rule in found.rules] == [("notes", "write")]
        assert "seen once, receipts" in found.rules[0].evidence
        learned = parse_policy(found.text.encode(), "learned")
        [entry] = [entry for entry in at.rooms.receipts() if entry["seq"] == decision_of(at)]
        seen = call_of(at.rooms.house.audit.keys.opened(entry))
        assert seen.arguments == {"text": "secret plan"}
        assert evaluate(learned, seen).verdict is Verdict.ALLOW
        assert at.rooms.house.policy.current.name == "open"
        await at.ask(schema.POLICY_USE, name=found.name, text=found.text)
        assert at.rooms.house.policy.current.name == "learned"


async def test_what_is_learned_under_a_policy_that_holds_nothing_stands_beside_the_default_one(tmp_path: Path) -> None:
    async with office(tmp_path, policy=shipped("observe")) as at:
        await one_call(at)
        found: schema.PolicyLearned = await at.ask(schema.POLICY_LEARN)
        assert found.base == "balanced"
        assert parse_policy(found.text.encode(), "learned").holds
