"""The store lets go of what nobody names, and of nothing else."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.pin import PinnedArtifact
from broker.trust import garbage
from broker.trust.garbage import GRACE, collect, locked, trees_of
from broker.trust.store import Store
from tests.trust.attack_table import catches

PROJECT = Path(__file__).resolve().parents[2]
LATER = time.time() + 10 * GRACE


def admit(store: Store, text: str) -> str:
    with store.staging() as work:
        (work / "tree/dist").mkdir(parents=True)
        (work / "tree/dist/index.js").write_text(text)
        return store.admit(work / "tree").tree


def kept(store: Store) -> tuple[list[str], list[str]]:
    return sorted(os.listdir(store.root / "objects")), sorted(os.listdir(store.root / "listings"))


def test_what_no_pin_names_is_removed_and_the_rest_stays(store: Store) -> None:
    named, other = admit(store, "named"), admit(store, "other")
    found = collect(store.root, frozenset({named}), LATER)
    assert (found.trees, found.byte_count, found.spared) == ((other,), len("other"), 0)
    assert kept(store) == ([named], [named])
    assert os.listdir(store.root / "staging") == []


def test_a_dry_run_removes_nothing(store: Store) -> None:
    tree = admit(store, "other")
    assert collect(store.root, frozenset(), LATER, dry_run=True).trees == (tree,)
    assert kept(store) == ([tree], [tree])


@catches("H05")
def test_what_was_taken_in_lately_is_spared_because_somebody_may_still_agree_to_it(store: Store) -> None:
    tree = admit(store, "fresh")
    assert collect(store.root, frozenset(), time.time()).spared == 1
    assert collect(store.root, frozenset(), time.time() - 1e6).spared == 1  # the clock was set back
    assert kept(store) == ([tree], [tree])


def test_taking_in_the_same_bytes_again_makes_them_young_again(store: Store) -> None:
    tree = admit(store, "again")
    os.utime(store.root / "listings" / tree, (1, 1))
    admit(store, "again")
    assert collect(store.root, frozenset(), time.time()).spared == 1


def test_an_object_without_its_list_and_a_list_without_its_object_are_removed(store: Store) -> None:
    bare, lone = admit(store, "bare"), "a" * 64
    (store.root / "listings" / bare).unlink()
    (store.root / "listings" / lone).write_text("")
    assert set(collect(store.root, frozenset(), LATER).trees) == {bare, lone}
    assert kept(store) == ([], [])


def test_a_folder_that_is_pinned_where_it_lies_keeps_its_list() -> None:
    artifact = PinnedArtifact("project", "own", "1", tree="t" * 64, folders=(("/a", "f" * 64), ("/b", "")))
    assert trees_of(artifact) == {"t" * 64, "f" * 64}


def test_nothing_else_in_the_folder_is_touched(store: Store) -> None:
    for folder in ("objects", "listings"):
        (store.root / folder / "notes.txt").write_text("mine")
    assert collect(store.root, frozenset(), LATER).trees == ()
    assert kept(store) == (["notes.txt"], ["notes.txt"])


def test_a_link_in_place_of_an_object_is_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    (store.root / "objects" / ("b" * 64)).symlink_to(tmp_path / "precious")
    collect(store.root, frozenset(), LATER)
    assert (tmp_path / "precious/file").read_text() == "kept"
    assert kept(store) == ([], [])


@catches("H02")
def test_while_somebody_takes_in_nothing_is_collected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LOCKING", 0.1)
    with locked(store.root), locked(store.root), pytest.raises(TrustError, match="in use"):
        collect(store.root, frozenset(), LATER)


ADMITTING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from broker.trust.store import Store
store = Store(Path(sys.argv[1]))
trees = set()
for number in range(40):
    with store.staging() as work:
        (work / "tree").mkdir()
        (work / "tree/file").write_text(str(number % 8))
        trees.add(store.admit(work / "tree").tree)
assert trees <= set(os.listdir(store.root / "objects")), "an object that was taken in is gone"
print(len(trees))
"""


@catches("H02", "H04")
def test_two_processes_that_take_in_the_same_bytes_and_a_third_that_tidies_do_not_hurt_each_other(
    store: Store,
) -> None:
    argv = [sys.executable, "-c", ADMITTING, str(store.root), str(PROJECT)]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    stop = threading.Event()

    def tidy() -> None:
        while not stop.wait(0.01):
            collect(store.root, frozenset(), time.time())

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        said = [process.communicate(timeout=60) for process in processes]
    finally:
        stop.set()
        tidying.join(10)
    assert [(out.strip(), process.returncode) for (out, _), process in zip(said, processes, strict=True)] == [
        ("8", 0), ("8", 0)
    ], said  # fmt: skip
    assert len(os.listdir(store.root / "objects")) == 8
