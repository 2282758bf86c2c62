"""`/metrics` for Prometheus and `/healthz`: on the control socket, and on loopback where the OTEL_* variables ask.

It answers two requests and nothing else, holds nobody's words, and no web page gets an answer it could read.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from broker.errors import ConfigError

MAX_HEAD: Final = 8192
WAIT: Final = 5.0
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Readings:
    """What is read.  `metrics` is the text; `failure` is why the daemon is not well, empty while it is."""

    def __init__(self, metrics: Callable[[], str], failure: Callable[[], str]) -> None:
        self._metrics = metrics
        self._failure = failure

    def answer(self, head: bytes, hosts: tuple[str, ...] = ()) -> bytes:
        """The answer to a request with this head, which must name one of `hosts`, if there are any."""
        status, text = self._page(head.decode("latin-1").split("\r\n"), hosts)
        body = text.encode()
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n".encode()
            + body
        )

    def _page(self, lines: list[str], hosts: tuple[str, ...]) -> tuple[str, str]:
        named = [line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("host:")]
        if hosts and not (len(named) == 1 and named[0] in hosts):
            return "421 Misdirected Request", "ask 127.0.0.1\n"
        match lines[0].split(" ")[:2]:
            case ["GET", "/metrics"]:
                return "200 OK", self._metrics()
            case ["GET", "/healthz"]:
                failure = self._failure()
                return ("503 Service Unavailable", f"{failure}\n") if failure else ("200 OK", "ok\n")
        return "404 Not Found", "there are /metrics and /healthz\n"


class Scrape:
    """An open port of loopback."""

    def __init__(self, port: int, readings: Readings) -> None:
        self._port = port
        self._readings = readings
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises `ConfigError` where somebody else has the port."""
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=MAX_HEAD)
        except OSError as cause:
            raise ConfigError(
                f"port {self._port} of loopback, for numbers, cannot be had: {cause.strerror}",
                hint="set OTEL_EXPORTER_PROMETHEUS_PORT to another",
            ) from cause

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(WAIT):
                head = await reader.readuntil(b"\r\n\r\n")
                hosts = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
                writer.write(self._readings.answer(head, hosts))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks like this is told nothing
        finally:
            writer.close()
