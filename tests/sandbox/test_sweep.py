"""Folders that a killed daemon left are removed at the next start; those of one that lives are not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from broker.sandbox.sweep import BOX, Box, sweep_boxes


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Our own place for such folders: the machine's belongs to whatever runs beside."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_box_of_a_killed_daemon_is_removed_with_all_in_it(place: Path) -> None:
    text = "import os, tempfile; tempfile.tempdir = os.sys.argv[1]\nfrom broker.sandbox.sweep import Box\n"
    text += "box = Box.make(); (box.folder / 'token').write_text('x'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", text, str(place)], check=False, timeout=60).returncode == -9
    (left,) = place.iterdir()
    assert sweep_boxes() == [str(left)] and list(place.iterdir()) == []


def test_the_box_of_one_that_lives_is_spared_and_goes_with_its_server(place: Path) -> None:
    box = Box.make()
    assert sweep_boxes() == [] and box.folder.is_dir()
    box.remove()
    assert not box.folder.exists()


def test_links_files_and_other_names_are_left_alone(place: Path) -> None:
    kept = place / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    (place / f"{BOX}link").symlink_to(kept)
    (place / f"{BOX}file").write_text("a file")
    assert sweep_boxes() == []
    assert (kept / "file").read_text() == "mine" and len(os.listdir(place)) == 3
