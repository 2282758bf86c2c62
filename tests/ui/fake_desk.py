"""A front desk without a daemon: a real unix socket that speaks `broker.api.schema`, and answers as it is told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from broker.api import schema

WAIT = 60.0  # one thing takes a few hundred milliseconds, and many times that on a busy machine

BY_ITSELF = ("watch", "tokens", "secrets", "policy.show")

Answers = Callable[[schema.Words], schema.Words]


BALANCED = schema.PolicyView(
    name="balanced", text="version = 1\n", description="the default", holds=True, shipped=["balanced", "strict"],
    rules=[schema.RuleView(name="all", effect="ask", about="* → *: tools/call *", reason="one rule")],
)  # fmt: skip


class Refusal(Exception):
    """What the desk says instead of an answer."""

    def __init__(self, code: str, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.hint = hint


class FakeDesk:
    """Serves one snapshot and then what the test says; keeps every request that was made."""

    def __init__(self, socket: Path, snapshot: schema.Snapshot) -> None:
        self.socket = socket
        self.snapshot = snapshot
        self.asked: list[tuple[str, schema.Words]] = []
        self.answers: dict[str, Answers] = defaultdict(lambda: lambda _params: schema.Nothing())
        self.answers["tokens"] = lambda _params: schema.TokenList(tokens=[])
        self.answers["secrets"] = lambda _params: schema.SecretList(vault=schema.VaultView(where="file", lasts=True))
        self.answers["policy.show"] = lambda _params: BALANCED
        self.open_for_answers = asyncio.Event()
        self.open_for_answers.set()
        self._watchers: dict[asyncio.StreamWriter, int] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, str(self.socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.go_away()

    async def go_away(self) -> None:
        """Close every connection, as a daemon that ends does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.close()
        self._watchers.clear()
        self.socket.unlink(missing_ok=True)

    async def say(self, event: schema.WatchEvent) -> None:
        """Tell every watcher."""
        for writer, number in list(self._watchers.items()):
            await _write(writer, {"id": number, "event": event.model_dump(mode="json")})

    async def say_raw(self, line: bytes) -> None:
        for writer in list(self._watchers):
            writer.write(line)
            await writer.drain()

    async def watched(self, times: int = 1) -> None:
        """Wait until that many watchers were served."""
        await self._until(lambda: len([method for method, _ in self.asked if method == "watch"]) >= times)

    async def asked_for(self, route: schema.Route, times: int = 1) -> list[schema.Words]:
        """Wait until something was asked `times` times; what was asked."""

        def found() -> list[schema.Words]:
            return [params for method, params in self.asked if method == route.method]

        await self._until(lambda: len(found()) >= times)
        return found()

    @property
    def answered(self) -> list[schema.Words]:
        """Every request but those that a place makes by itself when it is opened, in order."""
        return [params for method, params in self.asked if method not in BY_ITSELF]

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT), self._changed:
            await self._changed.wait_for(condition)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                await self._answer(writer, json.loads(line))
        except ConnectionError:
            pass  # the screen left while we spoke
        finally:
            self._writers.discard(writer)
            self._watchers.pop(writer, None)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, request: dict[str, Any]) -> None:
        route = schema.ROUTES[request["method"]]
        params = route.params.model_validate(request["params"])
        async with self._changed:
            self.asked.append((route.method, params))
            self._changed.notify_all()
        if route is schema.WATCH:
            self._watchers[writer] = request["id"]
            await _write(writer, {"id": request["id"], "event": self.snapshot.model_dump(mode="json")})
            return
        await self.open_for_answers.wait()
        try:
            result = self.answers[route.method](params)
        except Refusal as refusal:
            error = {"code": refusal.code, "what": str(refusal), "hint": refusal.hint}
            await _write(writer, {"id": request["id"], "error": error})
        else:
            await _write(writer, {"id": request["id"], "result": result.model_dump(mode="json")})


async def _write(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()
