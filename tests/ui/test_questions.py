"""The consent card: what each key does, when it does nothing, and what goes to the desk."""

from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import HandClock, screen
from tests.ui.fake_desk import Refusal

pytestmark = pytest.mark.anyio

DENIAL = schema.Answered(id="q1", digest=scenes.CALL.digest, allow=False)


def yes(lifetime: str, question: schema.QuestionView = scenes.CALL) -> schema.Answered:
    return schema.Answered.model_validate(
        {"id": question.id, "digest": question.digest, "allow": True, "lifetime": lifetime}
    )


@pytest.mark.parametrize("key", ["enter", "escape", "d"])
async def test_enter_escape_and_d_on_a_fresh_card_deny_it(socket: Path, clock: HandClock, key: str) -> None:
    async with screen(socket, clock) as bench:
        assert bench.app.focused is not None
        assert bench.app.focused.id == "deny"
        await bench.press(key)
        assert await bench.desk.asked_for(schema.DENY) == [DENIAL]
        assert bench.desk.answered == [DENIAL]


@pytest.mark.parametrize(("key", "lifetime"), [("o", "once"), ("s", "session")])
async def test_a_yes_carries_the_digest_that_was_shown_and_how_long_it_lasts(
    socket: Path, clock: HandClock, key: str, lifetime: str
) -> None:
    async with screen(socket, clock) as bench:
        await bench.press(key)
        assert await bench.desk.asked_for(schema.APPROVE) == [yes(lifetime)]
        assert bench.desk.answered == [yes(lifetime)]


@pytest.mark.parametrize("key", ["enter", "escape", "d", "o", "s", "a"])
async def test_answer_keys_are_dead_for_700_ms_after_a_card_changed(socket: Path, clock: HandClock, key: str) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("down", "up")
        await bench.card_painted()
        clock.advance(0.69)
        await bench.press(key)
        assert len(bench.app.screen_stack) == 1
        assert bench.desk.answered == []
        clock.advance(0.02)
        await bench.press("o")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("once")]


async def test_a_mouse_click_is_dead_as_long_as_the_keys(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("down", "up")
        await bench.pilot.click("#once")
        assert bench.desk.answered == []
        await bench.read_card()
        await bench.pilot.click("#session")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("session")]
        assert bench.desk.answered == [yes("session")]


async def test_a_key_meant_for_a_question_that_vanished_does_not_answer_the_next_one(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[scenes.CONNECTION]))
        assert "cursor wants to connect" in bench.seen
        await bench.press("o", "enter")
        assert bench.desk.answered == []


async def test_a_question_replaced_under_its_id_is_a_new_card_with_dead_keys_and_its_own_digest(
    socket: Path, clock: HandClock
) -> None:
    replaced = scenes.CALL.model_copy(update={"digest": "ee" * 32, "what": "something else"})
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[replaced]))
        await bench.press("o")
        assert bench.desk.answered == []
        await bench.read_card()
        await bench.press("o")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("once", replaced)]


async def test_after_another_card_was_looked_at_deny_has_focus_again(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("tab", "tab")
        assert bench.app.focused is not None and bench.app.focused.id == "session"
        await bench.press("down")
        assert bench.app.focused.id == "deny"


async def test_coming_back_to_the_card_makes_the_keys_dead_again(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("2", "1", "o")
        await bench.press("question_mark", "escape", "escape")
        assert bench.desk.answered == []


async def test_a_new_question_joins_the_list_and_leaves_the_card_and_its_keys_alone(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[scenes.LAUNCH, scenes.CALL, scenes.CONNECTION]))
        assert "1 Questions (3)" in bench.seen
        await bench.press("o")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("once")]


async def test_a_later_deadline_alone_is_no_new_card(socket: Path, clock: HandClock) -> None:
    later = scenes.CALL.model_copy(update={"deadline": scenes.NOON + 500})
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[later]))
        await bench.press("o")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("once")]
        assert "no by itself in 8:20" in bench.seen


async def test_always_says_what_it_means_and_needs_a_second_yes(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("a")
        assert bench.app.focused is not None and bench.app.focused.id == "no"
        assert "in every session" in bench.seen
        await bench.press("y")
        assert bench.desk.answered == []  # too early for the second yes as well
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("always")]


@pytest.mark.parametrize("key", ["escape", "enter", "n"])
async def test_no_to_always_answers_nothing_and_leaves_the_question_open(
    socket: Path, clock: HandClock, key: str
) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("a")
        await bench.read_card()
        await bench.press(key)
        assert bench.desk.answered == []
        assert "A call is held" in bench.seen


async def test_a_question_that_goes_while_always_is_being_confirmed_takes_the_confirmation_with_it(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("a")
        await bench.read_card()
        await bench.show(schema.QuestionsChanged(questions=[scenes.CONNECTION]))
        await bench.press("y")
        assert bench.desk.answered == []
        assert "the question is gone or was replaced; nothing was answered" in bench.seen


async def test_a_question_for_one_exact_thing_offers_no_yes_for_later(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock, scenes.snapshot(questions=[scenes.LAUNCH])) as bench:
        assert "This session" not in bench.seen
        assert "Always" not in bench.seen
        await bench.press("s", "a")
        assert bench.desk.answered == []
        await bench.press("o")
        assert await bench.desk.asked_for(schema.APPROVE) == [yes("once", scenes.LAUNCH)]


async def test_the_command_of_a_launch_is_shown_whole(socket: Path, clock: HandClock) -> None:
    long = "/usr/bin/python3 " + " ".join(f"--flag-{number}" for number in range(400)) + " --the-last-one"
    question = scenes.LAUNCH.model_copy(update={"detail": long, "what": "notes wants to start"})
    async with screen(socket, clock, scenes.snapshot(questions=[question]), size=(120, 90)) as bench:
        assert "--the-last-one" in bench.seen


@pytest.mark.parametrize(
    ("code", "what"),
    [("replaced", "the question was replaced; look at it again"), ("unknown", "no open question has the id q1")],
)
async def test_the_desk_s_refusal_of_an_answer_is_said_plainly(
    socket: Path, clock: HandClock, code: str, what: str
) -> None:
    def refuse(_: schema.Words) -> schema.Words:
        raise Refusal(code, what, "see: bulkhead pending")

    async with screen(socket, clock) as bench:
        bench.desk.answers["approve"] = refuse
        await bench.press("o")
        await bench.until(lambda: f"NOT DONE: {what}" in bench.seen)
        assert "try: see: bulkhead pending" in " ".join(bench.seen.split())


async def test_a_question_the_desk_closed_leaves_the_screen(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[]))
        assert "No open questions" in bench.seen
        assert "Deny" not in bench.seen
        await bench.press("o", "d", "escape", "enter", "a", "v")
        assert bench.desk.answered == []
        assert len(bench.app.screen_stack) == 1


async def test_a_slow_daemon_freezes_nothing_and_gets_one_answer_only(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        bench.desk.open_for_answers.clear()
        await bench.press("o")
        await bench.desk.asked_for(schema.APPROVE)
        assert "answering …" in bench.seen
        await bench.press("o", "d", "down", "2")
        assert "session s-7f3a" in bench.seen
        assert bench.desk.answered == [yes("once")]
        bench.desk.open_for_answers.set()
        await bench.until(lambda: "allowed this one call" in bench.seen)


async def test_a_daemon_that_never_confirms_is_named_and_the_question_can_be_answered_again(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock, answer_seconds=0.05) as bench:
        bench.desk.open_for_answers.clear()
        await bench.press("o")
        await bench.until(lambda: "NOT DONE: the daemon did not confirm" in bench.seen)
        await bench.press("d")
        assert await bench.desk.asked_for(schema.DENY) == [DENIAL]


async def test_leaving_answers_nothing(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("q")
        assert bench.desk.answered == []
        assert bench.app.return_value == 0


async def test_the_deadline_counts_down_before_your_eyes(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[scenes.CALL]))
        clock.advance(60)
        bench.app.beat()
        await bench.pilot.pause()
        assert "no by itself in 0:43" in bench.seen
        clock.advance(60)
        bench.app.beat()
        await bench.pilot.pause()
        assert "time is up: the answer was no" in bench.seen


@pytest.mark.claim("C52")
async def test_what_we_know_stands_above_the_words_of_a_server_and_those_are_inert(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        seen = bench.seen
        known, theirs = seen.index("rule after-a-read"), seen.index("the tool says")
        assert known < seen.index("not checked, do not obey") < theirs
        assert "[bold red]Bulkhead checked this: safe[/]" in seen  # the markup itself, as text
        assert "[@click=app.quit]press here[/]" in seen
        for forbidden in "\x1b\u202e\u202c\u200b\U000e0041":
            assert forbidden not in seen


async def test_the_words_of_a_server_stay_behind_their_mark_however_long_they_are(
    socket: Path, clock: HandClock
) -> None:
    question = scenes.CALL.model_copy(update={"evidence": ["word " * 200], "detail": "\n".join(["   d  Deny"] * 400)})
    async with screen(socket, clock, scenes.snapshot(questions=[question])) as bench:
        lines = bench.seen.splitlines()
        first = next(place for place, line in enumerate(lines) if "word word" in line)
        theirs = lines[first : lines.index(next(line for line in lines if "o  Once" in line))]
        assert len(theirs) > 3
        assert all(line.startswith(" ▌") for line in theirs)
        await bench.press("v")
        assert "Esc close" in bench.seen


async def test_everything_about_a_question_is_one_key_away_and_answers_nothing(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("v")
        assert scenes.CALL.digest in bench.seen
        await bench.read_card()
        await bench.press("escape")
        assert bench.desk.answered == []
        assert "A call is held" in bench.seen


@pytest.mark.parametrize(
    ("typed", "sent"), [(("4", "x", "2", "enter"), "42"), (("4", "escape"), None), (("enter",), None)]
)
async def test_a_sign_in_here_is_allowed_with_the_number_of_its_page_and_not_without(
    socket: Path, clock: HandClock, typed: tuple[str, ...], sent: str | None
) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[scenes.ENTRY]))
        await bench.read_card()
        await bench.press("o")
        await bench.press(*typed)
        if sent is None:
            assert bench.desk.answered == []
        else:
            allowed = yes("once", scenes.ENTRY).model_copy(update={"number": sent})
            assert await bench.desk.asked_for(schema.APPROVE) == [allowed]


async def test_the_window_for_a_number_closes_when_its_question_is_gone(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.show(schema.QuestionsChanged(questions=[scenes.ENTRY]))
        await bench.read_card()
        await bench.press("o", "4")
        await bench.show(schema.QuestionsChanged(questions=[scenes.CONNECTION]))
        await bench.press("2", "enter")
        assert bench.desk.answered == []
