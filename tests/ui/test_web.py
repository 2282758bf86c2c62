"""The screen in a browser: one link for one browser, and nothing for anybody else."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.api import schema
from tests.chromium import CHROMIUM, LIMIT, OPTIONS, tools
from tests.ui.fake_desk import FakeDesk
from tests.ui.scenes import CALL, snapshot
from ui import web


class _Link(HTMLParser):
    url = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.url = dict(attrs)["href"] or ""


@asynccontextmanager
async def served(socket: Path) -> AsyncIterator[tuple[str, str, Path]]:
    """The screen's server; its origin, the address in the link's file, and that file."""
    stop = asyncio.Event()
    opened: asyncio.Future[tuple[Path, str]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(web.serve(socket, 0, lambda link, origin: opened.set_result((link, origin)), stop))
    try:
        async with asyncio.timeout(LIMIT):
            link, origin = await opened
        assert link.stat().st_mode & 0o077 == 0
        reader = _Link()
        reader.feed(link.read_text())
        yield origin, reader.url, link
    finally:
        stop.set()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def browsing() -> aiohttp.ClientSession:
    """What keeps cookies as a browser does, also those of an address."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


@pytest.mark.claim("C68")
@pytest.mark.anyio
async def test_the_link_lets_one_browser_in_once_and_nobody_comes_in_without_its_cookie(socket: Path) -> None:
    async with served(socket) as (origin, url, link), browsing() as browser:
        for path in ("/", "/ws", "/static/js/textual.js", "/?token=", "/?token=wrong"):
            async with aiohttp.ClientSession() as stranger, stranger.get(origin + path) as refused:
                assert refused.status == 403
        async with browser.get(url) as first:
            assert first.status == 200
            assert "SameSite=Strict" in first.headers["Set-Cookie"]
            assert "HttpOnly" in first.headers["Set-Cookie"]
        async with browser.get(origin) as page:
            assert page.status == 200
            text = await page.text()
            assert "ws://127.0.0.1" in text
            assert "https://" not in text  # nothing of it comes from elsewhere
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        async with aiohttp.ClientSession() as second, second.get(url) as refused:
            assert refused.status == 403
            assert "was used before" in await refused.text()
        async with asyncio.timeout(LIMIT):
            while link.exists():  # noqa: ASYNC110 - the server is on its way to remove it
                await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_a_request_for_another_address_or_from_another_page_is_refused_even_with_the_cookie(socket: Path) -> None:
    async with served(socket) as (origin, url, _), browsing() as browser:
        async with browser.get(url), browser.get(origin) as page:
            assert page.status == 200
        port = origin.rpartition(":")[2]
        for headers in (
            {"Host": f"evil.example:{port}"},
            {"Host": f"localhost:{port}"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):
            async with browser.get(origin, headers=headers) as refused:
                assert refused.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:  # a socket that names no page is no browser's
            await browser.ws_connect(f"{origin}/ws")
        assert caught.value.status == 403


@pytest.mark.anyio
async def test_a_link_nobody_used_stops_working(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LINK_SECONDS", 0.0)
    async with served(socket) as (_, url, link):
        async with asyncio.timeout(LIMIT):
            while link.exists():  # noqa: ASYNC110 - the server is on its way to remove it
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as late, late.get(url) as refused:
            assert refused.status == 403


@pytest.mark.claim("C68")
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.anyio
async def test_a_person_denies_a_question_in_a_real_browser(socket: Path) -> None:
    assert CHROMIUM is not None
    waiting = CALL.model_copy(update={"asked": time.time(), "deadline": time.time() + 3600})
    async with FakeDesk(socket, snapshot(questions=[waiting])) as desk, served(socket) as (_, _, link):
        with tempfile.TemporaryDirectory(prefix="bh-browser-", ignore_cleanup_errors=True) as folder:
            browser = await asyncio.create_subprocess_exec(
                CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", link.as_uri(),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                async with asyncio.timeout(LIMIT):
                    await desk.watched()
                    pressing = asyncio.create_task(_press(Path(folder), "d"))
                    [denied] = await desk.asked_for(schema.DENY)
                    pressing.cancel()
            finally:
                browser.terminate()
                await asyncio.wait_for(browser.wait(), LIMIT)
    assert isinstance(denied, schema.Answered)
    assert (denied.id, denied.allow) == (waiting.id, False)


async def _press(profile: Path, key: str) -> None:
    """Press a key in the browser's one page, again and again: no key counts before a card was read."""
    async with tools(profile) as page:
        number = 0
        while True:
            for kind in ("keyDown", "keyUp"):
                number += 1
                event: dict[str, Any] = {"type": kind, "key": key, "text": key, "code": f"Key{key.upper()}",
                                         "windowsVirtualKeyCode": ord(key.upper())}  # fmt: skip
                await page.send_str(json.dumps({"id": number, "method": "Input.dispatchKeyEvent", "params": event}))
            await asyncio.sleep(0.3)
