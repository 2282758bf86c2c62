"""What is known about a package counts before a yes, at every start and ever after; the rest of the store can go."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes import script
from tests.trust.advisory_examples import advisory, archive
from tests.trust.archives import wheel
from tests.trust.registries import PythonIndex

pytestmark = pytest.mark.sandbox

LINE = ("--", "uvx", "mcp-server-fetsh")
BAD = advisory("MAL-2026-7", "mcp-server-fetsh", "1.0", ecosystem="PyPI")
WEAK = advisory("GHSA-aaaa", "mcp-server-fetsh", "1.0", ecosystem="PyPI")


@pytest.fixture
def home(python_index: PythonIndex) -> Iterator[Running]:
    """A home whose user's index has one toy server, under a name that looks like a well-known one."""
    publish(python_index, "1.0")
    with home_of_a_stranger() as made:
        python_index.environment(made.user)
        made.up()
        yield made


@pytest.fixture
def python_index() -> Iterator[PythonIndex]:
    with PythonIndex() as index:
        yield index


def publish(index: PythonIndex, version: str) -> None:
    files = {"fetsh/__init__.py": script("honest").read_text() + "\n\ndef main() -> None:\n    Server().run()\n"}
    data = wheel("mcp-server-fetsh", version, files, scripts={"mcp-server-fetsh": "fetsh:main"})
    index.publish("mcp-server-fetsh", version, data)


def know(home: Running, *records: dict[str, object]) -> None:
    file = home.user / "advisories.zip"
    file.write_bytes(archive(*records))
    done = home.bulkhead("advisories", "refresh", "--from", file)
    assert done.returncode == 0, done.stderr


def test_a_package_is_looked_at_before_a_yes_at_every_start_and_when_more_becomes_known(
    home: Running, python_index: PythonIndex, tmp_path: Path
) -> None:
    know(home, WEAK)
    added = home.bulkhead("add", "fetch", "--yes", *LINE)
    assert added.returncode == 0, added.stderr
    assert "looks like mcp-server-fetch, which is another package" in added.stdout
    assert "a known vulnerability: GHSA-aaaa" in added.stdout

    publish(python_index, "1.1")
    checked = home.bulkhead("verify", "--sbom", tmp_path / "bom.json")
    assert checked.returncode == 1
    assert "fetch: as pinned" in checked.stdout
    assert "GHSA-aaaa" in checked.stdout
    assert "1.1 exists" in checked.stdout
    assert "1 advisories, 0 of them on malware" in checked.stdout
    assert json.loads((tmp_path / "bom.json").read_text())["specVersion"] == "1.6"
    assert "1.1 exists" not in home.bulkhead("verify", "--offline").stdout

    home.desk.connect("local", "fetch")
    with home.connect("fetch") as client:
        client.open()
        assert client.tools()
        client.call("echo", {"text": "x"})
        know(home, BAD)
        client.wait()
    (ended,) = [each for each in home.desk.receipts(server="fetch", kind="violation") if each["method"] == "advisory"][
        -1:
    ]
    assert "MAL-2026-7" in json.dumps(ended)

    with home.connect("fetch") as client:
        client.open()
        answer = client.answer_to(client.start_request("tools/call", {"name": "echo", "arguments": {"text": "x"}}))
        assert "MAL-2026-7" in json.dumps(answer)
    again = home.bulkhead("add", "other", "--yes", "--", "uvx", "mcp-server-fetsh==1.0")
    assert again.returncode == 1
    assert "mcp-server-fetsh 1.0 has known malware: MAL-2026-7" in again.stderr


def test_the_store_lets_go_only_of_what_nobody_names(home: Running) -> None:
    assert home.bulkhead("add", "fetch", "--yes", *LINE).returncode == 0
    store = home.paths.store
    (named,) = [each.name for each in (store / "objects").iterdir()]
    (store / "objects" / ("a" * 64)).mkdir()
    told = json.loads(home.bulkhead("store", "gc", "--dry-run", "--json").stdout)
    assert told["trees"] == ["a" * 64]
    assert (store / "objects" / ("a" * 64)).exists()
    assert json.loads(home.bulkhead("store", "gc", "--json").stdout)["trees"] == ["a" * 64]
    assert [each.name for each in (store / "objects").iterdir()] == [named]
    assert home.bulkhead("verify", "--offline").returncode == 0


def test_without_advisories_it_is_said_that_nothing_is_known(home: Running) -> None:
    assert "nothing is known about malware" in home.bulkhead("advisories", "status").stdout
    assert "nowhere" in home.bulkhead("advisories", "status").stdout
    refused = home.bulkhead("advisories", "refresh")
    assert (refused.returncode, "no source of advisories" in refused.stderr) == (1, True)
    assert home.bulkhead("advisories", "use", "https://example.invalid/all.zip").returncode == 0
    assert "example.invalid" in home.bulkhead("advisories", "status").stdout


def test_documents_put_back_from_a_backup_are_not_taken_for_the_last_ones(home: Running, tmp_path: Path) -> None:
    assert home.bulkhead("add", "fetch", "--yes", *LINE).returncode == 0
    kept = {part: getattr(home.paths, part) / name for part, name in (("config", ""), ("state", "agreed"))}
    for part, folder in kept.items():
        shutil.copytree(folder, tmp_path / part)
    assert home.bulkhead("disable", "fetch").returncode == 0
    assert home.bulkhead("down").returncode == 0
    for part, folder in kept.items():
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / part, folder)
    started = home.bulkhead("up")
    assert (started.returncode, "was put back" in started.stdout) == (1, True)
    status = home.desk.status()
    assert "an older state of the agreed documents was put back" in status.policy_problem
    assert "servers/fetch.toml" in status.drifted_documents
    with home.connect("fetch") as client:
        assert client.wait() != 0
        assert "there is no server fetch" in client.errors()
