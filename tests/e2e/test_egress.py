"""From a grant on the command line to a receipt in the log: a server with a host, through the whole of Bulkhead."""

import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.e2e.running import Running, toy_line

pytestmark = pytest.mark.sandbox


@pytest.fixture
def service() -> Iterator[int]:
    """Something of this machine's on loopback, which greets whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_greet, args=(listener,), daemon=True).start()
        yield int(listener.getsockname()[1])


def _greet(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"hello from outside")


@pytest.mark.claim("C20", "C25")
def test_a_host_is_granted_on_the_command_line_reached_and_recorded(running: Running, service: int) -> None:
    added = running.bulkhead("add", "toy", "--yes", "--", *toy_line("reaches"))
    assert added.returncode == 0, added.stderr
    running.desk.connect("local", "toy")
    place = {"host": "127.0.0.1", "port": service}
    with running.connect("toy") as client:
        client.open()
        assert "refused" in client.call_text("listen_to", place)
    assert running.desk.receipts(server="toy", kind="egress") == []

    granted = running.bulkhead("grant", "toy", "--host", f"localhost:{service}", "--host", "API.Example.com")
    assert granted.returncode == 0, granted.stderr
    assert running.desk.server("toy").hosts == [f"127.0.0.1:{service}", "api.example.com"]
    assert f"reaches      127.0.0.1:{service}, api.example.com" in running.bulkhead("show", "toy").stdout

    with running.connect("toy") as client:
        client.open()
        assert client.call_text("listen_to", place) == "hello from outside"
        assert "hello" not in client.call_text("listen_to", {"host": "127.0.0.1", "port": 443})
        assert "gaierror" in client.call_text("listen_to", {"host": "stolen.example.net", "port": 443})
    running.desk.no_link("toy", "local")
    told = running.desk.receipts(server="toy", kind="egress")
    (closed,) = (one for one in told if one["method"] == "close")
    connected, refused, hidden = (one for one in told if one["method"] != "close")
    assert told.index(connected) < told.index(closed)
    assert (connected["method"], connected["target"]) == ("connect", f"127.0.0.1:{service}")
    assert connected["client"] == "local" and connected["verdict"] == "allow"
    assert closed["body"]["bytes_in"] == len("hello from outside")
    assert (refused["method"], refused["target"], refused["verdict"]) == ("connect", "127.0.0.1:443", "deny")
    assert (hidden["method"], hidden["target"]) == ("lookup", "stolen.example.net")
    assert hidden["reason"].endswith("bulkhead grant toy --host stolen.example.net")


def test_no_grant_leads_a_server_to_the_door_bulkhead_itself_keeps_by_http(running: Running) -> None:
    assert running.bulkhead("add", "toy", "--yes", "--", *toy_line("reaches")).returncode == 0
    running.desk.connect("local", "toy")
    opened = running.bulkhead("endpoint", "toy", "--json")  # the daemon first listens now, with its launcher long made
    port = urlsplit(json.loads(opened.stdout)["url"]).port
    assert port is not None and running.bulkhead("grant", "toy", "--host", f"localhost:{port}").returncode == 0
    with running.connect("toy") as client:
        client.open()
        assert "nothing was said" in client.call_text("listen_to", {"host": "127.0.0.1", "port": port})
    running.desk.no_link("toy", "local")
    (refused,) = running.desk.receipts(server="toy", kind="egress")
    assert (refused["target"], refused["verdict"]) == (f"127.0.0.1:{port}", "deny")
    assert "is Bulkhead's own at that port" in refused["reason"]


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["*"], "it means every host"),
        (["2130706433:80"], "programs may read it as an address"),
        (["169.254.169.254:80"], "it hands out credentials in a cloud"),
        (["127.0.0.1:2375"], "it may be a container engine"),
    ],
)
def test_a_host_that_may_not_be_granted_is_refused_with_what_to_do(
    running: Running, hosts: list[str], said: str
) -> None:
    words = [word for host in hosts for word in ("--host", host)]
    refused = running.bulkhead("add", "toy", *words, "--yes", "--", *toy_line("reaches"))
    assert refused.returncode != 0
    assert said in refused.stderr and "try: " in refused.stderr


def test_the_whole_public_network_is_not_granted_beside_a_folder(running: Running) -> None:
    folder = running.user / "notes"
    folder.mkdir()
    line = toy_line("reaches")
    refused = running.bulkhead("add", "toy", "--host", "public:*", "--read", folder, "--yes", "--", *line)
    assert refused.returncode != 0 and f"toy cannot have public:* and {folder}" in refused.stderr
    alone = running.bulkhead("add", "toy", "--host", "public:*", "--yes", "--", *line)
    assert alone.returncode == 0 and "it may reach every public host" in alone.stdout
    later = running.bulkhead("grant", "toy", "--read", folder)
    assert later.returncode != 0 and "toy cannot have public:*" in later.stderr
    assert running.desk.server("toy").read == []
