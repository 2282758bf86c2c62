"""What a Python index may do wrong when somebody pins anew: one clear sentence, and the old pin keeps running.

The real uv and pip against an index on loopback; the sentence names the package and the step.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import pytest

from broker.trust import fetch, pypi_client
from tests.test_bad_input import Sold, anyio_backend, is_refused
from tests.test_pinning import SIGSTORE, House, unharmed
from tests.trust.archives import wheel
from tests.trust.attack_table import catches
from tests.trust.signing_registries import AttestingIndex

__all__ = ["anyio_backend"]
LISTING: Final = "/simple/server/"
WHEEL: Final = "/files/server/server-1.1.0-py3-none-any.whl"


Wrong: TypeAlias = tuple[Callable[[AttestingIndex], None], str, str]
Python: TypeAlias = Sold[AttestingIndex]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    house = House(tmp_path_factory.mktemp("house"))
    with AttestingIndex(SIGSTORE) as index:
        house.environment = index.environment(house.folder / "user")
        publish(index, "1.0.0")
        yield Sold(house, index, asyncio.run(house.pin("uvx server")))


@pytest.fixture
def sold(once: Python) -> Iterator[Python]:
    """As it was before anything went wrong, and so afterwards."""
    index = once.source
    kept = (index.files, index.provenance, index.leads, index.stalls)
    with unharmed(once.house, once.pin, *kept):
        yield once


def publish(index: AttestingIndex, version: str, *, cut: int = 0, announced: bytes = b"") -> None:
    data = wheel("server", version, {"server.py": "def main(): ..."}, scripts={"server": "server:main"})
    index.publish("server", version, announced or data[: len(data) - cut])
    if announced:
        file = WHEEL.rpartition("/")[2]
        index.files["server"][file] = (data, index.files["server"][file][1])


def cut(index: AttestingIndex) -> None:
    publish(index, "1.1.0", cut=40)


def other_bytes(index: AttestingIndex) -> None:
    publish(index, "1.1.0", announced=b"others")


def stalls(index: AttestingIndex) -> None:
    index.stalls.add(LISTING)


def stalls_later(index: AttestingIndex) -> None:
    publish(index, "1.1.0")
    index.stalls.add(WHEEL)


def leads_round(index: AttestingIndex) -> None:
    index.leads[LISTING] = index.url + LISTING


def gone(index: AttestingIndex) -> None:
    publish(index, "1.1.0")
    index.leads[WHEEL] = index.url + "/nowhere"


ASKING: Final = "(server, while asking "
LOADING: Final = "(server, while downloading 1 packages)"
SECONDS: Final = 3.0  # what uv and pip are given where an index never answers


@catches("H12")
@pytest.mark.parametrize("wrong", [
    pytest.param((cut, "served a wheel that cannot be unpacked", LOADING), id="cuts a wheel short"),
    pytest.param((other_bytes, "served other bytes than it announced", LOADING), id="serves other bytes"),
    pytest.param((leads_round, "answers with something that is no list of files", ASKING), id="leads to itself"),
    pytest.param((gone, "does not have a file it lists", ASKING), id="has lost a wheel"),
])  # fmt: skip
async def test_an_update_is_refused_and_the_old_pin_keeps_running_when_an_index(sold: Python, wrong: Wrong) -> None:
    await is_refused(sold, "uvx server", wrong)


@catches("H12")
@pytest.mark.parametrize("stalled", [stalls, stalls_later])
async def test_an_index_that_never_answers_is_given_up(
    stalled: Callable[[AttestingIndex], None], sold: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pypi_client, "RESOLVING", SECONDS)
    monkeypatch.setattr(fetch, "ONE_ANSWER", SECONDS)
    await is_refused(sold, "uvx server", (stalled, "uv did not finish within 3 seconds", ASKING))


@catches("H12")
async def test_an_index_that_leads_to_another_one_does_not_supply_its_packages(sold: Python) -> None:
    with AttestingIndex(SIGSTORE) as evil:
        publish(evil, "6.6.6")
        sold.source.leads[LISTING] = evil.url + LISTING
        said = await sold.house.refusal("uvx server")
    assert "server would come over a connection that is not protected" in said
