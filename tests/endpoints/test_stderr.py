"""A server's standard error: never in its way, and only its end is kept."""

import asyncio
import os

import pytest

from broker.endpoints.stderr import BURST, KEPT, TOLD, LastWords
from tests.waiting import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def until_ended(words: LastWords, descriptor: int) -> None:
    """The listener owns the descriptor: it is closed when the end was heard."""
    await until(lambda: not os.path.exists(f"/proc/self/fd/{descriptor}"))


async def test_a_server_that_writes_for_ever_is_never_blocked_and_only_the_end_is_kept() -> None:
    read, write = os.pipe()
    words = LastWords(read)
    await asyncio.to_thread(
        lambda: [os.write(write, b"noise\n" * 10_000) for _ in range(20)]
    )  # 1.2 MB, pipes hold 64 KB
    os.write(write, b"ValueError: no\n")
    os.close(write)
    await until_ended(words, read)
    assert len(words.text) == KEPT
    assert words.text.endswith("noise\nValueError: no\n")
    words.close()


async def test_what_is_no_text_is_kept_readable() -> None:
    read, write = os.pipe()
    words = LastWords(read)
    os.write(write, b"\xff\xfe\n")
    os.close(write)
    await until_ended(words, read)
    assert words.text == "\ufffd\ufffd\n"


async def test_closing_is_idempotent_and_lets_go_of_the_descriptor() -> None:
    read, write = os.pipe()
    words = LastWords(read)
    words.close()
    words.close()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"unheard")
    os.close(write)
    assert words.text == ""


async def test_what_is_told_is_whole_lines_within_bounds_and_says_what_was_left_out() -> None:
    read, write = os.pipe()
    told: list[tuple[str, int]] = []
    words = LastWords(read, lambda text, lost: told.append((text, lost)))
    os.write(write, b"one\ntwo\nthr")
    words.take()
    os.write(write, b"ee\n" + b"x" * (TOLD + 1) + b"\nfour\n")
    words.take()
    os.write(write, b"five")
    words.finish()
    os.write(write, b"\nnobody hears this\n")
    words.take()
    words.close()
    os.close(write)
    assert told == [("one\ntwo", 0), ("three\nfour", TOLD + 1), ("five", 0)]


async def test_a_server_that_never_stops_complaining_is_told_of_so_often_and_no_more() -> None:
    read, write = os.pipe()
    told: list[tuple[str, int]] = []
    now = [0.0]
    words = LastWords(read, lambda text, lost: told.append((text, lost)), lambda: now[0])
    for _ in range(BURST + 3):
        os.write(write, b"noise\n")
        words.take()
    assert told == [("noise", 0)] * BURST
    now[0] = 1.0
    os.write(write, b"news\n")
    words.take()
    assert told[BURST:] == [("news", 3 * len("noise"))]
    words.close()
    os.close(write)
