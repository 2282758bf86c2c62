"""Tells a person on the desktop that a question waits, when nobody looks at the screen.

A notice is a comfort, never a gate: it says who asks and never what a server wrote, and where no desktop takes it the
question waits as it would have.
"""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker.consent import ConsentDesk
from broker.model import Question

QUIET_SECONDS: Final = 5.0  # questions that come together are one notice
SEND_SECONDS: Final = 3.0  # a desktop that takes longer does not matter to anybody
_APPLICATION: Final = "Bulkhead"
_SCRIPT: Final = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")
_log = logging.getLogger(__name__)

Send: TypeAlias = Callable[["Notice"], None]
"""Shows a notice, in a thread.  Raises OSError where that cannot be."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the desktop shows.  `seconds` is how long it has a meaning."""

    summary: str
    body: str
    seconds: float


def notice_of(questions: Sequence[Question], now: float) -> Notice | None:
    """The words for everything that waits; None when nothing does.  Only names of our own grammar stand in them."""
    if not questions:
        return None
    first = min(questions, key=lambda question: question.deadline)
    left = max(first.deadline - now, 0.0)
    about = f"{first.client} and {first.server}, {left:.0f} s left"
    if len(questions) == 1:
        return Notice("Bulkhead has a question", f"{about}; run: bulkhead", left)
    return Notice(f"Bulkhead has {len(questions)} questions", f"the first is about {about}; run: bulkhead", left)


async def notify(consent: ConsentDesk, attended: Callable[[], bool], send: Send) -> None:
    """Send a notice for questions that come up while nobody watches.  Runs until it is cancelled."""
    while True:
        with consent.subscribe() as watcher:
            async for _ in watcher:
                await _tell(consent, attended, send)
        if not watcher.dropped:
            return


async def _tell(consent: ConsentDesk, attended: Callable[[], bool], send: Send) -> None:
    told: frozenset[str] = frozenset()
    while True:
        waiting = consent.open()
        fresh = frozenset(question.id for question in waiting) - told
        notice = notice_of(waiting, time.time())
        if not fresh or notice is None or attended():
            return
        told |= fresh
        try:
            await asyncio.to_thread(send, notice)
        except OSError as cause:
            _log.info("no desktop takes notices: %s", type(cause).__name__)
            return
        await asyncio.sleep(QUIET_SECONDS)


def desktop(platform: str = sys.platform) -> Send:
    """How this system shows a notice."""
    return _by_script if platform == "darwin" else Freedesktop()


class Freedesktop:
    """Desktop Notifications Specification 1.2, over the session bus.  A newer notice takes the place of the last."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self, notice: Notice) -> None:
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call  # only where there is a desktop
        from jeepney.io.blocking import open_dbus_connection
        from jeepney.wrappers import DBusErrorResponse

        place = DBusAddress("/org/freedesktop/Notifications", "org.freedesktop.Notifications",
                            "org.freedesktop.Notifications")  # fmt: skip
        urgency = {"urgency": ("y", 1), "desktop-entry": ("s", "bulkhead")}
        no_actions: list[str] = []
        milliseconds = int(notice.seconds * 1000)
        words = (_APPLICATION, self._last, "", notice.summary, notice.body, no_actions, urgency, milliseconds)
        try:
            with open_dbus_connection(bus="SESSION", auth_timeout=SEND_SECONDS) as bus:
                answer = bus.send_and_get_reply(
                    new_method_call(place, "Notify", "susssasa{sv}i", words), timeout=SEND_SECONDS
                )
        except (KeyError, ValueError, TimeoutError, DBusErrorResponse, EOFError) as cause:
            raise OSError("the session bus does not take notices") from cause
        if answer.header.message_type is not MessageType.method_return:
            raise OSError(f"the desktop refused: {answer.header.fields.get(HeaderFields.error_name, 'an error')}")
        self._last = int(answer.body[0])


def _by_script(notice: Notice) -> None:
    """macOS: the words are arguments of the script, never a part of it."""
    lines = [part for line in _SCRIPT for part in ("-e", line)]
    try:
        subprocess.run(
            ["/usr/bin/osascript", *lines, "--", notice.summary, notice.body],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SEND_SECONDS,
            check=True,
        )
    except subprocess.SubprocessError as cause:
        raise OSError("the desktop does not take notices") from cause
