"""The door: a hello with two descriptors or nothing, and nothing of a refused shim is kept."""

import array
import asyncio
import errno
import gc
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from broker.api import door as module
from broker.api.door import Door
from broker.api.sockets import listen
from broker.errors import ConfigError
from broker.model import Peer
from broker.sessions import Hello, Visit
from tests.waiting import WITHIN, open_descriptors, turns, until

SECRET: Final = "5" * 64
HELLO: Final = b"\0".join((b"bulkhead 1", b"files", b"cursor", SECRET.encode(), b"/home/me")) + b"\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Hall:
    """What stands behind the door: links that the test ends."""

    path: Path
    problem: Exception | None = None
    guests: list[tuple[Hello, Peer]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    ended: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    left: bool = False

    def open_link(self, hello: Hello, peer: Peer, descriptors: tuple[int, int]) -> Visit:
        if self.problem is not None:
            raise self.problem
        self.guests.append((hello, peer))
        self.held += descriptors
        return Visit("link-1", self.ended, self.leave)

    def leave(self) -> None:
        self.left = True
        self.end("")

    def end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def let_go(self) -> None:
        while self.held:
            os.close(self.held.pop())


@asynccontextmanager
async def standing(tmp_path: Path, problem: Exception | None = None) -> AsyncIterator[Hall]:
    before, tasks = open_descriptors(), asyncio.all_tasks()
    hall = Hall(tmp_path / "run" / "connect.sock", problem)
    door = Door(hall.open_link)
    door.open(listen(hall.path))
    try:
        yield hall
    finally:
        hall.end("")
        async with asyncio.timeout(WITHIN):
            await door.close()
        hall.let_go()
    await turns()
    assert asyncio.all_tasks() - tasks == set()
    assert open_descriptors() == before


class Shim:
    """A shim in the test's hands."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.connect(str(path))

    def say(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._socket.sendmsg([data], extra)

    async def hear(self) -> bytes:
        """One line; empty if the door was shut."""
        said = b""
        async with asyncio.timeout(WITHIN):
            while not said.endswith(b"\n"):
                try:
                    piece = await asyncio.get_running_loop().sock_recv(self._socket, 1)
                except ConnectionResetError:
                    return b""
                if not piece:
                    return said
                said += piece
        return said

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def shim(hall: Hall) -> AsyncIterator[tuple[Shim, list[int]]]:
    """A shim with two pipes to hand over: the ends a client's server would have."""
    made = Shim(hall.path)
    read, speak = os.pipe()
    hear, write = os.pipe()
    ends = [read, write]
    try:
        yield made, ends
    finally:
        made.close()
        for descriptor in (read, speak, hear, write):
            os.close(descriptor)


async def test_a_shim_that_says_hello_gets_a_link_and_at_the_end_its_reason(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO, ends)
        assert await it.hear() == b"ok link-1\n"
        ((hello, peer),) = hall.guests
        assert hello == Hello("files", "cursor", SECRET, "/home/me")
        assert (peer.pid, peer.uid, peer.cwd) == (os.getpid(), os.getuid(), "/home/me")
        assert not any(os.get_inheritable(descriptor) for descriptor in hall.held)
        hall.end("the disk is full\nreally")
        assert await it.hear() == b"end 1 the disk is full really\n"
        assert await it.hear() == b""


async def test_a_clients_own_goodbye_is_an_end_without_a_reason(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO, ends)
        await it.hear()
        hall.end("")
        assert await it.hear() == b"end 0 \n"


async def test_a_client_that_kills_its_shim_ends_the_link(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO, ends)
        await it.hear()
        it.close()
        await until(lambda: hall.left)


async def test_a_client_that_kills_its_shim_before_it_heard_our_answer_ends_the_link_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel then says that the connection was reset."""
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO, ends)
        await until(lambda: hall.guests)
        it.close()
        await until(lambda: hall.left)
    gc.collect()
    assert caplog.records == []


async def test_a_hello_that_comes_in_pieces_is_one(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO[:5], ends)
        await turns(20)
        for byte in HELLO[5:]:
            it.say(bytes([byte]))
            await turns(1)
        assert await it.hear() == b"ok link-1\n"


@pytest.mark.parametrize(
    ("data", "handed", "why"),
    [
        (HELLO, 0, b"did not hand over two pipes or sockets"),
        (HELLO, 1, b"did not hand over two pipes or sockets"),
        (HELLO, 3, b"did not say hello in one line with two descriptors"),
        (HELLO, 9, b"did not say hello in one line with two descriptors"),
        (b"GET / HTTP/1.1\n", 2, b"speaks another language"),
        (HELLO.replace(b"bulkhead 1", b"bulkhead 2"), 2, b"speaks another language"),
        (HELLO.replace(b"\0cursor", b""), 2, b"speaks another language"),
        (HELLO.replace(b"\n", b"\0more\n"), 2, b"speaks another language"),
        (b"\n", 2, b"speaks another language"),
        (b"\xff\xfe\0\n", 2, b"speaks another language"),
        (b"x" * 9000, 2, b"did not say hello in one line"),
    ],
)
async def test_a_wrong_hello_is_told_and_leaves_nothing_open(
    tmp_path: Path, data: bytes, handed: int, why: bytes
) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        before = open_descriptors()
        it.say(data, (ends * 5)[:handed])
        answer = await it.hear()
        assert answer.startswith(b"no the shim ")
        assert why in answer
        assert b"\t" in answer  # and what to do
        assert await it.hear() == b""
        await until(lambda: open_descriptors() == before)  # the connection is closed, and all that was handed over
        assert hall.guests == []


@pytest.mark.parametrize("kind", ["file", "null device", "folder"])
async def test_what_cannot_be_waited_for_is_not_taken(tmp_path: Path, kind: str) -> None:
    paths = {"file": Path(__file__), "null device": Path(os.devnull), "folder": tmp_path}
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        odd = os.open(paths[kind], os.O_RDONLY)
        it.say(HELLO, [ends[0], odd])
        os.close(odd)
        assert b"two pipes or sockets" in await it.hear()
        assert hall.guests == []


async def test_more_words_with_more_descriptors_are_too_many(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO[:5], ends)
        await turns(20)
        it.say(HELLO[5:], ends)
        assert b"two descriptors" in await it.hear()


async def test_a_shim_that_never_finishes_its_hello_is_told_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELLO_SECONDS", 0.1)
    async with standing(tmp_path) as hall, shim(hall) as (slow, ends), shim(hall) as (quick, others):
        slow.say(HELLO[:-1], ends)
        quick.say(HELLO, others)
        assert await quick.hear() == b"ok link-1\n"
        assert await slow.hear() == b"no the shim did not say hello in time\tbulkhead status\n"


async def test_a_shim_that_hangs_up_before_its_hello_is_forgotten(tmp_path: Path) -> None:
    async with standing(tmp_path) as hall, shim(hall) as (it, ends):
        it.say(HELLO[:-1], ends)
        it.close()
        await turns(50)
        assert hall.guests == []


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ConfigError("files is switched off", hint="bulkhead enable files"),
         b"no files is switched off\tbulkhead enable files\n"),
        (ConfigError("no hint\nhere"), b"no no hint here\tbulkhead status\n"),
        (KeyError("secret text"), b"no the link could not be opened inside the daemon: KeyError\tbulkhead status\n"),
    ],
)  # fmt: skip
async def test_a_refused_link_says_why_and_its_descriptors_are_closed(
    tmp_path: Path, problem: Exception, said: bytes
) -> None:
    async with standing(tmp_path, problem) as hall, shim(hall) as (it, ends):
        before = open_descriptors()
        it.say(HELLO, ends)
        assert await it.hear() == said
        await until(lambda: open_descriptors() == before)


async def test_a_door_that_closes_waits_for_the_ends_and_tells_them(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "run" / "connect.sock")
    door = Door(hall.open_link)
    door.open(listen(hall.path))
    async with shim(hall) as (it, ends):
        it.say(HELLO, ends)
        await it.hear()
        closing = asyncio.ensure_future(door.close())
        await turns()
        hall.end("the daemon stops")
        await closing
        assert await it.hear() == b"end 1 the daemon stops\n"
        with pytest.raises(OSError, match="refused"):
            Shim(hall.path)
    hall.let_go()


async def test_a_door_that_cannot_wait_longer_closes_what_was_handed_over_and_leaves_the_links_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELLO_SECONDS", 0.1)
    hall = Hall(tmp_path / "run" / "connect.sock")
    door = Door(hall.open_link)
    door.open(listen(hall.path))
    async with shim(hall) as (half, ends), shim(hall) as (whole, others):
        half.say(HELLO[:-1], ends)
        whole.say(HELLO, others)
        await whole.hear()
        before = open_descriptors()
        async with asyncio.timeout(WITHIN):
            await door.close()
        assert not hall.ended.cancelled()
        assert open_descriptors() <= before - 4  # listener, two connections, and the pipes of the half hello
    hall.let_go()


class OutOfDescriptors(socket.socket):
    """A listener in a process that has used up its descriptors, for a while."""

    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        OutOfDescriptors.tries += 1
        if OutOfDescriptors.tries <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


async def test_out_of_descriptors_the_door_pauses_instead_of_spinning_and_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)
    OutOfDescriptors.tries = 0
    hall = Hall(tmp_path / "run" / "connect.sock")
    plain = listen(hall.path)
    listener = OutOfDescriptors(fileno=plain.detach())
    door = Door(hall.open_link)
    door.open(listener)
    async with shim(hall) as (it, ends):
        it.say(HELLO, ends)
        await turns(100)
        assert OutOfDescriptors.tries == 1
        assert await it.hear() == b"ok link-1\n"
        hall.end("")
        await door.close()
    hall.let_go()


async def test_no_more_links_than_the_bound_are_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINKS", 1)
    async with standing(tmp_path) as hall, shim(hall) as (first, ends):
        first.say(HELLO, ends)
        await first.hear()
        async with shim(hall) as (second, _):
            assert await second.hear() == b""
