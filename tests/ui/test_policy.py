"""The policy's place: rules, why, side by side, proposals; and nothing is used without a second yes."""

from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import Bench, HandClock, screen

pytestmark = pytest.mark.anyio
CALLED = scenes.receipt(9, kind="decision", session="5e55" * 16, method="tools/call", side="client")


def show(params: schema.Words) -> schema.Words:
    assert isinstance(params, schema.PolicyChoice)
    named = {"": scenes.POLICY, "strict": scenes.STRICT}
    return named.get(params.name, scenes.POLICY.model_copy(update={"name": params.name, "text": params.text}))


async def opened(bench: Bench) -> None:
    bench.desk.answers["policy.show"] = show
    await bench.press("5")
    await bench.until(lambda: "first-connection" in bench.seen)


async def choose(bench: Bench, downs: int) -> None:
    await bench.press("p", *["down"] * downs, "enter")
    await bench.until(lambda: len(bench.app.screen_stack) == 1)


async def test_the_rules_in_force_are_shown_and_each_one_is_opened_whole(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await opened(bench)
        assert "balanced  IN FORCE  3 rules" in bench.seen
        await bench.press("end", "enter")
        assert "path under ('/home/ann/.ssh',)" in bench.seen and "keys are nobody's to write" in bench.seen
        await bench.press("escape", "u")
        assert "this policy is in force" in bench.seen
        await bench.press("c")
        assert "choose another one first" in bench.seen
        assert bench.desk.answered == []


async def test_another_policy_is_used_only_after_a_second_yes_and_only_as_it_was_shown(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await opened(bench)
        await choose(bench, 2)
        await bench.until(lambda: "strict  not in force" in bench.seen)
        await bench.press("u", "enter")
        assert bench.desk.answered == []
        await bench.press("u")
        await bench.read_card()
        await bench.press("y")
        wanted = schema.PolicyUse(name="strict", text=scenes.STRICT.text)
        assert await bench.desk.asked_for(schema.POLICY_USE) == [wanted]
        await bench.until(lambda: "the policy is strict from now on" in bench.seen)


async def test_a_recorded_call_is_explained_and_a_recorded_session_shown_under_both_policies(
    socket: Path, clock: HandClock
) -> None:
    explained = schema.Explained(
        about=f"cursor on time: tools/call {scenes.HOSTILE}", ruled=schema.Ruled(verdict="deny", rule="no-secrets"),
        voices=[schema.Voice(rule="agreed-server", effect="allow", reason="fine", fits=False, unmet=["path"])],
    )  # fmt: skip
    allowed = schema.Ruled(verdict="allow", rule="agreed-server")
    denied = schema.Ruled(verdict="deny", rule="no-secrets")
    call = schema.ReplayedCall(receipt=9, server="files", tool="write", then="allow x", now=allowed, other=denied)
    replayed = schema.Replayed(now="balanced", other="strict", calls=[call, call.model_copy(update={"other": allowed})])
    async with screen(socket, clock, scenes.snapshot(receipts=[CALLED])) as bench:
        bench.desk.answers["policy.explain"] = lambda _: explained
        bench.desk.answers["policy.replay"] = lambda _: replayed
        await opened(bench)
        await bench.press("x", "enter")
        await bench.until(lambda: "Rules that speak of it" in bench.seen)
        assert "does not hold for path" in bench.seen and "\x1b" not in bench.seen
        assert "[bold red]Bulkhead checked this" in bench.seen
        assert await bench.desk.asked_for(schema.POLICY_EXPLAIN) == [schema.PolicyExplain(receipt=9)]
        await bench.press("escape")
        await choose(bench, 2)
        await bench.until(lambda: "strict  not in force" in bench.seen)
        await bench.press("c", "enter")
        await bench.until(lambda: "2 calls, 1 judged otherwise" in bench.seen)
        assert sum(line.startswith("│ ≠") for line in bench.seen.splitlines()) == 1
        asked = schema.PolicyReplay(session="5e55" * 16, policy=schema.PolicyChoice(name="strict"))
        assert await bench.desk.asked_for(schema.POLICY_REPLAY) == [asked]


async def test_what_was_learned_is_a_proposal_that_is_shown_as_a_policy_and_used_like_any_other(
    socket: Path, clock: HandClock
) -> None:
    rule = schema.LearnedRule(
        name="learned-1", client="cursor", server="files", method="tools/call", target="read", evidence="seen 3 times"
    )
    found = schema.PolicyLearned(name="learned", text="version = 1 # mine", base="balanced", seen=3, rules=[rule])
    async with screen(socket, clock) as bench:
        bench.desk.answers["policy.learn"] = lambda _: found.model_copy(update={"rules": []})
        await opened(bench)
        await bench.press("l")
        await bench.until(lambda: "nothing was let through" in bench.seen)
        bench.desk.answers["policy.learn"] = lambda _: found
        await bench.press("l")
        await bench.until(lambda: "cursor → files: read" in bench.seen and "seen 3 times" in bench.seen)
        await bench.press("escape")
        await bench.until(lambda: "learned  not in force" in bench.seen)
        await bench.press("u")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.POLICY_USE) == [schema.PolicyUse(name="learned", text=found.text)]


async def test_a_policy_file_is_read_within_its_bound_and_a_bad_one_is_said(
    socket: Path, clock: HandClock, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text("version = 1")
    async with screen(socket, clock) as bench:
        await opened(bench)
        for name in ("q.toml", "p.toml"):
            await bench.press("p", "end", "enter")
            bench.app.screen.query_one("#line").value = str(tmp_path / name)  # type: ignore[attr-defined]
            await bench.press("enter")
        await bench.until(lambda: "p.toml  not in force" in bench.seen)
        assert "NOT DONE" in bench.seen and "cannot be read: No such file" in " ".join(bench.seen.split())
