"""A server's standard error: never in its way, and only its end is kept."""

import asyncio
import os

import pytest

from broker.endpoints.stderr import KEPT, LastWords
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
