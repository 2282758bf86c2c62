"""A browser in its box: the Playwright server drives a headless Chromium, with what its label says that it needs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import ADD_WITHIN
from tests.e2e.running import Running, home_of_a_stranger, with_registries

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]

CHROMIUM: Final = next(
    filter(Path.exists, map(Path, ("/usr/lib/chromium/chromium", "/opt/google/chrome/chrome"))), None
)
PAGE: Final = b"<title>Harbour</title><h1>It is deep</h1>"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def harbour() -> Iterator[str]:
    """A page served on loopback: its host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"localhost:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="module")
def quay() -> Iterator[Running]:
    """A home without any server."""
    if CHROMIUM is None:
        pytest.skip("no Chromium of the system")
    with home_of_a_stranger() as made:
        with_registries(made.user)
        made.up()
        yield made


def test_a_browser_runs_in_its_box_with_the_sockets_its_label_names_and_the_consent_shows(
    quay: Running, harbour: str
) -> None:
    line = ["npx", "-y", "@playwright/mcp", "--browser", "chromium", "--executable-path", str(CHROMIUM), "--headless",
            "--no-sandbox", "--isolated", "--output-dir", "/tmp/out"]  # fmt: skip
    added = quay.bulkhead("add", "browser", "--yes", "--host", harbour, "--", *line, within=ADD_WITHIN)
    assert added.returncode == 0, added.stderr
    assert "it may make unix sockets in its sandbox" in added.stdout and "label" in added.stdout
    assert quay.bulkhead("policy", "use", "observe").returncode == 0
    quay.desk.connect("local", "browser")
    with quay.connect("browser") as client:
        client.open()
        client.call_text("browser_navigate", {"url": f"http://{harbour}/"}, within=120)
        assert 'heading "It is deep"' in client.call_text("browser_snapshot", {}, within=120)
        client.call_text("browser_navigate", {"url": "http://elsewhere.invalid/"}, within=120)
        assert "no grant covers elsewhere.invalid" in client.call_text("browser_snapshot", {}, within=120)
