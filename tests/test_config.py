"""Where things are: one home, its folders, and sockets whose path fits."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import MAX_SOCKET_PATH, Waits, make_folders, paths_of, paths_under
from broker.errors import ConfigError


def test_a_named_home_holds_everything_and_counts_as_explicit() -> None:
    paths = paths_of({"BULKHEAD_HOME": "/srv/bulkhead"})
    assert paths.explicit
    assert paths.home == Path("/srv/bulkhead")
    inside = (paths.config, paths.data, paths.state, paths.runtime, paths.store, paths.audit, paths.log)
    assert [path for path in inside if paths.home not in path.parents] == []
    assert (paths.connect_socket.name, paths.control_socket.name) == ("connect.sock", "control.sock")
    assert paths.throwaway_mark.parent == paths.home


def test_a_home_named_by_a_relative_path_is_made_absolute() -> None:
    assert paths_of({"BULKHEAD_HOME": "profiles/work"}).home == Path.cwd() / "profiles" / "work"


def test_without_a_named_home_the_system_decides_and_it_is_not_explicit() -> None:
    for environment in ({}, {"BULKHEAD_HOME": ""}):
        paths = paths_of(environment)
        assert not paths.explicit
        assert paths.home == paths.config
        assert len({paths.config, paths.state, paths.data}) >= 1


def test_choosing_a_home_makes_nothing(tmp_path: Path) -> None:
    paths_of({"BULKHEAD_HOME": str(tmp_path / "home")})
    assert os.listdir(tmp_path) == []


@given(st.text("abcdefgh/ä", min_size=1, max_size=200))
def test_both_sockets_have_a_path_the_system_can_take(name: str) -> None:
    paths = paths_under(Path("/srv") / name.strip("/"))
    for path in (paths.connect_socket, paths.control_socket):
        assert len(os.fsencode(path)) <= MAX_SOCKET_PATH


def test_a_deep_home_gets_the_same_short_folder_for_its_sockets_every_time_and_no_other_home_does() -> None:
    deep = Path("/srv") / ("d" * 120)
    assert paths_under(deep).runtime == paths_under(deep).runtime
    assert paths_under(deep).runtime != paths_under(deep.with_name("e" * 120)).runtime
    assert str(os.getuid()) in paths_under(deep).runtime.name


def test_every_folder_is_made_owner_only(tmp_path: Path) -> None:
    paths = paths_under(tmp_path / "home")
    make_folders(paths)
    make_folders(paths)
    folders = (paths.home, paths.config, paths.data, paths.state, paths.runtime)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"the folder {tmp_path}/home/config cannot be made"):
        make_folders(paths_under(tmp_path / "home"))


def test_the_waits_of_a_handshake_end_before_clients_give_up() -> None:
    waits = Waits()
    assert waits.handshake_answer < 30
    assert waits.stop_stdin + waits.stop_terminate < waits.shutdown
