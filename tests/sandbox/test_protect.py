"""What is guarded inside a writable grant, on real folders."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import SandboxError
from broker.model import Mount
from broker.sandbox import protect
from broker.sandbox.protect import Guards, guards_of


def folders(*paths: Path) -> None:
    for path in paths:
        path.mkdir(parents=True)


def writable(*paths: Path) -> list[Mount]:
    return [Mount(path, path, writable=True) for path in paths]


def guarded(mounts: list[Mount]) -> dict[str, bool]:
    """Every guarded path, and whether it is only pinned; each checked to be what was opened."""
    guards = opened(mounts).guards
    found = {}
    for guard in guards:
        assert os.path.samestat(os.fstat(guard.descriptor), guard.path.lstat())
        os.close(guard.descriptor)
        found[str(guard.path)] = guard.pin
    return found


def opened(mounts: list[Mount]) -> Guards:
    guards = guards_of(mounts)
    assert [len(g.path.parts) for g in guards.guards] == sorted(len(g.path.parts) for g in guards.guards)
    return guards


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def test_git_and_what_editors_and_shells_run_is_read_only_and_nothing_else(tmp_path: Path) -> None:
    folders(tmp_path / ".git/hooks", tmp_path / ".vscode", tmp_path / "src")
    (tmp_path / ".envrc").touch()
    names = (".git", ".vscode", ".envrc")
    assert guarded(writable(tmp_path)) == {str(tmp_path / name): False for name in names}


def test_a_git_folder_granted_by_name_can_be_written_but_not_moved_nor_made_to_run_anything(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    folders(git / "hooks", git / "objects", git / "info")
    (git / "config").touch()
    (git / "info/attributes").touch()
    expected = {"": True, "hooks": False, "config": False, "info/attributes": False}
    for mounts in (writable(tmp_path, git), writable(git)):
        found = guarded(mounts)
        found.setdefault(str(git), True)  # granted alone it is the mount itself
        assert found == {str(git / name): pin for name, pin in expected.items()}


def test_repositories_further_down_are_guarded_and_so_is_every_folder_on_the_way(tmp_path: Path) -> None:
    folders(tmp_path / "company/tool/.git/hooks", tmp_path / "company/other")
    assert guarded(writable(tmp_path)) == {
        str(tmp_path / "company"): True,
        str(tmp_path / "company/tool"): True,
        str(tmp_path / "company/tool/.git"): False,
    }


def test_the_file_that_stands_for_git_in_a_worktree_is_guarded(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    assert guarded(writable(tmp_path)) == {str(tmp_path / ".git"): False}


def test_a_folder_granted_for_reading_inside_is_left_alone(tmp_path: Path) -> None:
    inner = tmp_path / "vendor"
    folders(inner / "lib/.git")
    assert guarded([*writable(tmp_path), Mount(inner, inner)]) == {}


def test_nothing_is_guarded_in_what_cannot_be_written(tmp_path: Path) -> None:
    folders(tmp_path / ".git")
    assert guarded([Mount(tmp_path, tmp_path)]) == {}


@pytest.mark.parametrize("name", [".git", ".vscode", ".envrc"])
def test_a_link_in_the_place_of_a_guarded_name_refuses_the_launch(tmp_path: Path, name: str) -> None:
    folders(tmp_path / "grant/sub/.git", tmp_path / "aws")
    (tmp_path / "grant" / name).symlink_to(tmp_path / "aws")
    with pytest.raises(SandboxError, match="is a symbolic link") as refused:
        opened(writable(tmp_path / "grant"))
    assert str(tmp_path / "grant" / name) in str(refused.value)


def test_links_among_ordinary_files_are_not_followed(tmp_path: Path) -> None:
    folders(tmp_path / "grant", tmp_path / "outside/.git")
    (tmp_path / "grant/link").symlink_to(tmp_path / "outside")
    assert guarded(writable(tmp_path / "grant")) == {}


def test_a_grant_too_large_to_search_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protect, "MAX_FOLDERS", 5)
    folders(*(tmp_path / f"{number}" for number in range(10)))
    guards = opened(writable(tmp_path))
    assert [str(tmp_path) in warning and "too large" in warning for warning in guards.warnings] == [True]


def test_more_repositories_than_can_be_mounted_are_said_to_be_unprotected(tmp_path: Path) -> None:
    folders(*(tmp_path / f"{number}/.git" for number in range(protect.MAX_REPOSITORIES + 4)))
    guards = opened(writable(tmp_path))
    for guard in guards.guards:
        os.close(guard.descriptor)
    assert len({guard.path for guard in guards.guards if guard.path.name == ".git"}) == protect.MAX_REPOSITORIES
    assert any("deep ones are not protected" in warning for warning in guards.warnings)
