"""The same screen in a browser, on loopback, for whoever has the one-time link.

The link is a file of the user's own that the browser opens, so that its token is never an argument of a program; it
opens one browser, once, and from then on a cookie is asked for.  Everything else of a request is checked before a
screen is started: the address it was sent to, the page it came from, and the cookie.

`textual-serve` carries the screen; it comes with the extra `web`.
"""

import asyncio
import hmac
import html
import secrets
import shlex
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from textual_serve.server import Server

COOKIE: Final = "bulkhead"
MAX_SCREENS: Final = 4
LINK_SECONDS: Final = 120.0  # a browser that was not open yet takes a while
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' "
    "'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LINK: Final = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Bulkhead</title>'
    '<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Open Bulkhead</a>\n'
)
_ARRIVED: Final = '<!doctype html><title>Bulkhead</title><meta http-equiv="refresh" content="0; url=/">'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Who may come in: one browser by the link, then that browser by its cookie."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._host = origin.partition("//")[2]
        self._token: str | None = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._screens = 0
        self.used = asyncio.Event()

    @property
    def link(self) -> str:
        """Where the browser goes first.  Only for the link's file."""
        return f"{self._origin}/?token={self._token}"

    async def pass_on(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through, or raise what refuses it."""
        if request.headers.get("Host") != self._host:
            raise web.HTTPForbidden(text="this address is not ours\n")
        if request.headers.get("Origin", self._origin) != self._origin:
            raise web.HTTPForbidden(text="another page asks\n")
        if "token" in request.query:
            return self._first(request.query["token"])
        if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._cookie.encode()):
            raise web.HTTPForbidden(text="open the screen with: bulkhead ui --web\n")
        if request.path != "/ws":
            return await handler(request)
        if request.headers.get("Origin") != self._origin:  # a browser always names the page that opens a socket
            raise web.HTTPForbidden(text="another page asks\n")
        if self._screens >= MAX_SCREENS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_SCREENS} screens are open already; close one\n")
        self._screens += 1
        try:
            return await handler(request)
        finally:
            self._screens -= 1

    def _first(self, token: str) -> web.StreamResponse:
        """The link, which works once."""
        if self._token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise web.HTTPForbidden(text="this link was used before; open a new one with: bulkhead ui --web\n")
        self.close()
        self.used.set()
        answer = web.Response(text=_ARRIVED, content_type="text/html")  # a redirect would come without a strict cookie
        answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="Strict", path="/")
        return answer

    def close(self) -> None:
        """Nobody comes in by the link any more."""
        self._token = None


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def serve(
    control_socket: Path, port: int, opened: Callable[[Path, str], None], stop: asyncio.Event | None = None
) -> None:
    """Serve the screen on 127.0.0.1 until `stop` is set or the task is cancelled.

    `opened` is called once with the link's file and the origin; the file goes away when it was used or after
    `LINK_SECONDS`.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.create_server(("127.0.0.1", port))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    guard = Guard(origin)
    runner = web.AppRunner(await _application(control_socket, origin, guard), access_log=None)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as folder:
        link = Path(folder) / "open.html"
        link.touch(mode=0o600)
        link.write_text(_LINK.format(url=html.escape(guard.link)))
        try:
            await web.SockSite(runner, listener).start()
            opened(link, origin)
            try:
                await asyncio.wait_for(guard.used.wait(), LINK_SECONDS)
            except TimeoutError:
                guard.close()
            link.unlink(missing_ok=True)
            await (stop or asyncio.Event()).wait()
        finally:
            await runner.cleanup()


async def _application(control_socket: Path, origin: str, guard: Guard) -> web.Application:
    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await guard.pass_on(request, handler)

    words = [sys.executable, "-I", "-m", "ui", str(control_socket)]
    server = _Carrier(
        shlex.join(words), title="Bulkhead", public_url=origin, templates_path=Path(__file__).with_name("templates")
    )
    application = await server._make_app()
    application.middlewares.append(checked)
    application.on_response_prepare.append(_add_headers)
    return application


class _Carrier(Server):
    """Without the banner, which names the command."""

    async def on_startup(self, app: web.Application) -> None:
        pass


def open_browser(link: Path, origin: str, say: Callable[[str], None]) -> None:
    """Open the user's browser on the link's file, or say how to."""
    say(f"the screen is at {origin} for the browser that opens {link} first; stop it with Ctrl-C")
    webbrowser.open(link.as_uri())
