"""Notices on the desktop: sent when nobody looks, in our own words only, and never in the way of a question."""

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import anyio
import pytest

from broker import notices
from broker.model import Question
from broker.notices import Freedesktop, Notice, notice_of, notify
from tests.test_consent import answer, ask, desk_of

LIMIT = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Desktop:
    """Takes notices, or refuses them all."""

    deaf: bool = False
    shown: list[Notice] = field(default_factory=list)

    def __call__(self, notice: Notice) -> None:
        self.shown.append(notice)
        if self.deaf:
            raise OSError("no desktop")


async def until(condition: Any) -> None:
    with anyio.fail_after(LIMIT):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in threads, too
            await anyio.sleep(0.005)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "QUIET_SECONDS", 0.0)


@pytest.mark.anyio
async def test_a_question_nobody_sees_is_told_once_and_a_later_one_again() -> None:
    desk, desktop = desk_of(), Desktop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notify, desk, lambda: False, desktop)
        await anyio.lowlevel.checkpoint()
        first = ask(desk, "a")
        await until(lambda: len(desktop.shown) == 1)
        answer(desk, first.question)
        ask(desk, "b")
        ask(desk, "c")
        await until(lambda: len(desktop.shown) >= 2)
        tasks.cancel_scope.cancel()
    assert desktop.shown[0].summary == "Bulkhead has a question"


@pytest.mark.anyio
async def test_nobody_is_told_while_the_screen_is_open() -> None:
    desk, desktop, looked = desk_of(), Desktop(), []

    def attended() -> bool:
        looked.append(True)
        return True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notify, desk, attended, desktop)
        await anyio.lowlevel.checkpoint()
        ask(desk)
        await until(lambda: looked)
        tasks.cancel_scope.cancel()
    assert desktop.shown == []


@pytest.mark.anyio
async def test_a_machine_without_a_desktop_keeps_its_questions_and_the_teller_goes_on() -> None:
    desk, desktop = desk_of(), Desktop(deaf=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notify, desk, lambda: False, desktop)
        await anyio.lowlevel.checkpoint()
        ask(desk, "a")
        await until(lambda: len(desktop.shown) == 1)
        ask(desk, "b")
        await until(lambda: len(desktop.shown) == 2)
        tasks.cancel_scope.cancel()
    assert len(desk.open()) == 2


def test_a_notice_says_who_asks_and_nothing_a_server_wrote() -> None:
    async def questions() -> list[Question]:
        desk = desk_of()
        for number in range(2):
            ask(desk, str(number), what="<b>click here</b>", why="https://evil.example", evidence=("words",))
        return list(desk.open())

    open_now = anyio.run(questions)
    one, two = notice_of(open_now[:1], 1000.0), notice_of(open_now, 1000.0)
    assert one == Notice("Bulkhead has a question", "cursor and files, 60 s left; run: bulkhead", 60.0)
    assert two == Notice(
        "Bulkhead has 2 questions", "the first is about cursor and files, 60 s left; run: bulkhead", 60.0
    )
    assert notice_of([], 1000.0) is None


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real session bus of its own."""
    address = f"unix:path={tmp_path / 'bus'}"
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", f"--address={address}", "--print-address=1"], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    assert daemon.stdout.readline()  # it listens
    monkeypatch.setitem(os.environ, "DBUS_SESSION_BUS_ADDRESS", address)
    yield address
    daemon.terminate()
    daemon.wait(LIMIT)
    daemon.stdout.close()


@pytest.mark.keychain
def test_a_notice_reaches_the_desktop_over_the_bus_and_the_next_one_takes_its_place(bus: str) -> None:
    from jeepney import MessageType, message_bus, new_error, new_method_return
    from jeepney.io.blocking import open_dbus_connection

    heard: Queue[tuple[Any, ...]] = Queue()
    desktop = open_dbus_connection(bus=bus)
    desktop.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"), timeout=LIMIT)

    def serve() -> None:
        for number in range(3):
            message = desktop.receive(timeout=LIMIT)
            while message.header.message_type is not MessageType.method_call:
                message = desktop.receive(timeout=LIMIT)
            heard.put(message.body)
            refusal = new_error(message, "org.example.Full")
            desktop.send(new_method_return(message, "u", (7,)) if number < 2 else refusal)

    serving = threading.Thread(target=serve)
    serving.start()
    send = Freedesktop()
    send(Notice("one", "a <b>", 2.5))
    send(Notice("two", "b", 0.0))
    with pytest.raises(OSError, match=r"refused|does not take"):
        send(Notice("three", "c", 1.0))
    serving.join(LIMIT)
    desktop.close()
    first, second, third = (heard.get(timeout=LIMIT) for _ in range(3))
    assert (first[0], first[1], first[3], first[4], first[7]) == ("Bulkhead", 0, "one", "a <b>", 2500)
    assert (second[1], third[1]) == (7, 7)


@pytest.mark.keychain
def test_a_bus_without_a_desktop_is_an_error_that_is_expected(bus: str) -> None:
    with pytest.raises(OSError, match=r"refused|does not take"):
        Freedesktop()(Notice("one", "a", 1.0))


def test_no_bus_at_all_is_an_error_that_is_expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    with pytest.raises(OSError, match=r"does not take|No such file|refused"):
        Freedesktop()(Notice("one", "a", 1.0))
    monkeypatch.delitem(os.environ, "DBUS_SESSION_BUS_ADDRESS")
    with pytest.raises(OSError, match=r"does not take|No such file|refused"):
        Freedesktop()(Notice("one", "a", 1.0))
