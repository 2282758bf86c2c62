"""`home.conf`: written by a person's own commands, believed only if nobody else could have written it."""

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from broker.config import Paths, paths_under
from broker.errors import ConfigError
from broker.home import CONF, SHIM, read_conf, shim_command, write_conf


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return paths_under(tmp_path / "home")


def test_what_was_written_is_read_back_and_owner_only(paths: Paths) -> None:
    write_conf(paths, {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/bus"})
    assert read_conf(paths.home) == paths
    assert stat.S_IMODE((paths.home / CONF).stat().st_mode) == 0o600
    lines = (paths.home / CONF).read_text().splitlines()
    assert f"python={sys.executable}" in lines
    assert "session-bus=unix:path=/run/bus" in lines
    assert f"connect={paths.connect_socket}" in lines


def test_writing_the_same_again_touches_nothing(paths: Paths) -> None:
    write_conf(paths, {})
    before = (paths.home / CONF).stat().st_ino
    write_conf(paths, {})
    assert (paths.home / CONF).stat().st_ino == before
    write_conf(paths, {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/other"})
    assert (paths.home / CONF).stat().st_ino != before


def test_a_home_without_the_file_is_one_folder(tmp_path: Path) -> None:
    assert read_conf(tmp_path) == paths_under(tmp_path)


def test_folders_that_lie_elsewhere_are_found_again(paths: Paths, tmp_path: Path) -> None:
    spread = replace(paths, data=tmp_path / "other data", explicit=False)
    write_conf(spread, {})
    assert read_conf(paths.home) == spread


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_others_may_write_is_refused_with_what_to_do(paths: Paths, mode: int) -> None:
    write_conf(paths, {})
    (paths.home / CONF).chmod(mode)
    with pytest.raises(ConfigError, match="may be written by others") as refused:
        read_conf(paths.home)
    assert refused.value.hint == f"chmod 600 {paths.home / CONF}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_a_file_of_another_user_is_refused(paths: Paths) -> None:
    write_conf(paths, {})
    os.chown(paths.home / CONF, 12345, -1)
    with pytest.raises(ConfigError, match="may be written by others"):
        read_conf(paths.home)


def test_a_file_that_lacks_a_fact_is_refused_and_names_it(paths: Paths) -> None:
    write_conf(paths, {})
    text = (paths.home / CONF).read_text()
    (paths.home / CONF).write_text("\n".join(line for line in text.splitlines() if not line.startswith("state=")))
    with pytest.raises(ConfigError, match="lacks 'state'"):
        read_conf(paths.home)


def test_a_path_with_a_line_break_cannot_smuggle_in_a_fact(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line break"):
        write_conf(paths_under(tmp_path / "home\npython=evil"), {})


@pytest.mark.parametrize("break_", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_what_only_looks_like_a_line_break_is_a_part_of_the_path(tmp_path: Path, break_: str) -> None:
    paths = paths_under(tmp_path / f"home{break_}explicit=0")
    write_conf(paths, {})
    assert read_conf(paths.home) == paths


def test_a_path_that_is_not_utf8_is_kept_byte_for_byte(tmp_path: Path) -> None:
    paths = paths_under(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    write_conf(paths, {})
    assert read_conf(paths.home) == paths


def test_the_fast_form_starts_an_isolated_interpreter_on_the_shim_itself(paths: Paths) -> None:
    command = shim_command(paths, "files", "cursor")
    assert command == [
        sys.executable, "-I", "-S", "-E", str(SHIM), "files", "--client", "cursor", "--home", str(paths.home)
    ]  # fmt: skip
    assert SHIM.is_file()
