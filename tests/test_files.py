"""Documents are read with a bound and replaced whole."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import files
from broker.errors import ConfigError
from broker.files import private_folder, read_bounded, sha256_hex, write_private

FULL: Final = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_a_file_is_returned_whole_or_refused_for_its_size(tmp_path: Path, data: bytes, limit: int) -> None:
    path = tmp_path / "document"
    path.write_bytes(data)
    if len(data) <= limit:
        assert read_bounded(path, limit) == data
    else:
        with pytest.raises(ConfigError, match=f"is larger than {limit} bytes"):
            read_bounded(path, limit)


def test_a_missing_file_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "below a file"])
def test_what_is_no_regular_file_is_refused_at_once_and_leaves_no_descriptor(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "document"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # nobody writes: a careless open would wait for ever
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        (tmp_path / "file").write_bytes(b"")
        path = tmp_path / "file" / "document"
    before = open_descriptors()
    with pytest.raises(ConfigError, match=r"is not a regular file|cannot be read"):
        read_bounded(path)
    assert open_descriptors() == before


def test_a_disk_that_fails_while_reading_is_told_as_such(tmp_path: Path) -> None:
    """Memory of this process at address 0 is a regular file whose first byte cannot be read."""
    with pytest.raises(ConfigError, match="cannot be read: Input/output error"):
        read_bounded(Path("/proc/self/mem"))


def test_a_document_is_replaced_and_owner_only_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "down" / "document"
    modes = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    previous = os.umask(0)
    try:
        write_private(path, b"one")
        write_private(path, b"two")
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert modes == [0o600, 0o700, 0o600, 0o700]  # the file, then the folder it lies in, both times
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]
    assert os.listdir(path.parent) == ["document"]


def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        write_private(tmp_path / "shown", b"", mode=0o444)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "shown").stat().st_mode) == 0o444


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "document"
    path.write_bytes(b"old")
    before = open_descriptors()

    def fail(*_: object) -> None:
        raise FULL

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device") as refused:
        write_private(path, b"new")
    assert refused.value.hint == "check free space and permissions"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["document"]
    assert open_descriptors() == before


def test_a_link_in_a_documents_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "somewhere else"
    target.write_bytes(b"not ours")
    link = tmp_path / "document"
    link.symlink_to(target)
    write_private(link, b"ours")
    assert not link.is_symlink()
    assert (link.read_bytes(), target.read_bytes()) == (b"ours", b"not ours")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_private(tmp_path / "file" / "below" / "document", b"")


def test_a_name_too_long_for_the_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: File name too long"):
        write_private(tmp_path / ("n" * 250), b"")


def test_folders_made_here_are_owner_only_and_those_that_were_there_stay_as_they_are(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    made = private_folder(there / "new" / "newer")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (there, made.parent, made)] == [0o755, 0o700, 0o700]
    assert private_folder(made) == made


def test_a_digest_is_the_sha256_in_hex() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert files.MAX_DOCUMENT == 16 << 20
