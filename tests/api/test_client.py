"""The person's side of the desk: its words come back, and whatever breaks is a sentence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.api import schema
from broker.api.client import DeskClient
from broker.api.wire import Caller
from broker.errors import DaemonUnreachable, DeskError
from tests.api.test_wire import serving
from tests.waiting import WITHIN, open_descriptors, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_answer_comes_back_as_its_words_and_progress_on_the_way(tmp_path: Path) -> None:
    async def work(caller: Caller, params: schema.Verify) -> schema.Words:
        caller.progress(f"hashing {params.names[0]}")
        return schema.Checks(checks=[schema.Check(name="files")])

    heard: list[str] = []
    async with serving(tmp_path, {"server.verify": work}) as desk, DeskClient(desk.path) as client:
        request = schema.Verify(names=["files"])
        found = await client.ask(schema.VERIFY, request, schema.Checks, progress=heard.append)
        assert [check.name for check in found.checks] == ["files"]
        assert heard == ["hashing files"]
        assert await client.ask(schema.STOP, schema.Nothing(), schema.Nothing) == schema.Nothing()


async def test_a_daemon_that_says_nothing_is_waited_for_so_long_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_caller: Caller, _params: Any) -> schema.Words:
        await asyncio.sleep(3600)
        return schema.Nothing()

    monkeypatch.setattr("broker.api.client.ANSWER_SECONDS", 0.05)
    async with serving(tmp_path, {"stop": hang}) as desk, DeskClient(desk.path) as client:
        async with asyncio.timeout(WITHIN):
            with pytest.raises(DaemonUnreachable, match="said nothing about"):
                await client.ask(schema.STOP, schema.Nothing(), schema.Nothing)


async def test_the_desks_no_comes_back_in_its_own_words(tmp_path: Path) -> None:
    async def refuse(_caller: Caller, _params: Any) -> schema.Words:
        raise DeskError("there is no server files", hint="bulkhead servers", code="unknown")

    async with serving(tmp_path, {"server.remove": refuse}) as desk, DeskClient(desk.path) as client:
        with pytest.raises(DeskError, match="there is no server files") as refused:
            await client.ask(schema.REMOVE, schema.Name(name="files"), schema.Nothing)
        assert (refused.value.hint, refused.value.code) == ("bulkhead servers", "unknown")
        assert await client.ask(schema.STATUS, schema.Nothing(), schema.Nothing) == schema.Nothing()


async def test_a_watch_yields_every_change_until_the_desk_closes(tmp_path: Path) -> None:
    async def watch(caller: Caller, _params: Any) -> schema.Words:
        caller.event(schema.QuestionsChanged(questions=[]))
        caller.event(schema.GrantsChanged(grants=[]))
        await asyncio.sleep(3600)
        return schema.Nothing()

    async with serving(tmp_path, {"watch": watch}) as desk, DeskClient(desk.path) as client:
        events = client.watch()
        seen = [await anext(events) for _ in range(2)]
        await desk.desk.close()
        with pytest.raises(DaemonUnreachable, match="the daemon closed the connection"):
            await anext(events)
        assert [type(event) for event in seen] == [schema.QuestionsChanged, schema.GrantsChanged]


async def test_no_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="no daemon answers at") as refused:
        async with DeskClient(tmp_path / "control.sock"):
            raise AssertionError
    assert refused.value.hint == "start it with: bulkhead up"


@asynccontextmanager
async def strange_daemon(path: Path, reply: Callable[[bytes], bytes]) -> AsyncIterator[None]:
    """Answers one line in a way no daemon of ours does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(await reader.readline()))
        writer.close()

    server = await asyncio.start_unix_server(serve, path=str(path))
    try:
        yield
    finally:
        server.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "the daemon closed the connection"),
        (b'{"id": 1, "resu', "the daemon broke off in the middle of its answer"),
        (b'{"id": 2, "result": {}}\n', "the daemon answered another question"),
        (b"[]\n", "the daemon answered another question"),
        (b'{"id": 1, "result": {"surprise": 1}}\n', "the daemon speaks in words this program does not know"),
        (b'{"id": 1}\n', "the daemon speaks in words this program does not know"),
    ],
)
async def test_a_daemon_that_breaks_off_or_speaks_strangely_is_unreachable_and_no_traceback(
    tmp_path: Path, said: bytes, why: str
) -> None:
    before = open_descriptors()
    path = tmp_path / "control.sock"
    async with strange_daemon(path, lambda _: said):
        with pytest.raises(DaemonUnreachable, match=why):
            async with asyncio.timeout(WITHIN), DeskClient(path) as client:
                await client.ask(schema.STOP, schema.Nothing(), schema.Nothing)
    await until(lambda: open_descriptors() == before)


async def test_strange_news_end_a_watch(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    news = b'{"id": 1, "event": {"event": "from the future"}}\n'
    async with strange_daemon(path, lambda _: news), asyncio.timeout(WITHIN), DeskClient(path) as client:
        with pytest.raises(DaemonUnreachable, match="in words this program does not know"):
            await anext(client.watch())


async def test_a_client_that_was_never_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="the desk is not open"):
        await DeskClient(tmp_path / "control.sock").ask(schema.STOP, schema.Nothing(), schema.Nothing)
