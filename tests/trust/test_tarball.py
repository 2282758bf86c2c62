"""npm tarballs that lie, climb or swell are refused, and nothing of them is left outside the tree."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import TrustError
from broker.trust import members
from broker.trust.members import Unpacking
from broker.trust.tarball import unpack_tarball
from tests.trust.archives import Members, member, tarball
from tests.trust.attack_table import catches

GOOD = {"package.json": "{}", "dist/index.js": "x"}


def unpack(data: bytes, tmp_path: Path) -> list[str]:
    root = tmp_path / "tree"
    root.mkdir()
    unpack_tarball(data, "node_modules/pkg", Unpacking(root))
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_tarball_is_unpacked_without_its_first_folder(tmp_path: Path) -> None:
    data = tarball(GOOD, [member("other-top/lib/a.js", "a"), member("package/empty", kind=tarfile.DIRTYPE)])
    assert unpack(data, tmp_path) == [
        "node_modules/pkg/dist/index.js",
        "node_modules/pkg/lib/a.js",
        "node_modules/pkg/package.json",
    ]


BAD: dict[str, tuple[Members, str]] = {
    "B01 climbing": ([member("package/../../evil", "x")], "leads out"),
    "climbing inside": ([member("package/a/../../../evil", "x")], "leads out"),
    "B02 absolute": ([member("/etc/evil", "x")], "absolute"),
    "beside the package": ([member("evil", "x")], "outside the package"),
    "B03 a link": ([member("package/l", kind=tarfile.SYMTYPE, link="/etc/passwd")], "a link"),
    "B04 a link, then a file through it": (
        [member("package/l", kind=tarfile.SYMTYPE, link=".."), member("package/l/evil", "x")], "a link"),
    "B05 a hard link": ([member("package/l", kind=tarfile.LNKTYPE, link="package/package.json")], "a link"),
    "B06 a device": ([member("package/d", kind=tarfile.CHRTYPE)], "special file"),
    "a block device": ([member("package/d", kind=tarfile.BLKTYPE)], "special file"),
    "B07 a FIFO": ([member("package/f", kind=tarfile.FIFOTYPE)], "special file"),
    "B08 a member twice": ([member("package/package.json", "{}")], "comes twice"),
    "a member twice by another spelling": ([member("package/./package.json", "{}")], "comes twice"),
    "B09 names that differ by case": ([member("package/Package.json", "{}")], "one file on some file systems"),
    "folders that differ by case": ([member("package/Dist/other.js", "x")], "one file on some file systems"),
    "B10 names that differ by Unicode form": (
        [member("package/\u00e9", "x"), member("package/e\u0301", "x")], "one file on some file systems"),
    "B11 a Windows device": ([member("package/aux.js", "x")], "device on Windows"),
    "B12 a trailing dot": ([member("package/name.", "x")], "dot or a space"),
    "a trailing space": ([member("package/name /x", "x")], "dot or a space"),
    "B13 an alternate stream": ([member("package/a.js:evil", "x")], "colon"),
    "a drive": ([member("package/c:/x", "x")], "colon"),
    "B14 a backslash": ([member("package/a\\..\\b", "x")], "backslash"),
    "B15 a bidirectional mark": ([member("package/a\u202exfdp.js", "x")], "invisible"),
    "a zero-width space": ([member("package/a\u200b.js", "x")], "invisible"),
    "a control character": ([member("package/a\x1b[2J.js", "x")], "control character"),
    "B16 a file that is also a folder": ([member("package/dist/index.js/more", "x")], "file and a folder"),
    "a folder that is also a file": ([member("package/dist", "x")], "file and a folder"),
    "a name that is too long": ([member("package/" + "a" * 300, "x")], "too long"),
    "a nest that is too deep": ([member("package/" + "a/" * 50 + "b", "x")], "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_tarball_is_refused_that_holds(case: str, tmp_path: Path) -> None:
    more, reason = BAD[case]
    with pytest.raises(TrustError, match=reason):
        unpack(tarball(GOOD, more), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["tree"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@catches("B18")
def test_a_second_gzip_member_is_refused(tmp_path: Path) -> None:
    hidden = gzip.compress(gzip.decompress(tarball({"package.json": "evil"})), mtime=0)
    with pytest.raises(TrustError, match="second archive"):
        unpack(tarball(GOOD) + hidden, tmp_path)


def test_members_after_the_end_of_the_archive_are_refused(tmp_path: Path) -> None:
    raw = gzip.decompress(tarball(GOOD)) + gzip.decompress(tarball({"more.js": "evil"}))
    with pytest.raises(TrustError, match="after its end"):
        unpack(gzip.compress(raw, mtime=0), tmp_path)


@catches("B17")
def test_a_bomb_is_refused_while_it_unpacks(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="far more than a package needs"):
        unpack(tarball({"zeros": bytes(64 << 20)}), tmp_path)


def test_a_bomb_of_headers_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("package/x")
    info.pax_headers = {"comment": "a" * (40 << 20)}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(TrustError, match="far more than a package needs"):
        unpack(gzip.compress(raw.getvalue()), tmp_path)


@catches("B19")
def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_FILES", 10)
    with pytest.raises(TrustError, match="more than 10 files"):
        unpack(tarball({f"{number}.js": "x" for number in range(11)}), tmp_path)


def test_a_damaged_or_cut_tarball_is_refused(tmp_path: Path) -> None:
    data = tarball({"package.json": "{}", "a.js": os.urandom(5000)})
    for number, broken in enumerate((data[: len(data) // 2], b"", b"no gzip at all", data[:-4] + b"\0\0\0\0")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(TrustError):
            unpack(broken, folder)


@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_whatever_end_in_anything_but_files_in_the_tree_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, value: int
) -> None:
    raw = bytearray(gzip.decompress(tarball(GOOD)) + noise)
    raw[at % len(raw)] = value
    folder = tmp_path_factory.mktemp("noise")
    try:
        unpack(gzip.compress(bytes(raw), mtime=0), folder)
    except TrustError:
        pass
    assert os.listdir(folder) == ["tree"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
