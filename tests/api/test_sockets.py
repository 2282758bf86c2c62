"""Two sockets only the user can reach, and one daemon a home."""

import os
import socket
import stat
from pathlib import Path

import pytest

from broker.api.sockets import AlreadyRunning, is_running, listen, require_own_folder, take_lock
from broker.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_socket_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "run" / "connect.sock"
    previous = os.umask(0)
    try:
        with listen(path):
            assert (mode(path), mode(path.parent)) == (0o600, 0o700)
            assert os.umask(0) == 0  # put back
    finally:
        os.umask(previous)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "connect.sock"
    listen(path).close()
    with listen(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_what_lies_in_the_sockets_place_and_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run" / "connect.sock"
    path.parent.mkdir(mode=0o700)
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be listened on"):
        listen(path)


@pytest.mark.parametrize("wrong", [0o750, 0o705, 0o701, 0o777])
def test_a_folder_others_may_enter_is_refused_with_what_to_do(tmp_path: Path, wrong: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(wrong)
    with pytest.raises(ConfigError, match="is not a folder of yours alone") as refused:
        listen(folder / "connect.sock")
    assert refused.value.hint.endswith(f"chmod 700 {folder}")


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is not a folder of yours alone"):
        require_own_folder(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Somebody was first under a name in the temporary folder that can be foreseen."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigError, match="is not a folder of yours alone"):
        require_own_folder(folder)


def test_one_daemon_holds_a_home_and_the_kernel_lets_go_of_it(tmp_path: Path) -> None:
    lock = tmp_path / "state" / "daemon.lock"
    assert not is_running(lock)
    held = take_lock(lock)
    assert is_running(lock)
    with pytest.raises(AlreadyRunning, match="a daemon already runs for this home"):
        take_lock(lock)
    os.close(held)
    assert not is_running(lock)
    assert mode(lock) == 0o600
    held = take_lock(lock)
    assert not os.get_inheritable(held)
    os.close(held)
