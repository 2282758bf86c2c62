"""Where browsers bring answers: one listener on 127.0.0.1 for all sign-ins, a path for each issuer, each answer once.

A request that is no navigation of a browser to a waiting sign-in changes nothing, and no page names anything it said.
The listener stands as long as the daemon, so that what was registered stays true.
"""

import asyncio
import hashlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from broker.auth.callback import Brought, Expected, judged
from broker.auth.problems import AuthError
from broker.endpoints.http_pages import CLOSE, SAFE, is_navigation, page
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply

PORTS: Final = range(33418, 33428)
"""Tried in this order: what is registered by hand names its ports, and some servers compare them."""
MAX_WAITING: Final = 16
DONE: Final = "/done"


class Loopback:
    """The listener and the sign-ins that wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._server = HttpServer(self._judge)
        self._port = 0
        self._waiting: dict[str, tuple[Expected, asyncio.Future[Brought]]] = {}

    def redirect(self, issuer: str) -> str:
        """The address for answers of one issuer; listens from now on.

        Raises:
            AuthError: nothing can listen on this machine.
        """
        if not self._port:
            self._port = self._listen()
        return f"http://127.0.0.1:{self._port}{path_of(issuer)}"

    def expect(self, expected: Expected) -> "asyncio.Future[Brought]":
        """Wait for one answer; whoever waits lets go with `forget`.

        Raises:
            AuthError: too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise AuthError("too_many")
        future: asyncio.Future[Brought] = asyncio.get_running_loop().create_future()
        self._waiting[expected.state] = (expected, future)
        return future

    def forget(self, expected: Expected) -> None:
        self._waiting.pop(expected.state, None)

    def paste(self, url: str) -> bool:
        """The address a browser on another machine could not open; false if no sign-in waits for it."""
        parts = urlsplit(url.strip())
        ours = parts.scheme == "http" and parts.netloc == f"127.0.0.1:{self._port}" and not parts.fragment
        return ours and self._bring(parts.path, parts.query) is not None

    async def close(self) -> None:
        for _, future in self._waiting.values():
            future.cancel()
        await self._server.close()

    def _listen(self) -> int:
        for port in (*PORTS, 0):
            # Never SO_REUSEADDR or SO_REUSEPORT: who holds the port gets the codes.
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen(16)
            except OSError:
                listener.close()
                continue
            self._server.open(listener)
            return int(listener.getsockname()[1])
        raise AuthError("unavailable", "no port of this machine is free")

    def _judge(self, head: Head) -> Reply | Callable[[bytes], Awaitable[Answer]]:
        """Every answer is whole at once, so nobody's body is taken."""
        path, _, query = head.target.partition("?")
        if not is_navigation(head) or head.all("host") != [f"127.0.0.1:{self._port}"]:
            return Reply(403)
        if path == DONE:
            return page(200, "Bulkhead has what it needs.", CLOSE)
        brought = self._bring(path, query)
        if brought is None:
            return page(400, "No sign-in waits for this.", CLOSE)
        if brought.problem is not None:
            return page(400, "The sign-in did not succeed; Bulkhead says why.", CLOSE)
        return Reply(303, b"", (*SAFE, ("location", DONE)))  # so that the code leaves the address bar

    def _bring(self, path: str, query: str) -> Brought | None:
        waiting = tuple(expected for expected, future in self._waiting.values() if not future.done())
        brought = judged(path, query, waiting, self._clock())
        if brought is not None:
            self._waiting[brought.expected.state][1].set_result(brought)
        return brought


def path_of(issuer: str) -> str:
    """A path of its own for each issuer, so that one cannot pass for another."""
    return f"/cb/{hashlib.sha256(issuer.encode()).hexdigest()[:12]}"
