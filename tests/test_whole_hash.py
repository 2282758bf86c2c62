"""What was only looked at before a start is hashed whole beside it, and a difference ends the server."""

from types import SimpleNamespace
from typing import cast

import pytest

from broker.config import Waits
from broker.house import House
from broker.launch import Launch
from broker.model import ClientName, Fact, SessionId
from broker.pin import Pin
from broker.trust.store import Store
from tests.trust.test_glance import OTHER, change, pin, store

__all__ = ["pin", "store"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Started(Launch):
    """A launch that just happened; it writes down how its link ends."""

    def __init__(self, house: Store, pinned: Pin) -> None:
        self.reasons: list[str] = []
        self.facts: list[Fact] = []

        async def durably(fact: Fact) -> None:
            self.facts.append(fact)

        rooms = cast(House, SimpleNamespace(store=house, waits=Waits()))
        super().__init__(
            rooms,
            pinned,
            self.facts.append,
            durably,
            self.reasons.append,
            ClientName("c"),
            SessionId("s"),
            frozenset,
        )


async def test_a_file_the_glance_missed_ends_the_server_and_is_on_record(
    store: Store, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.trust.glance.facts_of", lambda root: "the same")
    await store.verified(pin)
    change(store.object(pin.artifact.tree) / OTHER)
    await store.verified(pin)
    link = Started(store, pin)
    assert store.owes_whole(pin)
    await link._hash_whole()
    (reason,) = link.reasons
    assert f"{OTHER} was changed" in reason
    assert [(fact.kind, fact.method) for fact in link.facts] == [("violation", "store")]


async def test_an_untouched_object_goes_on(store: Store, pin: Pin) -> None:
    await store.verified(pin)
    await store.verified(pin)
    link = Started(store, pin)
    await link._hash_whole()
    assert (link.reasons, link.facts, store.owes_whole(pin)) == ([], [], False)
