"""The front desk: every line is validated, its access checked, and one caller's fault is nobody else's."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import schema, wire
from broker.api.sockets import listen
from broker.api.wire import Caller, FrontDesk, Gate, Handler, Page
from broker.errors import AuditError, ConfigError, DeskError
from broker.model import Peer
from broker.telemetry.scrape import Readings
from tests.waiting import WITHIN, open_descriptors, turns, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def nothing(_caller: Caller, _params: Any) -> schema.Words:
    return schema.Nothing()


def open_gate(_peer: Peer, _route: schema.Route) -> None:
    """Everybody may."""


class Window:
    """One caller's connection, raw."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        self.socket.connect(str(path))
        self._heard = b""

    async def say(self, data: bytes | dict[str, Any]) -> None:
        line = data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n"
        async with asyncio.timeout(WITHIN):
            await asyncio.get_running_loop().sock_sendall(self.socket, line)

    async def hear(self) -> dict[str, Any] | None:
        """The next line; None if the desk hung up."""
        async with asyncio.timeout(WITHIN):
            while b"\n" not in self._heard:
                try:
                    piece = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                except ConnectionResetError:
                    return None
                if not piece:
                    return None
                self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, method: str, number: int = 1, **params: Any) -> dict[str, Any] | None:
        await self.say({"v": 1, "id": number, "method": method, "params": params})
        return await self.hear()

    def close(self) -> None:
        self.socket.close()


class Desk:
    """A front desk with handlers of the test's."""

    def __init__(self, path: Path, desk: FrontDesk) -> None:
        self.path = path
        self.desk = desk
        self.windows: list[Window] = []

    def window(self) -> Window:
        self.windows.append(Window(self.path))
        return self.windows[-1]


@asynccontextmanager
async def serving(
    tmp_path: Path, handlers: Mapping[str, Handler] | None = None, gate: Gate = open_gate, page: Page | None = None
) -> AsyncIterator[Desk]:
    before, tasks = open_descriptors(), asyncio.all_tasks()
    table: dict[str, Handler] = {**dict.fromkeys(schema.ROUTES, nothing), **(handlers or {})}
    path = tmp_path / "run" / "control.sock"
    front = FrontDesk(table, gate, page)
    await front.open(listen(path))
    desk = Desk(path, front)
    try:
        yield desk
    finally:
        async with asyncio.timeout(WITHIN):
            await front.close()
        for window in desk.windows:
            window.close()
    await turns(20)
    await until(lambda: asyncio.all_tasks() - tasks == set())
    await until(lambda: open_descriptors() == before)


def example(model: type[schema.Words]) -> dict[str, Any]:
    """The least that a route's parameters take."""
    tool = {"name": "x", "labels": ["P"], "level": "H", "reason": "x"}
    texts = {str: "x", int: 1024, bool: True, list[str]: ["x"], dict[str, list[str]]: {"x": ["x"]},
             list[schema.ToolLabels]: [tool]}  # fmt: skip
    return {name: texts[field.annotation] for name, field in model.model_fields.items() if field.is_required()}  # type: ignore[index]


# --- the language ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(schema.ROUTES))
async def test_every_route_can_be_asked_and_is_answered_under_its_number(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path) as desk:
        answer = await desk.window().ask(method, 7, **example(schema.ROUTES[method].params))
        assert answer == {"id": 7, "result": {}}


@pytest.mark.parametrize("method", list(schema.ROUTES))
async def test_a_mistyped_parameter_is_refused_by_name_and_reaches_no_handler(tmp_path: Path, method: str) -> None:
    reached: list[str] = []

    async def note(_caller: Caller, _params: Any) -> schema.Words:
        reached.append(method)
        return schema.Nothing()

    async with serving(tmp_path, {method: note}) as desk:
        answer = await desk.window().ask(method, 7, **example(schema.ROUTES[method].params), alow=True)
        assert answer is not None
        assert (answer["id"], answer["error"]["code"]) == (7, "usage")
        assert "alow" in answer["error"]["what"]
        assert reached == []


WRONG: Final[dict[str, bytes]] = {
    "no JSON": b"hello\n",
    "not UTF-8": b'{"v": 1, "id": 1, "method": "\xff"}\n',
    "no object": b"[1]\n",
    "empty": b"\n",
    "nested without end": b'{"v": 1, "id": 1, "method": "status", "params": ' + b"[" * 100_000 + b"\n",
    "an endless number": b'{"v": 1, "id": 1e400, "method": "status"}\n',
    "a huge number": b'{"v": 1, "id": ' + b"9" * 10_000 + b', "method": "status"}\n',
    "no number": b'{"v": 1, "method": "status"}\n',
    "a number that is text": b'{"v": 1, "id": "1", "method": "status"}\n',
    "a number that is true": b'{"v": 1, "id": true, "method": "status"}\n',
    "no method": b'{"v": 1, "id": 1}\n',
    "an unknown method": b'{"v": 1, "id": 1, "method": "status.all"}\n',
    "a method that is none": b'{"v": 1, "id": 1, "method": ["status"]}\n',
    "parameters that are a list": b'{"v": 1, "id": 1, "method": "status", "params": []}\n',
    "no version": b'{"id": 1, "method": "status"}\n',
    "a mistyped key": b'{"v": 1, "id": 1, "method": "policy.use", "parms": {"name": "strict"}}\n',
    "a key too many": b'{"v": 1, "id": 1, "method": "status", "params": {}, "force": true}\n',
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_not_in_the_desks_language_is_refused_and_the_window_stays_open(
    tmp_path: Path, wrong: str
) -> None:
    async with serving(tmp_path) as desk:
        window = desk.window()
        await window.say(WRONG[wrong])
        refusal = await window.hear()
        assert refusal is not None
        assert refusal["error"]["code"] == "usage"
        assert len(json.dumps(refusal)) < 1000  # nothing of the message comes back
        assert await window.ask("status", 2) == {"id": 2, "result": {}}


@given(st.binary(max_size=300).filter(lambda data: b"\n" not in data))
def test_no_bytes_at_all_end_the_desk(data: bytes) -> None:
    with pytest.raises(DeskError):
        wire._understood(data)
    assert isinstance(wire._number(data), int)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1] * 50])
async def test_another_version_is_told_as_such(tmp_path: Path, version: object) -> None:
    async with serving(tmp_path) as desk:
        window = desk.window()
        await window.say({"v": version, "id": 3, "method": "later.method", "new": 1})
        refusal = await window.hear()
        assert refusal is not None
        assert (refusal["id"], refusal["error"]["code"]) == (3, "version")
        assert refusal["error"]["hint"] == "restart the daemon: bulkhead down"


async def test_a_line_without_end_is_refused_and_the_window_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_REQUEST", 1000)
    async with serving(tmp_path) as desk:
        window = desk.window()
        await window.say(b"x" * 2500)
        refusal = await window.hear()
        assert refusal is not None
        assert refusal["error"]["what"] == "the request is too long"
        assert await window.hear() is None
        assert await desk.window().ask("status") == {"id": 1, "result": {}}


# --- handlers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "code", "what"),
    [
        (DeskError("no such question", hint="look", code="unknown"), "unknown", "no such question"),
        (ConfigError("files is not pinned", hint="look"), "refused", "files is not pinned"),
        (KeyError("secret text"), "internal", "status failed inside the daemon: KeyError"),
        (AssertionError("secret text"), "internal", "status failed inside the daemon: AssertionError"),
        (RecursionError(), "internal", "status failed inside the daemon: RecursionError"),
    ],
)
async def test_a_handler_that_fails_is_told_and_the_desk_lives(
    tmp_path: Path, problem: Exception, code: str, what: str
) -> None:
    async def fail(_caller: Caller, _params: Any) -> schema.Words:
        raise problem

    async with serving(tmp_path, {"status": fail}) as desk:
        window = desk.window()
        refusal = await window.ask("status", 5)
        assert refusal is not None
        assert (refusal["id"], refusal["error"]["code"], refusal["error"]["what"]) == (5, code, what)
        assert "secret text" not in json.dumps(refusal)
        assert await window.ask("servers", 6) == {"id": 6, "result": {}}


async def test_an_answer_that_cannot_be_said_is_an_internal_error(tmp_path: Path) -> None:
    async def odd(_caller: Caller, _params: Any) -> schema.Words:
        return schema.Receipts(receipts=[{"body": object()}])

    async with serving(tmp_path, {"audit": odd}) as desk:
        refusal = await desk.window().ask("audit")
        assert refusal is not None
        assert refusal["error"]["code"] == "internal"


async def test_progress_comes_before_the_answer_under_the_same_number(tmp_path: Path) -> None:
    async def work(caller: Caller, _params: Any) -> schema.Words:
        caller.progress("hashing files")
        return schema.Checks(checks=[])

    async with serving(tmp_path, {"server.verify": work}) as desk:
        window = desk.window()
        assert await window.ask("server.verify", 9) == {
            "id": 9,
            "event": {"event": "progress", "text": "hashing files"},
        }
        answer = await window.hear()
        assert answer is not None
        assert answer["id"] == 9
        assert answer["result"]["checks"] == []


async def test_slow_work_at_one_window_keeps_no_other_waiting(tmp_path: Path) -> None:
    hurry = asyncio.Event()

    async def slow(_caller: Caller, _params: Any) -> schema.Words:
        await hurry.wait()
        return schema.Nothing()

    async with serving(tmp_path, {"status": slow}) as desk:
        patient = desk.window()
        await patient.say({"v": 1, "id": 1, "method": "status"})
        assert await desk.window().ask("servers", 2) == {"id": 2, "result": {}}
        hurry.set()
        assert await patient.hear() == {"id": 1, "result": {}}


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [pytest.param(route, id=route.method) for route in schema.ROUTES.values()])
@pytest.mark.parametrize("problem", [DeskError("only a person may do this", code="presence"), AuditError("full")])
async def test_the_gate_is_asked_before_any_handler_and_its_no_is_final(
    tmp_path: Path, route: schema.Route, problem: Exception
) -> None:
    order: list[str] = []

    def gate(peer: Peer, asked: schema.Route) -> None:
        order.append(asked.method)
        assert peer.pid > 0
        raise problem

    async def reached(_caller: Caller, _params: Any) -> schema.Words:
        order.append("handler")
        return schema.Nothing()

    async with serving(tmp_path, {route.method: reached}, gate) as desk:
        refusal = await desk.window().ask(route.method, **example(route.params))
        assert refusal is not None
        assert refusal["error"]["what"] == str(problem)
        assert order == [route.method]


def test_a_desk_that_lacks_a_route_or_has_one_too_many_does_not_open() -> None:
    table: dict[str, Handler] = dict.fromkeys(schema.ROUTES, nothing)
    with pytest.raises(ConfigError, match="differ in: extra"):
        FrontDesk({**table, "extra": nothing}, open_gate)
    del table["deny"]
    with pytest.raises(ConfigError, match="differ in: deny"):
        FrontDesk(table, open_gate)


# --- watchers and callers that do not read --------------------------------------------------------------------------


def watching(say: Callable[[Caller], Awaitable[None]]) -> Handler:
    async def watch(caller: Caller, _params: Any) -> schema.Words:
        await say(caller)
        return schema.Nothing()

    return watch


async def test_a_watcher_that_hangs_up_ends_its_watch(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def for_ever(caller: Caller) -> None:
        caller.event(schema.QuestionsChanged(questions=[]))
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with serving(tmp_path, {"watch": watching(for_ever)}) as desk:
        window = desk.window()
        assert await window.ask("watch", 4) == {"id": 4, "event": {"event": "questions", "questions": []}}
        window.close()
        async with asyncio.timeout(WITHIN):
            await ended.wait()


async def test_a_watcher_that_does_not_read_is_dropped_before_it_costs_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "WATCH_BACKLOG", 1_000_000)
    said = [0]

    async def flood(caller: Caller) -> None:
        while True:
            caller.event(schema.ReceiptsAdded(receipts=[{"text": "x" * 100_000}]))
            said[0] += 1
            await asyncio.sleep(0)

    async with serving(tmp_path, {"watch": watching(flood)}) as desk:
        window = desk.window()
        await window.say({"v": 1, "id": 1, "method": "watch"})
        await until(lambda: not desk.desk._callers and said[0])
        assert said[0] < 100
        assert await desk.window().ask("status") == {"id": 1, "result": {}}


async def test_a_caller_that_does_not_take_its_answer_is_dropped_and_its_descriptor_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SEND_SECONDS", 0.1)

    async def long(_caller: Caller, _params: Any) -> schema.Words:
        return schema.Receipts(receipts=[{"text": "x" * 5_000_000}])

    async with serving(tmp_path, {"audit": long}) as desk:
        before = open_descriptors()
        windows = [desk.window() for _ in range(3)]
        for window in windows:
            await window.say({"v": 1, "id": 1, "method": "audit"})
        await until(lambda: open_descriptors() == before + 3)  # their own ends are all that is left
        assert not desk.desk._callers


async def test_no_more_windows_than_the_bound_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_CALLERS", 2)
    async with serving(tmp_path) as desk:
        first = [desk.window() for _ in range(2)]
        for window in first:
            assert await window.ask("status")
        assert await desk.window().hear() is None
        first[0].close()
        await until(lambda: len(desk.desk._callers) == 1)
        assert await desk.window().ask("status") == {"id": 1, "result": {}}


async def test_closing_hangs_up_on_everybody_and_stops_their_work(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def slow(_caller: Caller, _params: Any) -> schema.Words:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        return schema.Nothing()

    async with serving(tmp_path, {"status": slow}) as desk:
        busy, idle = desk.window(), desk.window()
        await busy.say({"v": 1, "id": 1, "method": "status"})
        assert await idle.ask("servers") == {"id": 1, "result": {}}
        await desk.desk.close()
        assert (await busy.hear(), await idle.hear()) == (None, None)
        await until(cancelled.is_set)


async def page_of(window: Window) -> bytes:
    """Everything up to the end of the connection."""
    found = b""
    async with asyncio.timeout(WITHIN):
        while piece := await asyncio.get_running_loop().sock_recv(window.socket, 65536):
            found += piece
    return found


async def test_numbers_and_health_are_read_by_http_from_the_socket_too_by_whoever_may_see_the_status(
    tmp_path: Path,
) -> None:
    failures, asked = [""], []
    readings = Readings(lambda: "bulkhead_links 3\n", lambda: failures[0])

    def gate(peer: Peer, route: schema.Route) -> None:
        asked.append(route.method)
        if len(asked) > 3:
            raise DeskError("this desk belongs to another user", code="presence")

    async with serving(tmp_path, gate=gate, page=readings.answer) as desk:
        said: list[str] = []
        for line in (
            "GET /metrics HTTP/1.1",
            "GET /healthz HTTP/1.0",
            "GET /healthz HTTP/1.1",
            "GET /metrics HTTP/1.1",
        ):
            failures[0] = "" if len(said) < 2 else "the disk is full"
            window = desk.window()
            await window.say(f"{line}\r\nHost: x\r\n\r\n".encode())
            said.append((await page_of(window)).decode())
    assert said[0].startswith("HTTP/1.1 200") and said[0].endswith("\r\n\r\nbulkhead_links 3\n")
    assert said[1].endswith("ok\n") and said[2].startswith("HTTP/1.1 503") and said[2].endswith("the disk is full\n")
    assert said[3] == "" and asked == ["status"] * 4, "another user reads nothing"
