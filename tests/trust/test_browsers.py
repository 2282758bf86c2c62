"""What would fetch a server's browser, and from where: said by its line, its driver, and the person's own setting."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.pin import Build, PinnedArtifact
from broker.trust.browsers import browser_builds
from broker.trust.builds import about_built, about_proposed
from broker.trust.continuity import compare
from broker.trust.npm_lock import Locked

MIRRORS: Final = """
var PLAYWRIGHT_CDN_MIRRORS = [
  "https://one.test/builds", // a comment
  'https://two.test',
];
const other = "https://three.test";
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "node_modules/playwright-core"
    (folder / "lib/server").mkdir(parents=True)
    (folder / "cli.js").touch()
    (folder / "lib/server/registry.js").write_text(MIRRORS)
    return tmp_path


def locked(name: str = "playwright-core") -> Locked:
    return Locked(f"node_modules/{name}", name, "1.0.0", "sha512-x")


def test_the_drivers_own_code_says_where_browsers_come_from(tree: Path) -> None:
    (build,) = browser_builds([locked(), locked("server")], tree, (), {})
    assert build.hosts == ("one.test:443", "two.test:443")
    assert build.by == "node node_modules/playwright-core/cli.js install chromium"
    (build,) = browser_builds([locked()], tree, (), {"PLAYWRIGHT_DOWNLOAD_HOST": "http://near.test:81/x"})
    assert build.hosts == ("near.test:81",)


@pytest.mark.parametrize(
    ("args", "browser"),
    [(["--browser", "webkit"], "webkit"), (["--browser=firefox"], "firefox"), (["--browser", "chrome"], "chromium"),
     (["firefox"], "chromium"), (["--browser"], "chromium")],
)  # fmt: skip
def test_the_line_says_which_browser(tree: Path, args: list[str], browser: str) -> None:
    (build,) = browser_builds([locked()], tree, args, {})
    assert build.by.endswith(f" install {browser}")


def test_a_driver_that_names_no_place_fetches_nothing(tree: Path) -> None:
    (tree / "node_modules/playwright-core/lib/server/registry.js").write_text("fetch(secretPlace())")
    assert browser_builds([locked()], tree, (), {}) == ()


def test_other_bytes_of_the_same_browser_are_no_update(tree: Path) -> None:
    builds = browser_builds([locked()], tree, (), {})
    proposed = PinnedArtifact("npm", "server", "1.0.0", builds=builds)
    assert "reaches only those places" in about_proposed(proposed)[-1] and len(about_proposed(proposed)) == 2

    def fetched(result: str, version: str = "1.0.0") -> PinnedArtifact:
        made: tuple[Build, ...] = tuple(replace(each, result=result, tier="A", version=version) for each in builds)
        return replace(proposed, builds=made)

    old = fetched("aa")
    assert "fetched here" in about_built(old)[0]
    assert [found.code for found in compare(old, fetched("bb"), now=0)] == ["BROWSER_CHANGED"]
    for new in (old, proposed, fetched("bb", "2.0.0")):
        assert compare(old, new, now=0) == ()
