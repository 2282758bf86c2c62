"""A raw MCP client over the standard streams of a program it starts.

It checks nothing and repairs nothing: a test sees exactly what came.  Every wait has a limit, and leaving the `with`
block leaves no program behind.
"""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.model import Era, JsonObject

LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
PREFIX: Final = "io.modelcontextprotocol/"
WITHIN: Final = 10.0  # seconds; a loaded machine of two cores starts a Python program in two
STOP_WITHIN: Final = 2.0  # the MCP SDK's own grace
MAX_LINE: Final = 64 << 20


class NoMessage(AssertionError):
    """Nothing came in time, or the program closed its output; what it wrote to standard error is told."""


class RawClient:
    """One conversation with `argv`, as the client."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "raw-client",
        capabilities: JsonObject | None = None,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program, closed by `close`
        self.process: Final = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=None if env is None else dict(env),
            cwd=cwd,
            bufsize=0,
        )
        self.name = name
        self.capabilities: JsonObject = capabilities or {}
        self.era: Era = "legacy"
        self.passed_over: list[JsonObject] = []
        """Messages that came while `request` waited for its own answer."""
        self._bytes = bytearray()
        self._next_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- saying ---------------------------------------------------------------------------------------------------

    def send_bytes(self, data: bytes, *, within: float = WITHIN) -> None:
        """Write exactly these bytes.  A program that does not read them in time is an error, never a hang."""
        if self.process.stdin is None:
            raise NoMessage("there is no standard input")
        descriptor, rest, deadline = self.process.stdin.fileno(), memoryview(data), time.monotonic() + within
        os.set_blocking(descriptor, False)
        while rest:
            if not select.select([], [descriptor], [], max(0.0, deadline - time.monotonic()))[1]:
                raise self._nothing(f"the program did not read {len(rest)} bytes within {within} s")
            rest = rest[os.write(descriptor, rest) :]

    def send(self, message: JsonObject) -> None:
        """Send one message, adding only `jsonrpc` where it is missing."""
        self.send_bytes(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def notify(self, method: str, params: JsonObject | None = None) -> None:
        self.send({"method": method} if params is None else {"method": method, "params": params})

    def start_request(self, method: str, params: JsonObject | None = None, *, meta: JsonObject | None = None) -> int:
        """Send a request and return its id without waiting.  In the modern era the envelope is added."""
        self._next_id += 1
        whole = dict(params or {})
        envelope = {**(self._envelope() if self.era == "modern" else {}), **(meta or {})}
        if envelope:
            whole["_meta"] = {**envelope, **whole.get("_meta", {})}
        self.send({"id": self._next_id, "method": method, "params": whole})
        return self._next_id

    def answer(self, request: str | int, result: JsonObject) -> None:
        """Answer a request of the server."""
        self.send({"id": request, "result": result})

    def _envelope(self) -> JsonObject:
        return {
            PREFIX + "protocolVersion": MODERN,
            PREFIX + "clientInfo": {"name": self.name, "version": "1"},
            PREFIX + "clientCapabilities": self.capabilities,
        }

    # --- hearing --------------------------------------------------------------------------------------------------

    def receive_line(self, *, within: float = WITHIN) -> bytes:
        """The next line, without its end.  Empty means that the program closed its output."""
        if self.process.stdout is None:
            raise NoMessage("there is no standard output")
        descriptor, deadline = self.process.stdout.fileno(), time.monotonic() + within
        searched = 0
        while (end := self._bytes.find(b"\n", searched)) < 0:
            searched = len(self._bytes)
            if searched > MAX_LINE:
                raise self._nothing(f"a line of more than {MAX_LINE} bytes")
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self._nothing(f"no line within {within} s, {searched} bytes of one")
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b""
            self._bytes += piece
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        return line

    def receive(self, *, within: float = WITHIN) -> JsonObject:
        """The next message.

        Raises:
            NoMessage: none came in time, or the program closed its output.
        """
        line = self.receive_line(within=within)
        if not line:
            raise self._nothing("the program closed its output")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise NoMessage(f"a message that is no object: {line[:200]!r}")
        return message

    def answer_to(self, request: int, *, within: float = WITHIN) -> JsonObject:
        """The whole response to a request; what came before it is kept in `passed_over`."""
        deadline = time.monotonic() + within
        while True:
            message = self.receive(within=max(0.0, deadline - time.monotonic()))
            if "method" not in message and message.get("id") == request:
                return message
            self.passed_over.append(message)

    def request(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        within: float = WITHIN,
        meta: JsonObject | None = None,
    ) -> JsonObject:
        """Send a request and return the whole response, result or error."""
        return self.answer_to(self.start_request(method, params, meta=meta), within=within)

    def hears_nothing(self, seconds: float) -> bool:
        """Whether no complete line comes for so long."""
        try:
            line = self.receive_line(within=seconds)
        except NoMessage:
            return True
        self._bytes[:0] = line + b"\n"
        return False

    # --- the usual things -----------------------------------------------------------------------------------------

    def open(self, era: Era = "legacy", *, within: float = 30.0) -> JsonObject:
        """Open the conversation the way that era's clients do; the whole response."""
        self.era = era
        if era == "modern":
            return self.request("server/discover", within=within)
        information = {"name": self.name, "version": "1"}
        opening = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": information}
        response = self.request("initialize", opening, within=within)
        if "result" in response:
            self.notify("notifications/initialized")
        return response

    def tools(self, *, within: float = WITHIN) -> list[JsonObject]:
        """The tools listed on the first page."""
        tools = self.request("tools/list", within=within)["result"]["tools"]
        if not isinstance(tools, list):
            raise NoMessage("tools is no list")
        return tools

    def call(
        self, tool: str, arguments: JsonObject | None = None, *, within: float = 30.0, meta: JsonObject | None = None
    ) -> JsonObject:
        """Call a tool; the whole response."""
        return self.request("tools/call", {"name": tool, "arguments": arguments or {}}, within=within, meta=meta)

    def call_text(self, tool: str, arguments: JsonObject | None = None, *, within: float = 30.0) -> str:
        """Call a tool and return the text of its result, or of its error."""
        response = self.call(tool, arguments, within=within)
        if "error" in response:
            return str(response["error"]["message"])
        return "".join(item.get("text", "") for item in response["result"]["content"])

    # --- the end --------------------------------------------------------------------------------------------------

    def errors(self) -> str:
        """What the program wrote to standard error so far, its last 64 KiB."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), 1 << 16, max(0, size - (1 << 16))).decode(errors="replace")

    def leave(self) -> None:
        """Close the program's standard input, as a client that is done does."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def wait(self, *, within: float = WITHIN) -> int:
        """The exit code, once the program has ended by itself."""
        return self.process.wait(timeout=within)

    def close(self) -> None:
        """Leave, then make sure that the program is gone."""
        self.leave()
        try:
            self.process.wait(timeout=STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._stderr.close()

    def _nothing(self, what: str) -> NoMessage:
        return NoMessage(f"{what} (exit code {self.process.poll()}, standard error: {self.errors()[-2000:]!r})")
