"""Browsers that wait for a person's yes: each shows a number, and the person types it where Bulkhead asks.

A page that somebody else opened shows its number to somebody else, so it cannot be agreed to by mistake.  Nothing that
can be reached by HTTP answers anything: the page only looks again whether there is an answer.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from broker.endpoints.http_pages import CLOSE, SAFE, page
from broker.endpoints.http_server import Reply
from broker.errors import BulkheadError
from broker.passes import addresses
from broker.passes.asked import Wanted
from broker.passes.book import PassBook
from broker.protocol.http_gate import Guest

MAX_WAITING: Final = 16
KEPT_SECONDS: Final = 420.0  # from the request to the answer's way back; a question stands for 300
MAX_OF_ONE: Final = 4  # windows of one client
LOOK_AGAIN: Final = (("refresh", "2"),)  # seconds; a header, because no script runs on our pages

Agree = Callable[[Guest, Wanted, str, Callable[[str], None]], Awaitable[bool]]
"""Asks a person, who has to name the number; tells the question's name as soon as there is one."""


@dataclass(slots=True)
class _Browser:
    guest: Guest
    wanted: Wanted
    number: str = field(repr=False)
    ends: float
    question: str = ""
    went: bool = False
    asking: "asyncio.Task[bool]" = field(init=False)


class WaitingRoom:
    """The browsers of a home."""

    def __init__(self, book: PassBook, agree: Agree) -> None:
        self._book = book
        self._agree = agree
        self._browsers: dict[str, _Browser] = {}

    def begin(self, guest: Guest, wanted: Wanted) -> Reply:
        """Ask the person, and send the browser to where it waits."""
        open_now = [one for one in self._browsers.values() if not one.asking.done()]
        if len(open_now) >= MAX_WAITING or sum(one.guest.path == guest.path for one in open_now) >= MAX_OF_ONE:
            return page(429, "Too many applications wait for an answer already.", CLOSE)
        for id in [id for id, one in self._browsers.items() if one.asking.done()][:-MAX_WAITING]:
            del self._browsers[id]
        taken = {one.number for one in open_now}
        number = secrets.choice([f"{each:02}" for each in range(100) if f"{each:02}" not in taken])
        ends = asyncio.get_running_loop().time() + KEPT_SECONDS
        browser, id = _Browser(guest, wanted, number, ends), secrets.token_urlsafe(32)

        def named(question: str) -> None:
            browser.question = question

        browser.asking = asyncio.ensure_future(self._agree(guest, wanted, number, named))
        self._browsers[id] = browser
        where = f"{addresses.desk(guest.path, 'wait')}?{urlencode({'id': id})}"
        return Reply(303, b"", (*SAFE, ("location", where)))  # so that nothing of the request stays in the address bar

    def look(self, guest: Guest, id: str) -> Reply:
        """What the browser is shown now, or where it goes on."""
        browser = self._browsers.get(id)
        if browser is None or browser.guest.path != guest.path:
            return page(404, "Nothing waits here.", CLOSE)
        if browser.went or asyncio.get_running_loop().time() >= browser.ends:
            return page(200, "This sign-in is over.", CLOSE)
        if not browser.asking.done():
            return _numbered(browser)
        browser.went = True
        try:
            back = browser.wanted.back
            agreed = browser.asking.result()
            where = back.with_code(self._code(browser)) if agreed else back.with_error("access_denied")
        except (BulkheadError, asyncio.CancelledError):  # nothing can be recorded or kept: then nothing is given
            where = back.with_error("server_error")
        return Reply(303, b"", (*SAFE, ("location", where)))

    async def close(self) -> None:
        asking = [one.asking for one in self._browsers.values()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._browsers.clear()

    def _code(self, browser: _Browser) -> str:
        return self._book.code(browser.wanted, browser.guest.client, browser.guest.path)


def _numbered(browser: _Browser) -> Reply:
    guest, wanted = browser.guest, browser.wanted
    how = f"bulkhead approve {browser.question} --number {browser.number}" if browser.question else "bulkhead pending"
    return page(
        200,
        f"An application wants to use {wanted.server} through Bulkhead, as {guest.client}.",
        f"If you just asked it to, answer Bulkhead's question with the number {browser.number}.",
        f"On its screen (bulkhead), or in a terminal: {how}",
        "If you did not, close this page: nobody answering is a no.",
        headers=LOOK_AGAIN,
    )
