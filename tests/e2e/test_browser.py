"""A browser in its box: the Playwright server drives a headless Chromium, with what its label says that it needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import ADD_WITHIN
from tests.e2e.running import Running, home_of_a_stranger, with_registries

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]

CHROMIUM: Final = next(
    filter(Path.exists, map(Path, ("/usr/lib/chromium/chromium", "/opt/google/chrome/chrome"))), None
)
PAGE: Final = "data:text/html,<title>Harbour</title><h1>It is deep</h1>"


@pytest.fixture(scope="module")
def quay() -> Iterator[Running]:
    """A home without any server."""
    if CHROMIUM is None:
        pytest.skip("no Chromium of the system")
    with home_of_a_stranger() as made:
        with_registries(made.user)
        made.up()
        yield made


def test_a_browser_runs_in_its_box_with_the_sockets_its_label_names_and_the_consent_shows(quay: Running) -> None:
    line = ["npx", "-y", "@playwright/mcp", "--browser", "chromium", "--executable-path", str(CHROMIUM), "--headless",
            "--no-sandbox", "--isolated", "--output-dir", "/tmp/out"]  # fmt: skip
    added = quay.bulkhead("add", "browser", "--yes", "--", *line, within=ADD_WITHIN)
    assert added.returncode == 0, added.stderr
    assert "it may make unix sockets in its sandbox" in added.stdout and "label" in added.stdout
    assert quay.bulkhead("policy", "use", "observe").returncode == 0
    quay.desk.connect("local", "browser")
    with quay.connect("browser") as client:
        client.open()
        client.call_text("browser_navigate", {"url": PAGE}, within=120)
        assert 'heading "It is deep"' in client.call_text("browser_snapshot", {}, within=120)
