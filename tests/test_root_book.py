"""A newer root of trust is taken from who holds the keys, and from nobody who lies about it."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.metadata import Metadata

from broker.agreed import Agreed
from broker.errors import TrustError
from broker.root_book import DOCUMENT, RootBook
from broker.trust.trust_root import packaged
from broker.trust.tuf_intake import Fetcher, take_in
from tests.trust.registries import LoopbackServer

pytestmark = pytest.mark.anyio
KEY: Final = b"k" * 32
ROLES: Final = ("root", "timestamp", "snapshot", "targets")


class Repository(LoopbackServer):
    """A repository of The Update Framework with one key, one target and a version."""

    def __init__(self) -> None:
        super().__init__()
        self.signer = CryptoSigner.generate_ed25519()
        self.files: dict[str, bytes] = {}
        root = Root(version=1, expires=_in(days=300), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(self.signer.public_key, role)
        self.bootstrap = self._signed(root, self.signer)

    def publish(
        self, version: int, root: dict[str, object], days: int = 30, signer: CryptoSigner | None = None
    ) -> None:
        self.put(version, "trusted_root.json", json.dumps(root).encode(), days, signer)

    def put(self, version: int, name: str, data: bytes, days: int = 30, signer: CryptoSigner | None = None) -> None:
        """Publish `data` under `name`, and nothing else."""
        signer = signer or self.signer
        target = TargetFile.from_data(name, data)
        targets = Targets(version=version, expires=_in(days=days), targets={name: target})
        snapshot = Snapshot(version=version, expires=_in(days=days), meta={"targets.json": MetaFile(version)})
        timestamp = Timestamp(version=version, expires=_in(days=days), snapshot_meta=MetaFile(version))
        self.files |= {
            f"/{version}.targets.json": self._signed(targets, signer),
            f"/{version}.snapshot.json": self._signed(snapshot, signer),
            "/timestamp.json": self._signed(timestamp, signer),
            f"/targets/{next(iter(target.hashes.values()))}.{name}": data,
        }

    def answer(self, path: str) -> tuple[str, bytes] | None:
        return ("application/json", self.files[path]) if path in self.files else None

    @staticmethod
    def _signed(role: Root | Timestamp | Snapshot | Targets, signer: CryptoSigner) -> bytes:
        metadata: Metadata[Any] = Metadata(role)
        metadata.sign(signer)
        return metadata.to_bytes()


class Home:
    """A book of roots and the repository it asks."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder, self.repository = folder, repository
        self.agreed = Agreed(folder / "config", folder / "agreed", KEY)
        self.book = RootBook(self.agreed, folder / "roots")
        (folder / "bootstrap.json").write_bytes(repository.bootstrap)

    async def refresh(self) -> None:
        bootstrap = self.folder / "bootstrap.json"
        await self.book.refresh(self.repository.url, dict(os.environ), bootstrap=bootstrap)

    async def refused(self) -> str:
        before = self.book.current()
        with pytest.raises(TrustError) as refusal:
            await self.refresh()
        assert self.book.current() == before
        return str(refusal.value)


def _in(*, days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Repository() as repository:
        repository.publish(1, {"root": 1})
        yield Home(tmp_path, repository)


async def test_a_newer_root_is_taken_and_stands_with_its_day(home: Home) -> None:
    assert home.book.current() == packaged()
    await home.refresh()
    home.repository.publish(2, {"root": 2})
    await home.refresh()
    now = datetime.now(UTC)
    assert json.loads(home.book.current().sigstore) == {"root": 2}
    assert home.book.current().basis(now.timestamp()).age_days == 0
    again = RootBook(Agreed(home.folder / "config", home.folder / "agreed", KEY), home.folder / "roots")
    assert again.current() == home.book.current()


async def test_a_root_that_somebody_wrote_into_its_file_is_not_in_force(home: Home) -> None:
    await home.refresh()
    path = home.folder / "config" / DOCUMENT
    path.write_text(path.read_text().replace("1}", "9}"))
    assert json.loads(home.book.current().sigstore) == {"root": 1}


async def test_an_older_root_is_refused_even_where_nobody_remembers_the_newer_one(home: Home) -> None:
    home.repository.publish(2, {"root": 2})
    await home.refresh()
    home.repository.publish(1, {"root": 1})
    assert "not vouched for" in await home.refused()
    for path in (home.folder / "roots/metadata").glob("*.json"):
        path.unlink()
    assert "went back to an older one" in await home.refused()


async def test_a_root_signed_by_somebody_else_is_refused(home: Home) -> None:
    home.repository.publish(2, {"root": 2}, signer=CryptoSigner.generate_ed25519())
    assert "not vouched for" in await home.refused()


async def test_a_source_that_is_frozen_is_found_out_of_date(home: Home) -> None:
    await home.refresh()
    home.repository.publish(2, {"root": 2}, days=-1)
    assert "out of date" in await home.refused()


async def test_a_root_that_is_not_the_one_that_was_signed_is_refused(home: Home) -> None:
    path = next(name for name in home.repository.files if name.startswith("/targets/"))
    home.repository.files[path] = b'{"root":9}'
    assert "not vouched for" in await home.refused()


async def test_a_source_without_end_and_one_that_is_away_leave_what_was(home: Home) -> None:
    home.repository.files["/timestamp.json"] = b" " * (1 << 20)
    assert "cannot be fetched" in await home.refused()
    del home.repository.files["/timestamp.json"]
    assert "cannot be fetched" in await home.refused()


def test_a_source_that_stalls_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.trust.tuf_intake.ANSWERING", 0.2)
    home.repository.stalls.add("/timestamp.json")
    (home.folder / "m").mkdir()
    with pytest.raises(TrustError, match="cannot be fetched"):
        take_in(home.repository.url, home.repository.bootstrap, home.folder / "m", home.folder / "root.json")


def test_a_source_that_drips_is_given_up(home: Home) -> None:
    fetcher = Fetcher(seconds=-1.0)
    with pytest.raises(Exception, match="too long"):
        fetcher.download_bytes(f"{home.repository.url}/timestamp.json", 1 << 20)
