"""Sources of Python packages: read without running them, and held against what is built of them."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from broker.errors import TrustError
from broker.trust.bounded import run_build, why
from broker.trust.run import Command, Finished
from broker.trust.sdist import Sdist, check_built, stand_in, unpack_sdist
from tests.trust.archives import tarball, wheel

ABOUT = "Metadata-Version: 2.2\nName: Own.Name\nVersion: 1.0\nRequires-Dist: Lib>=2\n"
SDIST = Sdist("own-name", "1.0", ("lib>=2",), "", (), "setuptools.build_meta:__legacy__", ("setuptools>=40.8.0",), ())

REFUSED: Mapping[str, tuple[dict[str, str], str]] = {
    "is another": ({"PKG-INFO": "Name: other\nVersion: 1.0\n"}, "it calls itself 'other'"),
    "says nothing": ({"setup.py": ""}, "it calls itself 'None'"),
    "hides what it needs": (
        {"PKG-INFO": "Name: own-name\nVersion: 1.0\n", "own_name.egg-info/requires.txt": "lib\n"},
        "only a build would say which packages it needs"),
    "needs an address": (
        {"PKG-INFO": f"{ABOUT}Requires-Dist: x @ https://x.test/x.whl\n"}, "comes from an address"),
    "is built with an address": (
        {"PKG-INFO": ABOUT, "pyproject.toml": "build-system.requires = ['x @ https://x.test/x']"}, "from an address"),
    "is built from elsewhere": (
        {"PKG-INFO": ABOUT, "pyproject.toml": "build-system.backend-path = ['a/../..']"}, "begins outside"),
    "is built by code in a word": (
        {"PKG-INFO": ABOUT, "pyproject.toml": "build-system.build-backend = 'x;y'"}, "does not say how it is built"),
}  # fmt: skip


def test_a_source_says_what_it_is_what_it_needs_and_how_it_is_built(tmp_path: Path) -> None:
    assert unpack_sdist(tarball({"PKG-INFO": ABOUT, "setup.py": "1/0"}), "own-name", tmp_path) == SDIST


@pytest.mark.parametrize("case", REFUSED)
def test_a_source_is_refused_that(case: str, tmp_path: Path) -> None:
    files, reason = REFUSED[case]
    with pytest.raises(TrustError, match=reason):
        unpack_sdist(tarball(files), "own-name", tmp_path)


def test_what_stands_in_for_a_source_says_what_the_source_says(tmp_path: Path) -> None:
    check_built(stand_in(SDIST, tmp_path).read_bytes(), SDIST)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (wheel("own-name", "2.0", {}), "another package, or another version"),
        (wheel("other", "1.0", {}), "another package, or another version"),
        (wheel("own-name", "1.0", {}), "needs other packages than its source said"),
        (b"", "is damaged"),
    ],
)
def test_a_wheel_is_refused_that_is_not_what_its_source_said(made: bytes, reason: str) -> None:
    with pytest.raises(TrustError, match=reason):
        check_built(made, SDIST)


@pytest.mark.parametrize("bound", [{"room": 100_000}, {"entries": 20}])
async def test_a_build_that_takes_too_much_of_the_disk_is_ended(bound: dict[str, int], tmp_path: Path) -> None:
    ended = anyio.Event()

    async def run(command: Command) -> Finished:
        for number in range(30):
            (command.work / str(number)).write_bytes(b"x" * 8192)
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return Finished(0, b"", b"")

    with anyio.fail_after(60), pytest.raises(TrustError, match="the build was ended: it wrote more than"):
        await run_build(run, Command(("build",), tmp_path, tmp_path, {}), **bound)
    assert ended.is_set()


def test_why_a_build_failed_is_searched_in_its_words_and_never_quoted() -> None:
    assert (
        why(Finished(1, b"", b"Error: getaddrinfo EAI_AGAIN evil\x1b[2J"))
        == "it wanted a network, and a build gets none"
    )
    assert why(Finished(7, b"", b"evil words")) == "it ended with 7"
