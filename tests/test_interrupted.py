"""Pinning that is broken off at any step leaves nothing half-made, and the next try comes to its end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from broker.trust.launch_spec import parse
from broker.trust.resolve import resolve
from broker.trust.store import Store
from broker.trust.tree import check, read_listing
from tests.fakes.launchers import node_environment
from tests.test_pinning import SIGSTORE, WHEN, House
from tests.trust.signing_registries import SigningNpmRegistry
from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[1]
STEPS = {"downloading": 2, "who published": 4, "hashing": 5}  # and which of the steps it is


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def npm() -> Iterator[SigningNpmRegistry]:
    with SigningNpmRegistry(SIGSTORE) as registry:
        registry.release("lib", "1.0.0", **WHEN)
        registry.release("server", "1.0.0", {"dependencies": {"lib": "1.0.0"}}, **WHEN)
        yield registry


def nothing_half_made(store: Store) -> int:
    """Whole objects only; returns how many."""
    trees = sorted(os.listdir(store.root / "objects"))
    assert sorted(os.listdir(store.root / "listings")) == trees
    for tree in trees:
        check(store.object(tree), read_listing((store.root / "listings" / tree).read_bytes()))
    return len(trees)


def giving_up(step: str, said: list[str], scope: anyio.CancelScope) -> Callable[[str], None]:
    def told(words: str) -> None:
        said.append(words)
        if step in words:
            scope.cancel()

    return told


async def test_a_person_who_gives_up_at_any_step_leaves_nothing_behind_and_can_try_again(
    npm: SigningNpmRegistry, tmp_path: Path
) -> None:
    house = House(tmp_path)
    house.environment = node_environment(npm.environment(tmp_path / "user"))
    for step in STEPS:
        said: list[str] = []
        with anyio.CancelScope() as scope:
            told = giving_up(step, said, scope)
            await house.pinner.prepare("s", ["npx", "server"], house.environment, told)
        assert scope.cancelled_caught, said
        assert len(said) == STEPS[step]
        assert os.listdir(house.store.root / "staging") == []
        nothing_half_made(house.store)
    await house.prepare("npx server")
    assert nothing_half_made(house.store) == 1


KILLED = """
    import asyncio, json, os, sys
    from pathlib import Path
    from broker.trust.launch_spec import parse
    from broker.trust.resolve import resolve
    from broker.trust.store import Store
    async def go():
        request = parse(["npx", "server"], exists=os.path.exists)
        environment = json.loads(sys.argv[2])
        await resolve(request, store=Store(Path(sys.argv[1])), environment=environment,
                      progress=lambda said: print(said, flush=True))
    asyncio.run(go())
"""


def test_a_daemon_that_is_killed_leaves_nothing_that_counts_and_the_next_one_pins(
    npm: SigningNpmRegistry, tmp_path: Path
) -> None:
    environment = node_environment(npm.environment(tmp_path / "user"))
    root = tmp_path / "store"
    argv = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), json.dumps(environment)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as killed:
        assert killed.stdout is not None
        for words in killed.stdout:
            if "downloading" in words:
                killed.send_signal(signal.SIGKILL)
                break
    store = Store(root)
    nothing_half_made(store)
    request = parse(["npx", "server"], exists=os.path.exists)
    asyncio.run(
        resolve(request, store=store, environment=environment, progress=lambda said: None, roots=SIGSTORE.roots())
    )
    assert nothing_half_made(store) == 1

    def swept() -> bool:
        Store(root)
        return os.listdir(root / "staging") == []

    asyncio.run(until(swept, 60))  # npm may outlive whoever started it by a moment
