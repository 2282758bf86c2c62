"""What a registry may do wrong when somebody pins anew: one clear sentence, and the old pin keeps running.

The real npm against a registry on loopback; the sentence names the package and the step.
"""

import asyncio
import copy
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from broker.errors import TrustError
from broker.pin import Pin
from broker.trust import npm_client
from tests.fakes.launchers import node_environment
from tests.test_pinning import SIGSTORE, WHEN, House
from tests.trust.archives import package_files, tarball
from tests.trust.signing_registries import SigningNpmRegistry

TARBALL: Final = "/server/-/server-1.1.0.tgz"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Sold:
    """Somebody who pinned a server, and the registry it came from."""

    house: House
    npm: SigningNpmRegistry
    pin: Pin


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    house = House(tmp_path_factory.mktemp("house"))
    with SigningNpmRegistry(SIGSTORE) as npm:
        house.environment = node_environment(npm.environment(house.folder / "user"))
        npm.release("server", "1.0.0", **WHEN)
        yield Sold(house, npm, asyncio.run(house.pin("npx -y server")))


@pytest.fixture
def sold(once: Sold) -> Iterator[Sold]:
    """As it was before anything went wrong; afterwards the old pin is there, whole, and nothing half-made is left."""
    npm = once.npm
    kept: list[Any] = [npm.documents, npm.tarballs, npm.attestations, npm.raw, npm.leads, npm.stalls]
    before = copy.deepcopy(kept)
    yield once
    for now, then in zip(kept, before, strict=True):
        now.clear()
        now.update(then)
    assert once.house.registry.pin("s") == once.pin
    assert os.listdir(once.house.store.root / "staging") == []
    assert asyncio.run(once.house.store.verified(once.pin)).tree == once.pin.artifact.tree


def corrupt(npm: SigningNpmRegistry) -> None:
    npm.publish("server", "1.1.0", data=b"no tarball at all")


def cut(npm: SigningNpmRegistry) -> None:
    npm.publish("server", "1.1.0", data=tarball(package_files("server", "1.1.0"))[:-20])


def other_bytes(npm: SigningNpmRegistry) -> None:
    npm.publish("server", "1.1.0", announced=b"others")


def no_document(npm: SigningNpmRegistry) -> None:
    npm.raw["/server"] = ("application/json", b"{'server'")


def stalls(npm: SigningNpmRegistry) -> None:
    npm.stalls.add("/server")


def stalls_later(npm: SigningNpmRegistry) -> None:
    npm.publish("server", "1.1.0")
    npm.stalls.add(TARBALL)


def leads_round(npm: SigningNpmRegistry) -> None:
    npm.leads["/server"] = f"{npm.url}/server"


def gone(npm: SigningNpmRegistry) -> None:
    npm.publish("server", "1.1.0")
    del npm.tarballs[TARBALL]


ASKING: Final = "(server, while asking "
LOADING: Final = "(server, while downloading 1 packages)"
SECONDS: Final = 3.0  # what npm is given where a registry never answers
WRONG: Final[Mapping[str, tuple[Callable[[SigningNpmRegistry], None], str, str]]] = {
    "serves no tarball": (corrupt, "cannot be unpacked", LOADING),
    "cuts a tarball short": (cut, "cannot be unpacked", LOADING),
    "serves other bytes than it announced": (other_bytes, "served other bytes than it announced", LOADING),
    "answers with no document": (no_document, "answers with something that is no document", ASKING),
    "never answers": (stalls, "did not finish within 3 seconds", ASKING),
    "never sends a tarball": (stalls_later, "did not finish within 3 seconds", LOADING),
    "leads to itself": (leads_round, "leads elsewhere without end", ASKING),
    "has lost a tarball": (gone, "has no", LOADING),
}


@pytest.mark.parametrize("case", WRONG)
async def test_an_update_is_refused_and_the_old_pin_keeps_running_when_a_registry(
    case: str, sold: Sold, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, reason, step = WRONG[case]
    spoil(sold.npm)
    if "never" in case:
        monkeypatch.setattr(npm_client, "RESOLVING" if step == ASKING else "DOWNLOADING", SECONDS)
    said = await sold.house.refusal("npx -y server")
    assert reason in said and step in said


async def test_a_registry_that_leads_to_another_one_does_not_supply_its_packages(sold: Sold) -> None:
    with SigningNpmRegistry(SIGSTORE) as evil:
        evil.publish("server", "6.6.6")
        sold.npm.leads["/server"] = f"{evil.url}/server"
        said = await sold.house.refusal("npx -y server")
    assert f"server 6.6.6 would come from '{evil.url}" in said and "not a registry you configured" in said


async def test_a_tarball_that_is_fetched_elsewhere_has_to_be_the_announced_one(sold: Sold) -> None:
    with SigningNpmRegistry(SIGSTORE) as mirror:
        sold.npm.release("server", "1.1.0", **WHEN)
        sold.npm.leads[TARBALL] = f"{mirror.url}{TARBALL}"
        mirror.release("server", "1.1.0", **WHEN)
        assert (await sold.house.prepare("npx -y server")).artifact.version == "1.1.0"
        mirror.release("server", "1.1.0", {"description": "other bytes"}, **WHEN)
        assert "served other bytes than it announced" in await sold.house.refusal("npx -y server")


def test_a_pin_file_from_the_future_changes_nothing_and_is_refused(sold: Sold) -> None:
    file = sold.house.folder / "config/pins/s.toml"
    text = file.read_text()
    try:
        file.write_text(text.replace("v = 1\n", "v = 2\n", 1))
        assert sold.house.registry.pin("s") == sold.pin  # the agreed text counts
        said = "the pin of s cannot be read: the pin has version 2, this program reads 1"
        with pytest.raises(TrustError, match=said) as refused:
            sold.house.registry.check("pins/s.toml", file.read_bytes())
        assert "newer Bulkhead" in refused.value.hint
    finally:
        file.write_text(text)
