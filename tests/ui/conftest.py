"""A fake desk on a short path, and a clock moved by hand."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # it has no types

from tests.ui.bench import HandClock

# The plugin names the file type as older releases of syrupy did; newer ones would call the pictures `.raw`.
SVGImageExtension.file_extension = "svg"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the screen and the desk's client are asyncio


@pytest.fixture
def socket() -> Iterator[Path]:
    """A path short enough for a unix socket on every system, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="bh-") as folder:
        yield Path(folder) / "c.sock"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
