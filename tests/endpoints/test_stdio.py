"""Lines on two descriptors: whole, bounded, and nothing left open."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.endpoints.stdio import HIGH_WATER, LineEndpoint, can_be_polled, reopened
from tests.waiting import WITHIN, open_descriptors, turns, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Peer:
    """An endpoint, what it told, and the far ends of its two pipes."""

    def __init__(self) -> None:
        read, self.speak = os.pipe()
        self.hear, write = os.pipe()
        self.arrived = bytearray()
        self.closed = asyncio.Event()
        self.times_closed = 0
        self.drained = asyncio.Event()
        self.endpoint = LineEndpoint(
            read, write, on_bytes=self.arrived.extend, on_closed=self._closed, on_drained=self.drained.set
        )
        self.endpoint.start()

    def stuck(self) -> float | None:
        return self.endpoint.stuck_since

    def _closed(self) -> None:
        self.times_closed += 1
        self.closed.set()

    async def take(self, size: int) -> bytes:
        """Read so many bytes of what was sent, however they come."""
        os.set_blocking(self.hear, False)
        taken = b""
        async with asyncio.timeout(WITHIN):
            while len(taken) < size:
                try:
                    piece = os.read(self.hear, size - len(taken))
                except BlockingIOError:
                    await asyncio.sleep(0)
                    continue
                if not piece:
                    break
                taken += piece
        return taken

    def hang_up(self, *ends: int) -> None:
        for end in ends or (self.speak, self.hear):
            with contextlib.suppress(OSError):
                os.close(end)


@contextlib.contextmanager
def peer() -> Iterator[Peer]:
    before = open_descriptors()
    made = Peer()
    try:
        yield made
    finally:
        made.endpoint.close()
        made.endpoint.close()  # idempotent
        made.hang_up()
    assert open_descriptors() == before


async def wait(event: asyncio.Event) -> None:
    async with asyncio.timeout(WITHIN):
        await event.wait()


async def test_what_the_peer_says_arrives_and_its_end_is_told_once() -> None:
    with peer() as it:
        os.write(it.speak, b"one\ntwo\n")
        os.close(it.speak)
        await wait(it.closed)
        await turns()
        assert (bytes(it.arrived), it.times_closed) == (b"one\ntwo\n", 1)
        assert not it.endpoint.broken


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 150_000), max_size=12), st.integers(5_000, 100_000))
def test_however_sends_are_cut_and_taken_every_byte_arrives_in_order(sizes: list[int], bite: int) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    whole = b"".join(pieces)

    async def play() -> bytes:
        with peer() as it:
            for piece in pieces:
                it.endpoint.send(piece)
            taken = b""
            while len(taken) < len(whole):
                taken += await it.take(min(bite, len(whole) - len(taken)))
            if it.endpoint.waiting:
                await wait(it.drained)
            assert it.stuck() is None
            return taken

    assert asyncio.run(play()) == whole


async def test_a_peer_that_never_reads_is_seen_to_be_stuck_and_holds_nobody_up() -> None:
    with peer() as it:
        assert it.stuck() is None
        began = asyncio.get_running_loop().time()
        it.endpoint.send(b"x" * (HIGH_WATER + 2 * 65536))
        assert it.endpoint.congested
        stuck = it.stuck()
        assert stuck is not None
        assert stuck >= began
        it.endpoint.send(b"more")
        await turns()
        assert it.stuck() == stuck  # new words do not make it younger
        assert not it.drained.is_set()


async def test_a_peer_that_reads_slowly_is_not_stuck() -> None:
    with peer() as it:
        it.endpoint.send(b"x" * 1_000_000)
        first = it.stuck()
        await it.take(200_000)
        await until(lambda: it.endpoint.waiting <= 900_000)
        assert first is not None
        later = it.stuck()
        assert later is not None
        assert later > first


async def test_a_peer_that_closed_its_input_is_told_as_gone_and_gets_nothing_more() -> None:
    with peer() as it:
        it.hang_up(it.hear)
        it.endpoint.send(b"lost")
        assert it.times_closed == 0  # told from the loop, never from inside `send`
        await wait(it.closed)
        assert it.endpoint.broken
        it.endpoint.send(b"lost too")
        os.write(it.speak, b"unheard")
        await turns()
        assert (it.times_closed, bytes(it.arrived), it.endpoint.waiting) == (1, b"", 0)


async def test_a_peer_that_goes_while_something_waits_for_it_leaves_nothing_waiting() -> None:
    with peer() as it:
        it.endpoint.send(b"x" * 1_000_000)
        it.hang_up()
        await wait(it.closed)
        await turns()
        assert (it.times_closed, it.endpoint.waiting, it.stuck()) == (1, 0, None)


async def test_an_ended_peer_may_still_read_what_it_waits_for() -> None:
    with peer() as it:
        os.close(it.speak)
        await wait(it.closed)
        it.endpoint.send(b"y" * 300_000)
        assert len(await it.take(300_000)) == 300_000
        await wait(it.drained)
        assert (it.times_closed, it.endpoint.broken) == (1, False)


async def test_a_peer_that_nobody_reads_for_is_known_without_a_word_to_it() -> None:
    with peer() as it:
        it.hang_up(it.speak)
        await wait(it.closed)
        assert not it.endpoint.deserted
        it.hang_up(it.hear)
        assert (it.endpoint.deserted, it.endpoint.broken) == (True, False)


async def test_closing_tells_nobody_even_when_the_end_was_on_its_way() -> None:
    with peer() as it:
        it.hang_up(it.hear)
        it.endpoint.send(b"lost")
        it.endpoint.close()
        await turns()
        assert it.times_closed == 0


async def test_nothing_is_sent_or_read_after_closing() -> None:
    with peer() as it:
        it.endpoint.close()
        it.endpoint.send(b"never")
        it.endpoint.resume_reading()
        with pytest.raises(BrokenPipeError):
            os.write(it.speak, b"unheard")
        await turns()
        assert (bytes(it.arrived), await it.take(10), it.times_closed) == (b"", b"", 0)


async def test_a_closed_endpoint_never_writes_to_whoever_got_its_number() -> None:
    """Descriptor numbers are given away again at once."""
    with peer() as it:
        it.endpoint.send(b"x" * 200_000)
        it.endpoint.close()
        theirs = [os.pipe() for _ in range(3)]
        try:
            it.endpoint.send(b"secret")
            await turns()
            for read, _ in theirs:
                os.set_blocking(read, False)
                with pytest.raises(BlockingIOError):
                    os.read(read, 10)
        finally:
            for ends in theirs:
                for end in ends:
                    os.close(end)


async def test_reading_stops_while_paused_and_goes_on_after() -> None:
    with peer() as it:
        it.endpoint.pause_reading()
        it.endpoint.pause_reading()
        os.write(it.speak, b"later")
        await turns()
        assert bytes(it.arrived) == b""
        it.endpoint.resume_reading()
        it.endpoint.resume_reading()
        await until(lambda: it.arrived)
        assert bytes(it.arrived) == b"later"


async def test_an_end_of_a_paused_peer_is_told_once_it_is_listened_to() -> None:
    with peer() as it:
        it.endpoint.pause_reading()
        os.write(it.speak, b"last")
        os.close(it.speak)
        await turns()
        assert it.times_closed == 0
        it.endpoint.resume_reading()
        await wait(it.closed)
        assert bytes(it.arrived) == b"last"


async def test_a_socket_serves_both_ways_through_two_descriptors() -> None:
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    heard = bytearray()
    endpoint = LineEndpoint(
        os.dup(ours.fileno()), ours.detach(), on_bytes=heard.extend, on_closed=lambda: None, on_drained=lambda: None
    )
    endpoint.start()
    theirs.sendall(b"hello")
    endpoint.send(b"welcome")
    await until(lambda: heard)
    assert (bytes(heard), theirs.recv(100)) == (b"hello", b"welcome")
    endpoint.close()
    assert theirs.recv(100) == b""
    theirs.close()
    assert open_descriptors() == before


def test_pipes_and_sockets_can_be_waited_for_and_files_can_not() -> None:
    read, write = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as null, open(__file__) as file:
        found = [can_be_polled(end) for end in (read, write, ours.fileno(), null.fileno(), file.fileno())]
    os.close(read)
    os.close(write)
    assert found == [True, True, True, False, False]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_client_that_makes_its_descriptors_block_again_cannot_stop_the_daemon(kind: str) -> None:
    if kind == "pipe":
        read, speak = os.pipe()
        hear, write = os.pipe()
    else:
        one, other = socket.socketpair()
        speak = hear = other.detach()
        read = one.detach()
        write = os.dup(read)
    shared = [os.dup(read), os.dup(write)]  # what the shim keeps of what it hands over
    read, write = reopened(read, os.O_RDONLY), reopened(write, os.O_WRONLY)
    endpoint = LineEndpoint(read, write, on_bytes=lambda _: None, on_closed=lambda: None, on_drained=lambda: None)
    try:
        for descriptor in shared:
            os.set_blocking(descriptor, True)
        with _only_for_a_while():
            endpoint.send(b"x" * (HIGH_WATER + 1))  # more than any pipe takes
            endpoint._readable()  # woken for bytes that somebody else took
        assert 0 < endpoint.waiting <= HIGH_WATER
    finally:
        endpoint.close()
        for descriptor in {speak, hear, *shared}:
            os.close(descriptor)


@contextlib.contextmanager
def _only_for_a_while() -> Iterator[None]:
    """A system call that blocks in the main thread is broken off, which fails the test."""

    def broken_off(*_: object) -> None:
        raise AssertionError("the event loop was blocked")

    before = signal.signal(signal.SIGALRM, broken_off)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def test_what_was_said_in_the_turn_of_the_close_is_still_said() -> None:
    with peer() as it:
        it.endpoint.send(b"one\n")
        it.endpoint.send(b"two\n")
        it.endpoint.close()
        assert await it.take(8) == b"one\ntwo\n"
