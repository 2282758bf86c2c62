"""What the trust tests share: a store, and registries on loopback that serve whatever a test tells them to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.trust.store import Store
from tests.trust.registries import NpmRegistry, PythonIndex


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def npm_registry() -> Iterator[NpmRegistry]:
    with NpmRegistry() as registry:
        yield registry


@pytest.fixture
def python_index() -> Iterator[PythonIndex]:
    with PythonIndex() as index:
        yield index
