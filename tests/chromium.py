"""A real browser, without a screen, and with a network in which every name leads to this machine."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
LIMIT: Final = 120.0  # seconds; a browser on a loaded machine takes several to start
OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--mute-audio"),
    *("--disable-extensions", "--no-proxy-server", "--host-resolver-rules=MAP * 127.0.0.1"),
    *("--remote-debugging-port=0", "--remote-allow-origins=*"),
)


@asynccontextmanager
async def tools(profile: Path) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The developer's tools of the browser's one page."""
    port = profile / "DevToolsActivePort"
    while not port.exists() or "\n" not in port.read_text():  # noqa: ASYNC110 - the browser writes it
        await asyncio.sleep(0.05)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as listed:
            [page] = [one for one in await listed.json() if one["type"] == "page"]
        async with session.ws_connect(page["webSocketDebuggerUrl"]) as made:
            yield made
