"""Every place as it looks: narrow and wide, dark and light, and without colour.  The README shows some of these."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.ui.gallery import FOLDER, NARROW, Picture, drawn, gallery, settings

README = Path(__file__).parents[2] / "README.md"


UNSET = "c5c8c6"  # how a picture says that the terminal's own colour is meant


@pytest.fixture(scope="module")
def found() -> dict[str, Picture]:
    with settings():
        return asyncio.run(gallery())


def test_every_place_looks_as_in_its_picture_narrow_and_wide_dark_and_light(found: dict[str, Picture]) -> None:
    stored = {path.stem: path.read_text() for path in FOLDER.glob("*.svg")}
    assert stored.keys() == found.keys()
    other = [name for name, picture in found.items() if stored[name] != picture.svg]
    assert other == [], "after a wanted change: python -m tests.ui.gallery, then look at the pictures"


def test_every_place_says_the_same_without_colour(found: dict[str, Picture]) -> None:
    with settings(NO_COLOR="1"):
        plain = asyncio.run(drawn(NARROW))
    for name, picture in plain.items():
        assert picture.text == found[f"{name}-narrow-dark"].text
        assert "▸" in picture.text.splitlines()[0]  # where one is
        assert any(line.startswith("▸") for line in picture.text.splitlines()[2:])  # and on which row
        lit = set(re.findall(r"fill: #([0-9a-f]{6})", picture.svg)) - {UNSET}
        assert all(len({colour[0:2], colour[2:4], colour[4:6]}) == 1 for colour in lit)  # greys alone


def test_the_pictures_in_the_readme_are_pictures_of_this_gallery() -> None:
    shown = re.findall(r"\(tests/ui/gallery/([a-z-]+)\.svg\)", README.read_text())
    assert len(shown) == 6
    assert all((FOLDER / f"{name}.svg").is_file() for name in shown)
