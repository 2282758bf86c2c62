"""What a registry may do wrong when somebody pins anew: one clear sentence, and the old pin keeps running.

The real npm against a registry on loopback; the sentence names the package and the step.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

import pytest

from broker.errors import TrustError
from broker.pin import Pin
from broker.trust import npm_client
from tests.fakes.launchers import node_environment
from tests.test_pinning import SIGSTORE, WHEN, House, unharmed
from tests.trust.archives import package_files, tarball
from tests.trust.attack_table import catches
from tests.trust.signing_registries import SigningNpmRegistry

R = TypeVar("R")
TARBALL: Final = "/server/-/server-1.1.0.tgz"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Sold(Generic[R]):
    """Somebody who pinned a server, and the registry it came from."""

    house: House
    source: R
    pin: Pin


async def is_refused(sold: Sold[R], line: str, wrong: tuple[Callable[[R], None], str, str]) -> None:
    """With what went wrong, in which step."""
    spoil, reason, step = wrong
    spoil(sold.source)
    said = await sold.house.refusal(line)
    assert reason in said and step in said


Npm: TypeAlias = Sold[SigningNpmRegistry]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Npm]:
    house = House(tmp_path_factory.mktemp("house"))
    with SigningNpmRegistry(SIGSTORE) as npm:
        house.environment = node_environment(npm.environment(house.folder / "user"))
        npm.release("server", "1.0.0", **WHEN)
        yield Sold(house, npm, asyncio.run(house.pin("npx -y server")))


@pytest.fixture
def sold(once: Npm) -> Iterator[Npm]:
    """As it was before anything went wrong, and so afterwards."""
    npm = once.source
    kept = (npm.documents, npm.tarballs, npm.attestations, npm.raw, npm.leads, npm.stalls)
    with unharmed(once.house, once.pin, *kept):
        yield once


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


@catches("H12")
@pytest.mark.parametrize("case", WRONG)
async def test_an_update_is_refused_and_the_old_pin_keeps_running_when_a_registry(
    case: str, sold: Npm, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WRONG[case]
    if "never" in case:
        monkeypatch.setattr(npm_client, "RESOLVING" if wrong[2] == ASKING else "DOWNLOADING", SECONDS)
    await is_refused(sold, "npx -y server", wrong)


@catches("H12")
async def test_a_registry_that_leads_to_another_one_does_not_supply_its_packages(sold: Npm) -> None:
    with SigningNpmRegistry(SIGSTORE) as evil:
        evil.publish("server", "6.6.6")
        sold.source.leads["/server"] = f"{evil.url}/server"
        said = await sold.house.refusal("npx -y server")
    assert f"server 6.6.6 would come from '{evil.url}" in said and "not a registry you configured" in said


async def test_a_tarball_that_is_fetched_elsewhere_has_to_be_the_announced_one(sold: Npm) -> None:
    with SigningNpmRegistry(SIGSTORE) as mirror:
        sold.source.release("server", "1.1.0", **WHEN)
        sold.source.leads[TARBALL] = f"{mirror.url}{TARBALL}"
        mirror.release("server", "1.1.0", **WHEN)
        assert (await sold.house.prepare("npx -y server")).artifact.version == "1.1.0"
        mirror.release("server", "1.1.0", {"description": "other bytes"}, **WHEN)
        assert "served other bytes than it announced" in await sold.house.refusal("npx -y server")


@catches("H13")
def test_a_pin_file_from_the_future_changes_nothing_and_is_refused(sold: Npm) -> None:
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
