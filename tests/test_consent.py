"""The desk: one answer for everyone who asks, and no answer is a no."""

from dataclasses import replace
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest

from broker.consent import CLOSED, NO_ANSWER, TOO_MANY, USED, WITHDRAWN, Closed, ConsentDesk, Opened, Ticket
from broker.errors import DeskError
from broker.model import Answer, ClientName, Lifetime, Question, QuestionId, ServerName, SessionId

YES: Final = Answer(True, "once", "person at a terminal")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """Wall time that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def desk_of(clock: Clock | None = None, **bounds: int) -> ConsentDesk:
    numbers = iter(range(1, 10_000))
    return ConsentDesk(clock or Clock(), lambda: f"q{next(numbers)}", **bounds)


def ask(desk: ConsentDesk, about: str = "write_file", *, wait: float = 60.0, **changes: Any) -> Ticket:
    asked: dict[str, Any] = {
        "kind": "call", "client": ClientName("cursor"), "server": ServerName("files"), "session": SessionId("s-1"),
        "what": "cursor wants to call write_file", "why": "this policy asks", "digest_of": {"name": about},
        "evidence": ("sources: time",), "detail": "{}", "wait_seconds": wait,
    }  # fmt: skip
    return desk.ask(**(asked | changes))


def answer(desk: ConsentDesk, question: Question, *, allowed: bool = True, lifetime: Lifetime = "once") -> None:
    desk.answer(question.id, question.digest, allowed=allowed, lifetime=lifetime, by="person at a terminal")


async def said(ticket: Ticket) -> Answer:
    with anyio.fail_after(5):
        return await ticket.answer()


async def test_a_question_shows_everything_and_its_deadline() -> None:
    desk = desk_of()
    question = ask(desk, wait=60).question
    assert desk.open() == (question,) and desk.find(question.id) is question
    assert question == Question(
        QuestionId("q1"), "call", ClientName("cursor"), ServerName("files"), SessionId("s-1"),
        "cursor wants to call write_file", "this policy asks", question.digest, 1000.0, 1060.0,
        ("sources: time",), "{}",
    )  # fmt: skip
    assert len(question.digest) == 64


@pytest.mark.parametrize("allowed", [True, False])
async def test_an_answer_reaches_the_one_who_asked_and_closes_the_question(allowed: bool) -> None:
    desk = desk_of()
    ticket = ask(desk)
    answer(desk, ticket.question, allowed=allowed, lifetime="session")
    lifetime: Lifetime = "session" if allowed else "once"
    assert await said(ticket) == Answer(allowed, lifetime, "person at a terminal")
    assert desk.open() == () and ticket.answered


@pytest.mark.claim("C31")
async def test_no_answer_in_time_is_a_no() -> None:
    desk = desk_of()
    ticket = ask(desk, wait=0.01)
    assert await said(ticket) == NO_ANSWER == Answer(False, "once", "deadline")
    assert desk.open() == ()


async def test_the_deadline_holds_although_the_machine_slept_through_it() -> None:
    clock = Clock()
    desk = desk_of(clock)
    ticket = ask(desk, wait=60)
    clock.now += 61
    with pytest.raises(DeskError) as caught:
        answer(desk, ticket.question)
    assert caught.value.code == "unknown"
    assert await said(ticket) == NO_ANSWER


async def test_an_answer_to_another_question_is_refused_and_the_question_stays_open() -> None:
    desk = desk_of()
    ticket, other = ask(desk), ask(desk, "delete_file")
    with pytest.raises(DeskError) as caught:
        desk.answer(ticket.question.id, other.question.digest, allowed=True, by="x")
    assert caught.value.code == "replaced"
    assert desk.open() == (ticket.question, other.question) and not ticket.answered


async def test_a_question_that_is_not_open_cannot_be_answered() -> None:
    desk = desk_of()
    ticket = ask(desk)
    answer(desk, ticket.question, allowed=False)
    for question in (ticket.question, replace(ticket.question, id=QuestionId("q99"))):
        with pytest.raises(DeskError) as caught:
            answer(desk, question)
        assert caught.value.code == "unknown" and caught.value.hint
    assert not (await said(ticket)).allowed


@pytest.mark.parametrize(
    "change",
    [
        {"what": "cursor wants to call read_file"},
        {"why": "another rule"},
        {"evidence": ("sources: mail",)},
        {"detail": "{ }"},
        {"digest_of": b"write_file"},
        {"server": ServerName("time")},
        {"client": ClientName("claude")},
        {"kind": "launch"},
    ],
)
async def test_the_digest_covers_everything_the_person_sees(change: dict[str, Any]) -> None:
    desk = desk_of()
    assert ask(desk).question.digest != ask(desk, **change).question.digest
    assert len(desk.open()) == 2


async def test_the_very_same_question_of_a_session_is_asked_once() -> None:
    desk = desk_of()
    first, second = ask(desk), ask(desk)
    assert first.question is second.question and len(desk.open()) == 1
    other = ask(desk, session=SessionId("s-2"))
    assert other.question.id != first.question.id
    answer(desk, first.question, lifetime="session")
    assert (await said(first)).allowed and (await said(second)).allowed and not other.answered


async def test_one_yes_sends_one_call_although_two_identical_ones_wait() -> None:
    desk = desk_of()
    first, second = ask(desk), ask(desk)
    answer(desk, first.question, lifetime="once")
    assert (await said(first), await said(second)) == (YES, USED)


async def test_one_yes_lets_a_client_connect_on_every_link_that_waits() -> None:
    desk = desk_of()
    first, second = ask(desk, kind="connection"), ask(desk, kind="connection")
    answer(desk, first.question)
    assert (await said(first), await said(second)) == (YES, YES)


async def test_a_question_nobody_needs_any_more_goes_with_the_last_who_asked() -> None:
    desk = desk_of()
    first, second = ask(desk), ask(desk)
    first.withdraw()
    first.withdraw()
    assert await said(first) == WITHDRAWN and desk.open() == (second.question,)
    answer(desk, second.question)
    assert await said(second) == YES, "the yes is for the one who still waits"
    third = ask(desk)
    third.withdraw()
    assert await said(third) == WITHDRAWN and desk.open() == ()
    desk.withdraw(third.question.id)


async def test_the_end_of_a_session_takes_its_questions_along() -> None:
    desk = desk_of()
    mine, other = (ask(desk), ask(desk, "b")), ask(desk, session=SessionId("s-2"))
    desk.end_session(SessionId("s-1"))
    assert [await said(ticket) for ticket in mine] == [WITHDRAWN, WITHDRAWN]
    assert desk.open() == (other.question,)


async def test_a_client_that_asks_too_much_is_told_no_and_others_are_still_heard() -> None:
    desk = desk_of(per_client=3, in_all=5)
    for number in range(3):
        ask(desk, str(number))
    assert await said(ask(desk, "one more")) == TOO_MANY
    assert ask(desk, "0").question is desk.open()[0], "what is open already takes no more room"
    for number in range(2):
        ask(desk, str(number), client=ClientName("claude"))
    assert await said(ask(desk, client=ClientName("zed"))) == TOO_MANY
    assert len(desk.open()) == 5


async def test_closing_the_desk_is_a_no_to_everything_from_then_on() -> None:
    desk = desk_of()
    ticket = ask(desk)
    desk.close()
    assert await said(ticket) == CLOSED and await said(ask(desk, "later")) == CLOSED
    assert desk.open() == ()
    assert [change async for change in desk.subscribe()] == []


async def test_giving_up_waiting_does_not_answer_for_the_others() -> None:
    desk = desk_of()
    first, second = ask(desk), ask(desk)
    with anyio.move_on_after(0.01):
        await first.answer()
    assert not first.answered and not second.answered
    answer(desk, second.question, lifetime="always")
    assert (await said(first)).allowed and (await said(second)).allowed


async def test_a_watcher_sees_every_change_in_order() -> None:
    desk = desk_of()
    with desk.subscribe() as watcher, anyio.fail_after(5):
        first, second = ask(desk), ask(desk, "b")
        ask(desk)
        answer(desk, first.question)
        second.withdraw()
        desk.close()
        seen = [change async for change in watcher]
    assert seen == [Opened(first.question), Opened(second.question), Closed(first.question, YES),
                    Closed(second.question, WITHDRAWN)]  # fmt: skip
    assert not watcher.dropped


async def test_a_waiting_watcher_wakes_up_for_news() -> None:
    desk = desk_of()
    seen: list[object] = []

    async def watch() -> None:
        with desk.subscribe() as watcher:
            async for change in watcher:
                seen.append(change)
                if len(seen) == 2:
                    return

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.lowlevel.checkpoint()
            ticket = ask(desk)
            await anyio.lowlevel.checkpoint()
            answer(desk, ticket.question, allowed=False)
    assert [type(change) for change in seen] == [Opened, Closed]
    assert not desk._watchers


async def test_a_watcher_that_does_not_keep_up_is_dropped_and_holds_nobody_up() -> None:
    desk = desk_of(per_client=100)
    slow, quick = desk.subscribe(bound=3), desk.subscribe()
    for number in range(10):
        ask(desk, str(number))
    quick.close()
    with anyio.fail_after(5):
        assert [change async for change in slow] == []
        assert len([change async for change in quick]) == 10
    assert slow.dropped and not quick.dropped
