"""A grant that cannot be shown is refused before a sandbox is built, in one sentence with what to do."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import SandboxError
from broker.model import Grants, ServerName
from broker.sandbox.places import check_places, file_system, mounted


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


MADE: dict[str, Callable[[Path], object]] = {
    "does not exist": lambda path: None,
    "is a socket": a_socket,
    "is a named pipe": os.mkfifo,
}


@pytest.mark.parametrize("said", MADE)
@pytest.mark.parametrize("writable", [False, True])
def test_a_grant_that_is_no_file_and_no_folder_is_refused(tmp_path: Path, said: str, writable: bool) -> None:
    path = tmp_path / "x"
    MADE[said](path)
    with pytest.raises(SandboxError, match=f"cannot be shown to notes: it {said}") as refused:
        check_places(ServerName("notes"), Grants(write=(path,)) if writable else Grants(read=(path,)))
    assert refused.value.hint


def test_a_grant_that_you_cannot_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may do everything, so the kernel's answer is set here."""
    monkeypatch.setattr(os, "access", lambda _, wanted: not wanted & os.W_OK)
    check_places(ServerName("notes"), Grants(read=(tmp_path,)))
    with pytest.raises(SandboxError, match="it cannot be written by you"):
        check_places(ServerName("notes"), Grants(write=(tmp_path,)))
    monkeypatch.setattr(os, "access", lambda _, wanted: False)
    with pytest.raises(SandboxError, match="it cannot be read by you"):
        check_places(ServerName("notes"), Grants(read=(tmp_path,)))


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_grant_on_the_network_is_refused_before_it_is_touched(kind: str) -> None:
    mounts = [(Path("/"), "ext4"), (Path("/net"), kind), (Path("/net/own"), "ext4")]
    with pytest.raises(SandboxError, match=rf"lies on the network \({kind}\)"):
        check_places(ServerName("notes"), Grants(read=(Path("/net/not-there"),)), mounts)
    with pytest.raises(SandboxError, match="does not exist"):
        check_places(ServerName("notes"), Grants(read=(Path("/net/own/not-there"),)), mounts)


def test_the_deepest_and_the_latest_file_system_counts() -> None:
    mounts = [(Path("/"), "ext4"), (Path("/a"), "nfs"), (Path("/a"), "tmpfs"), (Path("/ab"), "cifs")]
    assert [file_system(Path(p), mounts) for p in ("/x", "/a/x", "/ab")] == ["ext4", "tmpfs", "cifs"]
    assert file_system(Path("/proc"), mounted()) == "proc"


def test_files_and_folders_of_this_machine_are_granted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_places(ServerName("notes"), Grants(read=(tmp_path / "file",), write=(tmp_path,)))
