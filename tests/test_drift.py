"""Drift is held until a person agrees to exactly what they saw."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.agreed import Agreed
from broker.drift import DriftBook
from broker.errors import DeskError
from broker.model import ServerName
from broker.protocol import catalog as catalogs
from broker.protocol.catalog import Catalog, Change
from broker.registry import Registry
from tests.protocol.stage import CATALOG, LEGACY, MODERN, READ
from tests.test_registry import PIN

FILES: Final = ServerName("files")
GONE_WILD: Final = replace(LEGACY, tools=(*LEGACY.tools, {**READ, "name": "erase"}))
ADDED: Final = (Change("added", "tool", "erase"),)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(Agreed(tmp_path / "config", tmp_path / "agreed", b"k" * 32), tmp_path / "config")
    made.put_pin(PIN, CATALOG)
    return made


@pytest.fixture
def drifts(registry: Registry) -> DriftBook:
    return DriftBook(registry)


def test_no_drift_is_none(drifts: DriftBook) -> None:
    assert drifts.of("files") is None
    assert drifts.all() == {}
    with pytest.raises(DeskError, match="files has not drifted"):
        drifts.accept("files", "")


def test_accepting_the_drift_that_was_shown_pins_the_live_views_and_keeps_the_others(
    registry: Registry, drifts: DriftBook
) -> None:
    drifts.note(FILES, ADDED, Catalog({"legacy/full": GONE_WILD}))
    shown = drifts.of("files")
    assert shown is not None
    live = drifts.accept("files", shown.digest)
    assert live == Catalog({"legacy/full": GONE_WILD})
    assert registry.catalog("files") == Catalog({"legacy/full": GONE_WILD, "modern/full": MODERN})
    assert drifts.all() == {}


def test_a_server_that_changed_again_is_not_accepted_unseen(registry: Registry, drifts: DriftBook) -> None:
    drifts.note(FILES, ADDED, Catalog({"legacy/full": GONE_WILD}))
    shown = drifts.of("files")
    assert shown is not None
    worse = replace(LEGACY, tools=(*GONE_WILD.tools, {**READ, "name": "format"}))
    drifts.note(FILES, (*ADDED, Change("added", "tool", "format")), Catalog({"legacy/full": worse}))
    with pytest.raises(DeskError, match="files changed again since you looked") as refused:
        drifts.accept("files", shown.digest)
    assert refused.value.code == "replaced"
    assert catalogs.digest(registry.catalog("files")) == catalogs.digest(CATALOG)


def test_a_change_that_only_its_catalog_shows_has_another_digest(drifts: DriftBook) -> None:
    """The lines of both drifts read the same; what would be agreed to does not."""
    digests = set()
    for text in ("one", "two"):
        changed = replace(LEGACY, tools=({**READ, "description": text},))
        drifts.note(FILES, (Change("changed", "tool", "read", ("description",)),), Catalog({"legacy/full": changed}))
        found = drifts.of("files")
        assert found is not None
        digests.add(found.digest)
    assert len(digests) == 2


def test_the_same_drift_found_by_two_links_is_one(drifts: DriftBook) -> None:
    for _ in range(2):
        drifts.note(FILES, ADDED, Catalog({"legacy/full": GONE_WILD}))
        found = drifts.of("files")
    assert found is not None
    assert (len(drifts.all()), found.changes) == (1, ADDED)


def test_drifts_of_two_eras_are_agreed_to_together(registry: Registry, drifts: DriftBook) -> None:
    wild = replace(MODERN, tools=GONE_WILD.tools)
    drifts.note(FILES, ADDED, Catalog({"legacy/full": GONE_WILD}))
    drifts.note(FILES, (Change("changed", "instructions", ""),), Catalog({"modern/full": wild}))
    found = drifts.of("files")
    assert found is not None
    assert len(found.changes) == 2
    drifts.accept("files", found.digest)
    assert registry.catalog("files") == Catalog({"legacy/full": GONE_WILD, "modern/full": wild})


def test_a_server_that_is_no_longer_pinned_has_nothing_to_agree_to(registry: Registry, drifts: DriftBook) -> None:
    drifts.note(ServerName("other"), ADDED, Catalog({"legacy/full": GONE_WILD}))
    found = drifts.of("other")
    assert found is not None
    with pytest.raises(DeskError, match="other has not drifted"):
        drifts.accept("other", found.digest)
    drifts.forget("other")
    drifts.forget("other")
    assert drifts.of("other") is None
