"""The first pin of a server takes a while: it says what it is at, and who gives up leaves nothing behind."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.trust.registries import NpmRegistry

WITHIN: Final = 120.0
TARBALL: Final = "/server/-/server-1.0.0.tgz"


@pytest.fixture(scope="module")
def registry() -> Iterator[NpmRegistry]:
    with NpmRegistry() as made:
        yield made


@pytest.fixture(scope="module")
def running(registry: NpmRegistry) -> Iterator[Running]:
    with home_of_a_stranger() as made:
        registry.environment(made.user)
        made.up()
        yield made


def told(screen: int, words: str, so_far: str = "") -> str:
    """What a terminal shows, until these words are among it or it is closed."""
    deadline = time.monotonic() + WITHIN
    while words not in so_far:
        assert select.select([screen], [], [], max(0.0, deadline - time.monotonic()))[0], so_far
        try:
            data = os.read(screen, 65_536)
        except OSError:  # how Linux says that nobody holds the other end
            return so_far
        if not data:
            return so_far
        so_far += data.decode("utf-8", "replace")
    return so_far


@pytest.mark.sandbox
def test_a_pin_that_somebody_interrupts_says_where_it_was_leaves_nothing_and_can_be_made_again(
    running: Running, registry: NpmRegistry
) -> None:
    registry.publish("server")
    registry.stalls.add(TARBALL)
    screen, terminal = pty.openpty()
    argv = running.home.argv("add", "s", "--yes", "--", "npx", "-y", "server")
    with subprocess.Popen(argv, env=dict(running.environment), stdin=terminal, stdout=subprocess.PIPE, stderr=terminal,
                          start_new_session=True) as adding:  # fmt: skip
        os.close(terminal)
        shown = told(screen, "downloading 1 packages")
        assert f"asking {registry.url}" in shown and "server and everything it needs" in shown
        deadline = time.monotonic() + WITHIN
        while TARBALL not in registry.asked:  # it is in the middle of it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        adding.send_signal(signal.SIGINT)
        shown = told(screen, "\0never", shown)
        assert adding.wait(WITHIN) == 1
    os.close(screen)
    assert "Traceback" not in shown and "downloading" in shown.splitlines()[-1]
    store = running.paths.store
    deadline = time.monotonic() + WITHIN
    while os.listdir(store / "staging"):  # the daemon notices that nobody waits any more, and ends npm
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert os.listdir(store / "objects") == os.listdir(store / "listings") == []
    assert running.bulkhead("show", "s").returncode != 0

    registry.stalls.clear()
    again = running.bulkhead("pin", "s", "--update")
    assert again.returncode != 0, "it was never agreed to"
    registry.asked.clear()
    again = running.bulkhead("add", "s", "--yes", "--", "npx", "-y", "server", within=WITHIN)
    assert TARBALL in registry.asked and "what it offers" in again.stderr  # the toy is no server; its package was had
