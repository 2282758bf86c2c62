"""What a server leaves in a folder it may write is found: files that run by themselves, and links that lead out."""

import os
from pathlib import Path

import pytest

from broker.sandbox import leftovers
from broker.sandbox.leftovers import left, look


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "package.json").write_text("{}")
    (root / "src/main.py").write_text("")
    (root / "inside").symlink_to("src/main.py")
    return root


def told(root: Path, change: object) -> list[str]:
    before = look([root])
    assert callable(change)
    change()
    return [str(one).replace(f"{root}/", "") for one in left(before, look([root]))]


@pytest.mark.parametrize(
    "name", [".mcp.json", ".vscode/tasks.json", ".envrc", ".github/workflows/ci.yml", "src/deep/conftest.py", "a.pth"]
)
def test_a_new_file_that_runs_by_itself_is_found_wherever_it_lies(project: Path, name: str) -> None:
    def write() -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("evil")

    found = told(project, write)
    assert found and any(one == f"{name} (runs)" or one == f"{name.split('/')[0]} (runs)" for one in found)


def test_a_changed_one_is_found_and_an_untouched_one_is_not(project: Path) -> None:
    assert told(project, lambda: None) == []
    assert told(project, lambda: (project / "src/main.py").write_text("more")) == []
    assert told(project, lambda: (project / "package.json").write_text('{"scripts": {}}')) == ["package.json (runs)"]
    assert told(project, lambda: (project / "package.json").chmod(0o777)) == ["package.json (runs)"]


def test_links_that_lead_out_or_nowhere_are_found_and_those_that_stay_inside_are_not(project: Path) -> None:
    def link() -> None:
        (project / "out").symlink_to("/etc/passwd")
        (project / "up").symlink_to("../../secret")
        (project / "gone").symlink_to("src/not-there")
        (project / "fine").symlink_to("src/main.py")

    assert told(project, link) == ["gone (leads nowhere)", "out (leads out)", "up (leads out)"]


def test_a_link_that_is_turned_elsewhere_is_found(project: Path) -> None:
    def turn() -> None:
        os.unlink(project / "inside")
        (project / "inside").symlink_to("/etc")

    assert told(project, turn) == ["inside (leads out)"]


def test_a_link_between_two_grants_stays_inside(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (project / "link").symlink_to(other)
    assert [kind for kind, _ in look([project, other]).found.values()] == ["runs"]


def test_a_folder_too_large_to_see_is_said_to_be_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "MAX_SEEN", 3)
    assert not look([project]).whole
    monkeypatch.setattr(leftovers, "MAX_SEEN", 300)
    assert look([project]).whole
