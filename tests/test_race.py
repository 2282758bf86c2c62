"""Between the moment code is hashed and the moment it runs nobody can slip in other code and stay unseen."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from broker.house import House
from broker.launch import Launch
from broker.model import ClientName, Fact, NamedArtifact, Proof, SessionId
from broker.pin import Pin
from broker.registry import Server
from broker.sandbox.process import Instance
from broker.trust.advisories import Advisories
from broker.trust.store import Store
from tests.trust.attack_table import catches
from tests.trust.test_store import admit, interpreter, pin_of

__all__ = ["interpreter"]


async def _no_secrets(_server: Server) -> dict[str, str]:
    return {}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def rewrite(tree: Path) -> None:
    (tree / "dist/index.js").chmod(0o644)
    (tree / "dist/index.js").write_text("fjrst")
    (tree / "dist/index.js").chmod(0o444)


def replace(tree: Path) -> None:
    """Put another folder in its place, whose files are old."""
    tree.chmod(0o755)
    tree.rename(tree.with_name("aside"))
    tree.mkdir()


@pytest.fixture(autouse=True)
def nothing_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a person agrees to a start is asked between the hash and the start, and is not what is tested here."""

    async def agreed(*_: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr("broker.launch.agree_to_joins", agreed)
    monkeypatch.setattr("broker.launch.agree_to_flaws", agreed)


class Raced(Launch):
    """A launch with somebody who acts after the hash and before the start."""

    def __init__(self, store: Store, pinned: Pin, act: Callable[[Path], None]) -> None:
        self.reasons: list[str] = []
        self.facts: list[Fact] = []

        async def durably(fact: Fact) -> None:
            self.facts.append(fact)

        async def spawn(artifact: NamedArtifact, *more: object) -> Instance:
            _grants, _env, _record, _session, proof, *_ = cast("tuple[Any, Any, Any, Any, Proof]", more)
            await proof()
            act(store.object(artifact.tree))
            return cast(Instance, SimpleNamespace(pid=1, kept_by="", pages=None, warnings=()))

        rooms = SimpleNamespace(
            store=store,
            advisories=Advisories(store.root / "none"),
            provisions=SimpleNamespace(of=_no_secrets),
            spawn=spawn,
            waits=SimpleNamespace(verify=60.0, verify_whole=60.0),
        )
        super().__init__(
            cast(House, rooms),
            pinned,
            self.facts.append,
            durably,
            self.reasons.append,
            ClientName("c"),
            SessionId("s"),
            frozenset,
        )

    async def raced(self) -> list[str]:
        with anyio.fail_after(60):
            await self.start(Server(self._pin.server, ("npx", "pkg"), "2026-01-01"))
            assert self._hashing is not None
            await self._hashing
        return self.reasons


@catches("H01")
@pytest.mark.parametrize("act", [rewrite, replace])
async def test_code_that_is_swapped_between_its_hash_and_its_start_ends_the_server(
    act: Callable[[Path], None], tmp_path: Path, interpreter: Path
) -> None:
    store = Store(tmp_path / "store")
    launch = Raced(store, pin_of(admit(store), interpreter), act)
    (reason,) = await launch.raced()
    assert "'files' does not match its pin" in reason
    assert launch.facts[-1].kind == "violation"


async def test_what_nobody_touched_goes_on_however_new_it_is(tmp_path: Path, interpreter: Path) -> None:
    store = Store(tmp_path / "store")
    pin = pin_of(admit(store), interpreter)
    assert await store.touched(pin, 0.0)
    assert not await store.touched(pin, 4e9)
    assert await Raced(store, pin, lambda tree: None).raced() == []
