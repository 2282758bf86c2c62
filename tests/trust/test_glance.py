"""A very large object is hashed whole at first sight; later a glance and the whole hash beside the start must do."""

import os
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.model import ServerName
from broker.pin import Interpreter, LaunchRequest, Pin, PinnedArtifact
from broker.trust.store import Store
from broker.trust.tree import sha256_of

ENTRY = "node_modules/@scope/server/index.js"
OTHER = "node_modules/lib/data.bin"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", large=1)


@pytest.fixture
def pin(store: Store, tmp_path: Path) -> Pin:
    with store.staging() as work:
        for path in (ENTRY, OTHER, "node_modules/@scope/server/lib.js"):
            (work / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (work / "tree" / path).write_text(f"content of {path}")
        stored = store.admit(work / "tree")
    node = tmp_path / "node"
    node.write_bytes(b"\x7fELF")
    node.chmod(0o755)
    artifact = PinnedArtifact(
        "npm", "@scope/server", "1.0.0", tree=stored.tree, entry=ENTRY, byte_count=stored.byte_count,
        interpreter=Interpreter(node, "20.0.0", sha256_of(node)[0]),
    )  # fmt: skip
    return Pin(ServerName("large"), "2026-01-01", LaunchRequest(("npx", "x"), "npx", "npm", "x"), artifact)


def change(path: Path) -> None:
    """Other bytes of the same length, with the old mode and modification time."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(bytes(reversed(path.read_bytes())))
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def test_the_first_look_hashes_everything_and_the_next_is_a_glance_that_owes_the_rest(
    store: Store, pin: Pin
) -> None:
    await store.verified(pin)
    assert not store.owes_whole(pin)
    await store.verified(pin)
    assert store.owes_whole(pin)
    await store.verified(pin, whole=True)
    assert not store.owes_whole(pin)


@pytest.mark.parametrize("path", [ENTRY, OTHER])
async def test_a_file_changed_in_place_is_found_at_a_glance_though_its_times_were_put_back(
    store: Store, pin: Pin, path: str
) -> None:
    await store.verified(pin)
    change(store.object(pin.artifact.tree) / path)
    with pytest.raises(TrustError, match=f"{path} was changed"):
        await store.verified(pin)


async def test_after_a_restart_everything_is_hashed_again(store: Store, pin: Pin) -> None:
    await store.verified(pin)
    again = Store(store.root, large=1)
    await again.verified(pin)
    assert not again.owes_whole(pin)


async def test_the_hot_set_is_hashed_even_where_the_facts_are_the_same(
    store: Store, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, or a bad disk, can change bytes without a trace; the server's own package is read each time."""
    await store.verified(pin)
    monkeypatch.setattr("broker.trust.glance.facts_of", lambda root: "the same")
    await store.verified(pin, whole=True)
    change(store.object(pin.artifact.tree) / "node_modules/@scope/server/lib.js")
    with pytest.raises(TrustError, match=r"lib\.js was changed"):
        await store.verified(pin)


async def test_what_a_glance_misses_the_whole_hash_finds(
    store: Store, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.trust.glance.facts_of", lambda root: "the same")
    await store.verified(pin)
    change(store.object(pin.artifact.tree) / OTHER)
    await store.verified(pin)
    assert store.owes_whole(pin)
    with pytest.raises(TrustError, match=f"{OTHER} was changed"):
        await store.verified(pin, whole=True)


async def test_a_removed_or_added_file_is_found_at_a_glance(store: Store, pin: Pin) -> None:
    await store.verified(pin)
    folder = store.object(pin.artifact.tree) / "node_modules/lib"
    folder.chmod(0o755)
    (folder / "more").touch(0o444)
    folder.chmod(0o555)
    with pytest.raises(TrustError, match="more was added"):
        await store.verified(pin)


async def test_a_small_object_is_always_hashed_whole(tmp_path: Path, store: Store, pin: Pin) -> None:
    usual = Store(store.root)
    for _ in range(2):
        await usual.verified(pin)
        assert not usual.owes_whole(pin)
