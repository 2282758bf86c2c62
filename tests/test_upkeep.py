"""What becomes known after a yes ends what runs, is on record once, and never leaves this machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.agreed import Agreed
from broker.audit.log import AuditLog
from broker.audit.redact import Redactor
from broker.audit.verify import verify
from broker.model import ServerName
from broker.pin import Interpreter, LaunchRequest, Pin, PinnedArtifact
from broker.protocol.catalog import Catalog
from broker.registry import Registry, Server
from broker.trust.advisories import Advisories, Intake
from broker.trust.osv import read_record
from broker.upkeep import Sources, Upkeep
from tests.trust.advisory_examples import advisory, archive, closure

KEY = b"k" * 32
BAD = advisory("MAL-2026-7", "postmark-mcp", "1.0.16")
WEAK = advisory("GHSA-aaaa", "left-pad", "1.3.0")


class FakeLink:
    """A live link: what it was ended with."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def end(self, reason: str) -> None:
        self.reasons.append(reason)


class House:
    """Two pinned servers, each with a live link."""

    def __init__(self, folder: Path) -> None:
        agreed = Agreed(folder / "config", folder / "agreed", KEY)
        self.registry = Registry(agreed, folder / "config")
        self.advisories = Advisories(folder / "advisories")
        self.audit = AuditLog.open(folder / "audit", KEY, lambda: 0.0, Redactor())
        self.audit_folder = folder / "audit"
        self.links = {"mail": FakeLink(), "pads": FakeLink()}
        ended = self.links.__getitem__
        self.upkeep = Upkeep(self.registry, Sources(agreed), self.advisories, self.audit, lambda name: [ended(name)])
        self.pin("mail", closure(("postmark-mcp", "1.0.16")))
        self.pin("pads", closure(("left-pad", "1.3.0")))

    def pin(self, name: str, artifact: PinnedArtifact) -> None:
        whole = replace(artifact, tree="a" * 64, entry="i.js", interpreter=Interpreter(Path("/n"), "20", "b" * 64))
        launch = LaunchRequest(("npx", artifact.name), "npx", "npm", artifact.name)
        self.registry.put_pin(Pin(ServerName(name), "2026-01-01", launch, whole), Catalog({}))
        self.registry.put_server(Server(ServerName(name), launch.argv, "2026-01-01"))

    def know(self, *records: dict[str, object]) -> None:
        self.advisories.file.parent.mkdir(exist_ok=True)
        intake = Intake(self.advisories.file)
        intake.add(read_record(json.dumps(record).encode()) for record in records)
        intake.close()

    def receipts(self) -> list[dict[str, object]]:
        lines = [line for file in sorted(self.audit_folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
        return [json.loads(line) for line in lines]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_malware_that_became_known_ends_the_links_of_its_server_alone(house: House) -> None:
    house.know(BAD, WEAK)
    found = await house.upkeep.check_all()
    assert {name: [hit.id for hit in hits] for name, hits in found.items()} == {
        "mail": ["MAL-2026-7"], "pads": ["GHSA-aaaa"],
    }  # fmt: skip
    assert house.links["pads"].reasons == []
    (reason,) = house.links["mail"].reasons
    assert "postmark-mcp 1.0.16" in reason and "MAL-2026-7" in reason


async def test_what_is_known_is_recorded_once_and_the_chain_stays_whole(house: House) -> None:
    house.know(WEAK)
    await house.upkeep.check_all()
    await house.upkeep.check_all()
    house.audit.close()
    report = verify(house.audit_folder, KEY)
    assert (report.ok, report.entries) == (True, 1)


async def test_nothing_known_does_nothing(house: House) -> None:
    assert await house.upkeep.check_all() == {}
    house.know(advisory("GHSA-b", "other", "1.0.0"))
    assert await house.upkeep.check_all() == {}
    assert [link.reasons for link in house.links.values()] == [[], []]


async def test_a_refresh_looks_at_every_pin_at_once(house: House, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(archive(BAD))
    await house.upkeep.refresh(str(tmp_path / "all.zip"), {})
    assert len(house.links["mail"].reasons) == 1


async def test_a_database_that_cannot_be_read_ends_nothing_that_runs_and_stops_no_other_work(house: House) -> None:
    house.know(BAD)
    house.advisories.file.write_bytes(b"nonsense" * 1000)
    assert await house.upkeep.check_all() == {}
    assert house.links["mail"].reasons == []


def test_the_sources_are_a_document_that_counts_only_as_agreed(house: House, tmp_path: Path) -> None:
    sources = house.upkeep.sources
    assert sources.all() == ()
    sources.use(["https://example.invalid/npm.zip"])
    (tmp_path / "config/advisories.toml").write_text('sources = ["https://evil.invalid/none.zip"]\n')
    assert sources.all() == ("https://example.invalid/npm.zip",)
